package mapreduce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/adapters/kept"
	"fairway/adapters/recent"
)

// Name of the service, by which containers bring their job's token and ask for its port.
const Name = "mapreduce_shuffle"

// DefaultPort is Hadoop's mapreduce.shuffle.port.
const DefaultPort = 13562

const (
	keepAlive     = 5 * time.Second  // a connection that was asked to stay does so for this long, as in Hadoop
	headerTimeout = 30 * time.Second // for a request to arrive
	indexBudget   = 10 << 20         // bytes of cached indexes, as mapreduce.tasktracker.indexcache.mb
)

// Options of a server.
type Options struct {
	Listen         string // host:port, DefaultPort if there is no port in it; port 0: any free one
	StateDir       string // registrations are kept here over restarts; "": not kept
	MaxConnections int    // more are told to come back in a second (429); 0: 2,000
	Log            *zap.Logger
	Registerer     prometheus.Registerer
}

// Server is the shuffle service of an agent.
type Server struct {
	options Options
	log     *zap.Logger
	metrics *metrics
	jobs    *jobs
	indexes *recent.Cache[*index] // that were last used; a map's output never changes, as no two attempts have one id
	told    told

	listener net.Listener
	port     int
	http     *http.Server
	group    errgroup.Group
	open     atomic.Int64 // connections
	stopping atomic.Bool
}

// New returns a server that is not yet started.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 2000
	}
	s := &Server{
		options: o, log: o.Log,
		jobs:    &jobs{kept: kept.Folder{Dir: o.StateDir, MaxBytes: maxState}, byID: map[string]*registration{}},
		indexes: recent.New[*index](indexBudget),
	}
	s.metrics = newMetrics(o.Registerer, s)
	return s
}

// Name is how containers call the service.
func (s *Server) Name() string { return Name }

// Start reads the registrations that were kept and serves. Its goroutines end with Stop.
func (s *Server) Start(ctx context.Context) error {
	damaged, err := s.jobs.load()
	if err != nil {
		return fmt.Errorf("%s: read registrations: %w", Name, err)
	}
	for _, err := range damaged {
		s.log.Warn("a job's registration cannot be read; its outputs will be fetched again from elsewhere", zap.Error(err))
	}
	address := s.options.Listen
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, strconv.Itoa(DefaultPort))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%s: listen (is another shuffle service on this host? yarn.shuffle_port: 0 takes any free port): %w", Name, err)
	}
	s.listener, s.port = l, l.Addr().(*net.TCPAddr).Port
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       keepAlive,
		MaxHeaderBytes:    maxURL + 16<<10,
		ErrorLog:          zap.NewStdLog(s.log.Named("http")),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
	}
	s.log.Info("shuffle service", zap.Stringer("address", l.Addr()), zap.Int("jobs", s.jobs.count()))
	s.group.Go(func() error {
		if err := s.http.Serve(&listener{Listener: l, s: s}); !errors.Is(err, http.ErrServerClosed) && !s.stopping.Load() {
			s.log.Error("shuffle service has ended", zap.Error(err))
			return err
		}
		return nil
	})
	return nil
}

// Stop closes the port and all connections; registrations stay.
func (s *Server) Stop() error {
	s.stopping.Store(true)
	if s.http == nil {
		return nil
	}
	err := s.http.Close()
	return errors.Join(err, s.group.Wait())
}

// Port is where the server listens, 0 before Start.
func (s *Server) Port() int { return s.port }

// Metadata is what containers are told: the port, as a big-endian int32.
func (s *Server) Metadata() []byte { return binary.BigEndian.AppendUint32(nil, uint32(s.port)) }

// InitApplication registers an application's job; without data it does nothing. Data is the job's token as a Writable, uid
// owns its map outputs (-1: whoever), dirs are the application's local folders. When it returns the registration is kept; the
// same again costs nothing. A registration under another user is refused, another token or other folders replace the former
// ones.
func (s *Server) InitApplication(application, user string, uid int, data []byte, dirs []string) error {
	if len(data) == 0 {
		return nil // a container that brings no token: the ApplicationMaster's
	}
	id, err := jobOf(application)
	if err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	reg, err := newRegistration(application, user, uid, data, dirs)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", Name, application, err)
	}
	if err := s.jobs.put(id, reg); err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	return nil
}

// EndApplication forgets an application's job. It may be called more than once, and for an unknown one.
func (s *Server) EndApplication(application string) {
	id, err := jobOf(application)
	if err != nil {
		return
	}
	if err := s.jobs.drop(id); err != nil {
		s.log.Warn("a job's registration stays in its file", zap.String("job", id), zap.Error(err))
	}
	s.indexes.DropJob(id)
}

// Applications lists those that are registered, so that after a restart the caller can end what has ended meanwhile.
func (s *Server) Applications() []string {
	s.jobs.mu.RLock()
	defer s.jobs.mu.RUnlock()
	l := make([]string, 0, len(s.jobs.byID))
	for _, r := range s.jobs.byID {
		l = append(l, r.Application)
	}
	return l
}

type connectionKey struct{}

// connection counts itself; it passes ReadFrom on, so that files go out by sendfile.
type connection struct {
	*net.TCPConn
	s      *Server
	over   bool // more than MaxConnections are open
	closed sync.Once
}

var _ io.ReaderFrom = (*connection)(nil) // else files would be copied through this process

func (c *connection) Close() error {
	c.closed.Do(func() { c.s.open.Add(-1) })
	return c.TCPConn.Close()
}

type listener struct {
	net.Listener
	s *Server
}

// Accept marks connections over the limit, which are told so, and closes those that are over twice the limit: telling is
// not free either.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := l.s.open.Add(1)
		conn := &connection{TCPConn: c.(*net.TCPConn), s: l.s, over: n > int64(l.s.options.MaxConnections)}
		if n <= 2*int64(l.s.options.MaxConnections) {
			return conn, nil
		}
		l.s.metrics.refused.WithLabelValues("closed").Inc()
		conn.Close()
	}
}

// told remembers what was logged, so that a peer that asks again and again fills no log.
type told struct {
	mu   sync.Mutex
	what map[string]time.Time
}

const (
	tellAgain = 10 * time.Minute
	maxTold   = 4096
)

// first says whether key has not been logged lately.
func (t *told) first(key string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.what[key]; ok && now.Sub(at) < tellAgain {
		return false
	}
	if t.what == nil || len(t.what) >= maxTold {
		t.what = map[string]time.Time{}
	}
	t.what[key] = now
	return true
}
