package hadooprpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Server answers Hadoop clients.
type Server struct {
	o        Options
	services map[string]*service
	memory   atomic.Int64 // bytes of requests and replies
	refusals *refusals
	metrics  *metrics
}

// NewServer makes a server.
func NewServer(o Options) (*Server, error) {
	if !o.Simple && o.Secrets == nil {
		return nil, errors.New("hadooprpc: neither SIMPLE nor TOKEN is accepted")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	l := &o.Limits
	l.MaxFrame = cmp.Or(l.MaxFrame, 128<<20)
	l.MaxGreeting = cmp.Or(l.MaxGreeting, 16<<10)
	l.Memory = cmp.Or(l.Memory, 512<<20)
	l.Calls = cmp.Or(l.Calls, 256)
	l.Unsent = cmp.Or(l.Unsent, 16<<20)
	l.Slow = cmp.Or(l.Slow, 20*time.Second)
	l.Connections = cmp.Or(l.Connections, 20000)
	l.HalfOpen = cmp.Or(l.HalfOpen, 4096)
	l.Greeting = cmp.Or(l.Greeting, 30*time.Second)
	l.Stall = cmp.Or(l.Stall, time.Minute)
	l.Idle = cmp.Or(l.Idle, 3*time.Minute)
	l.Drain = cmp.Or(l.Drain, 2*time.Second)
	s := &Server{o: o, refusals: &refusals{log: o.Log, seen: make(map[refusal]*repeated)}}
	var err error
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("hadooprpc: %w", err)
	}
	if err := s.register(o.Protocols); err != nil {
		return nil, err
	}
	return s, nil
}

// reserve takes n bytes of the budget, or none.
func (s *Server) reserve(n int) bool {
	if s.memory.Add(int64(n)) > s.o.Limits.Memory {
		s.memory.Add(int64(-n))
		return false
	}
	return true
}

func (s *Server) release(n int) { s.memory.Add(int64(-n)) }

// Serve accepts on ln until ctx ends, then lets calls in flight end within Limits.Drain and closes all. It closes ln and
// returns when nothing of it runs any more; its error is that of accepting. It may be called for several listeners.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	d := newDoor(s)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	d.ctx, d.cut = context.WithCancel(context.WithoutCancel(ctx))
	d.goroutines.Add(1)
	go func() {
		defer d.goroutines.Done()
		d.watch(watched)
	}()
	err := d.accept(ctx, ln)
	_ = ln.Close()
	d.drain()
	unwatch()
	d.goroutines.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("hadooprpc: accept on %s: %w", ln.Addr(), err)
}
