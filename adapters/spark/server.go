package spark

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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

// Name of the service, by which containers bring their application's secret.
const Name = "spark_shuffle"

// DefaultPort is Spark's spark.shuffle.service.port.
const DefaultPort = 7337

// Options of a server. A size or time that is zero gets its default.
type Options struct {
	Listen         string        // host:port; DefaultPort if there is no port in it, port 0: any free one
	StateDir       string        // registrations are kept here over restarts; "": not kept
	MaxConnections int           // more are closed at once; 4,096
	MaxFrame       int           // bytes of a request; 4 MiB
	RequestBytes   int64         // memory of all large requests and answers, and of the blocks that they opened and nobody has fetched yet; 64 MiB
	IndexBytes     int           // memory of index files; 16 MiB
	Patience       time.Duration // for a reader to take what is sent, and for a request to arrive once begun; 2 min

	Log        *zap.Logger
	Registerer prometheus.Registerer
}

// Server is the shuffle service of an agent.
type Server struct {
	options Options
	log     *zap.Logger
	metrics *metrics
	apps    *applications
	indexes indexes
	memory  budget
	told    told

	listener   net.Listener
	group      errgroup.Group
	nextStream atomic.Int64
	stopping   atomic.Bool

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New returns a server that is not yet started.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 4096
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = 4 << 20
	}
	if o.RequestBytes <= 0 {
		o.RequestBytes = 64 << 20
	}
	if o.IndexBytes <= 0 {
		o.IndexBytes = 16 << 20
	}
	if o.Patience <= 0 {
		o.Patience = 2 * time.Minute
	}
	s := &Server{
		options: o, log: o.Log,
		apps:    &applications{kept: kept.Folder{Dir: o.StateDir, MaxBytes: maxState}, byID: map[string]*application{}},
		indexes: indexes{recent.New[index](o.IndexBytes)},
		memory:  budget{limit: o.RequestBytes},
		conns:   map[*conn]struct{}{},
	}
	// A stream's number is no secret, yet one of an earlier process should not be taken for one of this.
	s.nextStream.Store(rand.Int64N(1<<31) * 1000)
	s.metrics = newMetrics(o.Registerer, s)
	return s
}

// Name is how containers call the service.
func (s *Server) Name() string { return Name }

// Start reads the registrations that were kept and serves. Its goroutines end with Stop.
func (s *Server) Start(ctx context.Context) error {
	damaged, err := s.apps.load()
	if err != nil {
		return fmt.Errorf("%s: read registrations: %w", Name, err)
	}
	for _, err := range damaged {
		s.log.Warn("an application's registration cannot be read; its executors' blocks will be computed again", zap.Error(err))
	}
	address := s.options.Listen
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, strconv.Itoa(DefaultPort))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%s: listen (is another shuffle service on this host? yarn.spark_shuffle_port takes another, which clients set as spark.shuffle.service.port): %w", Name, err)
	}
	s.listener = l
	s.log.Info("spark shuffle service", zap.Stringer("address", l.Addr()), zap.Int("applications", s.apps.count()))
	s.group.Go(s.accept)
	return nil
}

func (s *Server) accept() error {
	pause := time.Duration(0)
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			if s.stopping.Load() {
				return nil
			}
			// Out of file descriptors, most likely: others will be closed.
			if pause = min(2*pause+5*time.Millisecond, time.Second); pause < 10*time.Millisecond {
				s.log.Error("spark shuffle service cannot accept connections", zap.Error(err))
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			time.Sleep(pause)
			continue
		}
		pause = 0
		c := newConn(s, nc.(*net.TCPConn))
		s.mu.Lock()
		full, stopping := len(s.conns) >= s.options.MaxConnections, s.stopping.Load()
		if !full && !stopping {
			s.conns[c] = struct{}{}
		}
		s.mu.Unlock()
		if full || stopping {
			if full {
				s.metrics.refused.WithLabelValues("connections").Inc()
				s.warn("too many connections", nc.RemoteAddr(), errors.New("closed: "+strconv.Itoa(s.options.MaxConnections)+" are open"))
			}
			nc.Close()
			continue
		}
		s.group.Go(func() error {
			c.serve()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			return nil
		})
	}
}

// Stop closes the port and all connections; registrations stay.
func (s *Server) Stop() error {
	if s.listener == nil {
		return nil
	}
	s.mu.Lock()
	s.stopping.Store(true)
	err := s.listener.Close()
	for c := range s.conns {
		c.tcp.Close()
	}
	s.mu.Unlock()
	return errors.Join(err, s.group.Wait())
}

// Port is where the server listens, 0 before Start.
func (s *Server) Port() int {
	if s.listener == nil {
		return 0
	}
	return s.listener.Addr().(*net.TCPAddr).Port
}

// Metadata is what containers are told: nothing, as Spark reads its port from its own configuration.
func (s *Server) Metadata() []byte { return []byte{} }

// InitApplication makes an application known. Without data (nil: the container's launch context does not name the service)
// it does nothing; empty data is an application without a secret. Data is the secret, or JSON with it. uid owns the
// application's blocks (-1: whoever), dirs are its local folders. When it returns the registration is kept; the same again
// costs nothing. Another user is refused; another secret or other folders replace the former ones, except that a secret is
// never replaced by none.
func (s *Server) InitApplication(application, user string, uid int, data []byte, dirs []string) error {
	if data == nil {
		return nil
	}
	r, err := newRegistration(application, user, uid, data, dirs)
	if err != nil {
		return fmt.Errorf("%s: %.80s: %w", Name, application, err)
	}
	if err := s.apps.put(r); err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	return nil
}

// EndApplication forgets an application. It may be called more than once, and for an unknown one.
func (s *Server) EndApplication(application string) {
	if err := s.apps.drop(application); err != nil {
		s.log.Warn("an application's registration stays in its file", zap.String("application", application), zap.Error(err))
	}
	s.indexes.DropJob(application)
}

// Applications lists those that are known, so that after a restart the caller can end what has ended meanwhile.
func (s *Server) Applications() []string { return s.apps.list() }

// warn logs each kind of trouble with a peer once in a while.
func (s *Server) warn(what string, peer net.Addr, err error) {
	host := peer.String()
	if h, _, e := net.SplitHostPort(host); e == nil {
		host = h
	}
	write := s.log.Debug
	if s.told.first(fmt.Sprintf("%s %s %.120s", host, what, err), time.Now()) {
		write = s.log.Warn
	}
	write(what, zap.Stringer("peer", peer), zap.Error(err))
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

// budget is memory that all connections share.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take says whether n bytes were left; they are to be given back.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.limit {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.used.Add(-n) }
