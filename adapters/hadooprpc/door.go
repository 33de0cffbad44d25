package hadooprpc

import (
	"container/list"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const maxResting = 64 // goroutines that wait for calls

// door is one listener's connections, and the watch over their times: no timer and no deadline is set per packet.
type door struct {
	s          *Server
	ctx        context.Context // of all connections; ends when calls in flight have had their time
	cut        context.CancelFunc
	goroutines sync.WaitGroup // connections and the watch
	served     sync.WaitGroup // connections
	draining   atomic.Bool
	now        atomic.Int64 // a coarse clock, nanoseconds, from 1
	work       chan *call   // to goroutines that have run a call and wait for another
	resting    atomic.Int32 // how many do

	mu    sync.Mutex
	conns map[*conn]struct{}
	half  *list.List // half-open ones, the oldest first
	begin time.Time
}

func newDoor(s *Server) *door {
	d := &door{s: s, conns: make(map[*conn]struct{}), half: list.New(), begin: time.Now(), work: make(chan *call)}
	d.tick()
	return d
}

func (d *door) tick() int64 {
	now := int64(time.Since(d.begin)) + 1
	d.now.Store(now)
	return now
}

// accept takes connections until the listener closes.
func (d *door) accept(ctx context.Context, ln net.Listener) error {
	const longest = time.Second
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			d.admit(nc)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file descriptors, mostly: those that are open go on, and it may pass.
		pause = min(max(2*pause, 5*time.Millisecond), longest)
		d.s.refusals.note(nil, "accept", "", err.Error())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func (d *door) admit(nc net.Conn) {
	c := &conn{s: d.s, d: d, nc: nc, born: d.now.Load()}
	c.out.changed.L = &c.out.mu
	c.ctx, c.cancel = context.WithCancel(d.ctx)
	d.mu.Lock()
	if len(d.conns) >= d.s.o.Limits.Connections {
		d.mu.Unlock()
		c.cancel()
		d.refused(nc, "too many connections", "the server has as many as it may")
		return
	}
	d.conns[c] = struct{}{}
	d.s.metrics.connections.Inc()
	c.half = d.half.PushBack(c)
	d.s.metrics.halfOpen.Inc()
	var oldest *conn
	if d.half.Len() > d.s.o.Limits.HalfOpen {
		oldest = d.half.Front().Value.(*conn)
		d.unlist(oldest)
	}
	d.mu.Unlock()
	if oldest != nil {
		d.refused(oldest.nc, "too many half-open connections", "the oldest is closed")
	}
	d.goroutines.Add(1)
	d.served.Add(1)
	go func() {
		defer d.goroutines.Done()
		defer d.served.Done()
		c.serve()
		d.forget(c)
	}()
}

func (d *door) refused(nc net.Conn, reason, detail string) {
	d.s.metrics.refused.WithLabelValues(reason).Inc()
	d.s.refusals.note(nc.RemoteAddr(), reason, "", detail)
	_ = nc.Close()
}

// unlist takes a connection off the half-open ones, if it is there. mu is held.
func (d *door) unlist(c *conn) {
	if c.half != nil {
		d.half.Remove(c.half)
		c.half = nil
		d.s.metrics.halfOpen.Dec()
	}
}

// known takes a connection off the half-open ones.
func (d *door) known(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlist(c)
}

func (d *door) forget(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlist(c)
	delete(d.conns, c)
	d.s.metrics.connections.Dec()
}

// run runs a call on a goroutine that has run others, whose stack has grown to what calls need, or on a new one.
func (d *door) run(k *call) {
	select {
	case d.work <- k:
		return
	default:
	}
	d.goroutines.Add(1)
	go func() {
		defer d.goroutines.Done()
		for {
			k.run()
			if d.resting.Add(1) > maxResting {
				d.resting.Add(-1)
				return
			}
			select {
			case k = <-d.work:
				d.resting.Add(-1)
			case <-d.ctx.Done():
				return
			}
		}
	}()
}

// watch advances the clock and closes connections whose time is over.
func (d *door) watch(ctx context.Context) {
	l := &d.s.o.Limits
	ticker := time.NewTicker(min(max(min(l.Greeting, l.Stall, l.Idle, l.Slow)/8, time.Millisecond), time.Second))
	defer ticker.Stop()
	type over struct {
		nc             net.Conn
		reason, detail string
	}
	var closing []over
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := d.tick()
		d.mu.Lock()
		for c := range d.conns {
			if reason, detail := c.overdue(now, l); detail != "" {
				closing = append(closing, over{c.nc, reason, detail})
			}
		}
		d.mu.Unlock()
		for _, o := range closing {
			if o.reason == "" {
				_ = o.nc.Close()
			} else {
				d.refused(o.nc, o.reason, o.detail)
			}
		}
		clear(closing)
		closing = closing[:0]
	}
}

// overdue says why a connection must be closed; an idle one has no reason to be logged.
func (c *conn) overdue(now int64, l *Limits) (reason, detail string) {
	late := func(since int64, limit time.Duration) bool { return since != 0 && now-since > int64(limit) }
	switch {
	case !c.open.Load() && late(c.born, l.Greeting):
		return "half-open", "did not say who it is within " + l.Greeting.String()
	case late(c.reading.Load(), l.Stall):
		return "stalled request", "sent nothing of the rest of a request for " + l.Stall.String()
	case late(c.writing.Load(), l.Stall):
		return "slow reader", "took nothing of its replies for " + l.Stall.String()
	case late(c.out.crowded.Load(), l.Slow):
		return "slow reader", "has had its fill of unsent replies for " + l.Slow.String()
	case c.open.Load() && c.active.Load() == 0 && c.writing.Load() == 0 && late(c.lastCall.Load(), l.Idle):
		return "", "idle"
	}
	return "", ""
}

// slowest is the connection with most unsent, nil if there is nothing unsent.
func (d *door) slowest() *conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	var most *conn
	for c := range d.conns {
		if n := c.out.unsent.Load(); n > 0 && (most == nil || n > most.out.unsent.Load()) {
			most = c
		}
	}
	return most
}

// drain lets calls in flight end: nothing more is read, and what is not answered in time is cut.
func (d *door) drain() {
	d.draining.Store(true)
	d.mu.Lock()
	for c := range d.conns {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	d.mu.Unlock()
	timer := time.AfterFunc(d.s.o.Limits.Drain, func() {
		d.cut()
		d.mu.Lock()
		defer d.mu.Unlock()
		for c := range d.conns {
			_ = c.nc.Close()
		}
	})
	d.served.Wait()
	timer.Stop()
	d.cut()
}
