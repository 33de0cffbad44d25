package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
)

// Manager is what the pages are about; *resourcemanager.Manager is one.
type Manager interface {
	Info() resourcemanager.Info
	Applications() []resourcemanager.Application
	Application(id.ApplicationID) (resourcemanager.Application, bool)
	Attempts(id.ApplicationID) ([]resourcemanager.Attempt, bool)
	Containers(id.AttemptID) ([]resourcemanager.Container, bool)
	Nodes() []resourcemanager.Node
	QueueTree() []resourcemanager.QueueInfo
	ClusterMetrics() resourcemanager.Metrics
	// Sees tells of which applications a caller may see more than that they are there.
	Sees(who resourcemanager.Caller) func(id.ApplicationID) bool
	Kill(ctx context.Context, who resourcemanager.Caller, i id.ApplicationID, diagnostics string) (bool, error)
}

// Options of a server.
type Options struct {
	Manager    Manager
	Log        *zap.Logger
	Registerer prometheus.Registerer
}

// Server serves the pages.
type Server struct {
	m        Manager
	log      *zap.Logger
	handler  http.Handler
	proxy    *proxy
	now      func() time.Time
	busy     atomic.Int64
	requests *prometheus.CounterVec
	serving  chan struct{} // closed when the proxy knows its address
}

const (
	maxBusy       = 512 // requests under way
	answerTimeout = time.Minute
	userParameter = "user.name"
	staticUser    = "dr.who" // who does not name himself, as in Hadoop
	maxUserName   = 256
)

// New makes a server.
func New(o Options) (*Server, error) {
	if o.Manager == nil {
		return nil, errors.New("web: no resource manager")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	s := &Server{m: o.Manager, log: o.Log, now: time.Now, serving: make(chan struct{})}
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_yarn_web_requests_total", Help: "Requests to the resource manager's pages."}, []string{"kind"})
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.requests)
	}
	s.proxy = newProxy(s)
	mux := http.NewServeMux()
	s.rest(mux)
	s.pages(mux)
	s.handler = mux
	return s, nil
}

// Serve serves on l until ctx ends, and closes l. It is called once. The proxy connects to masters from l's address.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.proxy.from(localAddress(l.Addr(), s.m.Info().Host))
	close(s.serving)
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 20 * time.Second,
		ReadTimeout:       answerTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(s.log.Named("http")),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	defer s.proxy.close()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("yarn pages: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.busy.Add(-1)
	if s.busy.Add(1) > maxBusy {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests are under way", http.StatusServiceUnavailable)
		return
	}
	deadline(w, answerTimeout)
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	if strings.HasPrefix(r.URL.Path, "/proxy/") {
		s.proxy.serve(w, r) // past ServeMux, which would change the path
		return
	}
	if r.Method == http.MethodOptions { // what Hadoop's AuthenticatedURL begins with; it takes 200 for "in"
		h.Set("Allow", "GET, HEAD, OPTIONS, PUT")
		return
	}
	s.handler.ServeHTTP(w, r)
}

// deadline ends an answer that its reader does not take.
func deadline(w http.ResponseWriter, d time.Duration) {
	// Recorders of tests have no deadline; a connection that has none any more fails at the next write.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d))
}

// caller is who says to be asking.
func caller(r *http.Request) resourcemanager.Caller {
	c := resourcemanager.Caller{User: r.URL.Query().Get(userParameter), Remote: r.RemoteAddr}
	if c.User == "" || len(c.User) > maxUserName {
		c.User = staticUser
	}
	return c
}
