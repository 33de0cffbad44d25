package hadooprpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

const (
	proxyTimeout = 30 * time.Second
	proxyIdle    = 10 * time.Second // as in Hadoop's clients
	proxyCalls   = 8
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second

	observerRetry = "org.apache.hadoop.ipc.ObserverRetryOnActiveException"
)

// ProxyOptions say whom a Proxy calls.
type ProxyOptions struct {
	ClientOptions
	Servers []string      // addresses, at least one; one of them is active, and the first is asked first
	Timeout time.Duration // of a call, retries and failover included; 0 is 30 s
	Idle    time.Duration // after which a connection without calls is closed; 0 is 10 s
	Calls   int           // under way at once, more wait; 0 is 8
	Log     *zap.Logger   // gets retries and failovers at debug level; nil: none
}

// Proxy calls the active one of several servers, over one connection, which is made when it is needed and closed when it
// is idle. It calls again, by the same client and call id, so that the server recognises the call and does it once: after
// a connection that broke, at the next server after a StandbyException or one that cannot be reached, and after a
// RetriableException.
type Proxy struct {
	o        ProxyOptions
	clientID [16]byte
	last     atomic.Int32  // call id
	slots    chan struct{} // calls under way
	turn     chan struct{} // capacity one; its holder may connect

	mu     sync.Mutex
	active int // index of the server that answered last
	line   *line
	timer  *time.Timer // closes the line when it is idle; nil before the first call has ended
	closed bool
}

// line is a connection of a Proxy.
type line struct {
	client *Client
	addr   string
	calls  int  // under way
	used   bool // has answered a call: a failure may mean that it was closed while idle
}

// CallError is the failure of a Proxy's call at a server: an *Exception, a *PeerError, ErrClosed, a deadline's, or what
// the network says.
type CallError struct {
	Addr string
	Err  error
}

func (e *CallError) Error() string { return fmt.Sprintf("hadooprpc: calling %s: %v", e.Addr, e.Err) }
func (e *CallError) Unwrap() error { return e.Err }

// NewProxy makes a Proxy; it contacts nobody.
func NewProxy(o ProxyOptions) *Proxy {
	if o.Timeout <= 0 {
		o.Timeout = proxyTimeout
	}
	if o.Idle <= 0 {
		o.Idle = proxyIdle
	}
	if o.Calls <= 0 {
		o.Calls = proxyCalls
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Proxy{o: o, clientID: newClientID(), slots: make(chan struct{}, o.Calls), turn: make(chan struct{}, 1)}
}

// Call is Exchange with messages.
func (p *Proxy) Call(ctx context.Context, method string, request, response proto.Message) error {
	text, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	answer, addr, err := p.exchange(ctx, method, text)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(answer, response); err != nil {
		return &CallError{addr, &PeerError{fmt.Sprintf("an answer to %s does not parse: %v", method, err)}}
	}
	return nil
}

// Exchange calls a method with the bytes of a request and returns those of the answer. An error is a *CallError, or
// ctx.Err() once that has ended.
func (p *Proxy) Exchange(ctx context.Context, method string, request []byte) ([]byte, error) {
	answer, _, err := p.exchange(ctx, method, request)
	return answer, err
}

func (p *Proxy) exchange(ctx context.Context, method string, request []byte) (answer []byte, addr string, err error) {
	limited, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	addr = p.o.Servers[0]
	select {
	case p.slots <- struct{}{}:
		answer, addr, err = p.insist(limited, method, request)
		<-p.slots
	case <-limited.Done():
		err = limited.Err()
	}
	switch {
	case err == nil:
		return answer, addr, nil
	case ctx.Err() != nil:
		return nil, addr, ctx.Err()
	}
	return nil, addr, &CallError{addr, err}
}

// insist calls until there is an answer or no hope.
func (p *Proxy) insist(ctx context.Context, method string, request []byte) ([]byte, string, error) {
	q := outgoing{id: p.last.Add(1) & 0x7fffffff, method: method, bytes: request}
	backoff := firstBackoff
	broken := 0 // new connections that broke
	for ; ; q.retry++ {
		answer, addr, fresh, err := p.try(ctx, q)
		if err == nil {
			return answer, addr, nil
		}
		if fresh {
			broken++
		}
		again, wait := p.judge(ctx, addr, fresh, broken, q.retry, err)
		if !again {
			return nil, addr, err
		}
		p.o.Log.Debug("calling again", zap.String("method", method), zap.String("failed", addr), zap.Error(err))
		if !wait {
			continue
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, addr, err
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// try calls once; fresh tells that no call was answered on the connection before.
func (p *Proxy) try(ctx context.Context, q outgoing) (answer []byte, addr string, fresh bool, err error) {
	l, addr, fresh, err := p.connect(ctx)
	if err != nil {
		return nil, addr, true, err
	}
	w := &waiter{raw: true}
	err = l.client.call(ctx, &q, w)
	var e *Exception
	answered := err == nil || errors.As(err, &e) && !e.Fatal
	p.ended(l, answered)
	if !answered && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.hangUp(l) // the way to the server may be dead, and nothing else would tell
	}
	return w.answer, addr, fresh, err
}

// judge decides whether to call again, and whether to wait before.
func (p *Proxy) judge(ctx context.Context, addr string, fresh bool, broken int, attempt int32, err error) (again, wait bool) {
	many := int32(len(p.o.Servers))
	round := (attempt+1)%many == 0 // all were asked: the next round begins after a pause
	var e *Exception
	var wrong *PeerError
	var network *net.OpError
	switch {
	case ctx.Err() != nil:
		return false, false
	case errors.As(err, &e):
		switch e.Class {
		case StandbyException, observerRetry:
			p.next(addr)
			return many > 1, round
		case RetriableException:
			return true, true // it is starting
		}
		return false, false
	case errors.As(err, &wrong):
		return false, false
	case errors.Is(err, ErrClosed):
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.closed, false // another call has hung up
	case !fresh:
		return true, attempt > 0 // at first it was closed while idle, most likely
	case many > 1:
		p.next(addr)
		return true, round
	case errors.As(err, &network) && network.Op == "dial":
		return false, false // a single server that cannot be reached
	}
	return broken == 1, true // one that breaks off is asked once more
}

// next turns to the server after the one at addr, unless somebody already has.
func (p *Proxy) next(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.o.Servers[p.active] == addr {
		p.active = (p.active + 1) % len(p.o.Servers)
	}
}

// connect returns a connection to the active server, for one call more, and the server's address.
func (p *Proxy) connect(ctx context.Context) (l *line, addr string, fresh bool, err error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	addr = p.o.Servers[p.active]
	if p.closed {
		err = ErrClosed
	}
	if err != nil {
		p.mu.Unlock()
		return nil, addr, true, err
	}
	old := p.line
	if old != nil && old.addr == addr && !old.client.over() {
		old.calls++
		fresh = !old.used
		p.mu.Unlock()
		return old, addr, fresh, nil
	}
	p.line = nil
	p.mu.Unlock()
	if old != nil {
		_ = old.client.Close()
	}
	client, err := dial(ctx, addr, p.o.ClientOptions, p.clientID)
	if err != nil {
		return nil, addr, true, err
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		l = &line{client: client, addr: addr, calls: 1}
		p.line = l
	}
	p.mu.Unlock()
	if closed {
		_ = client.Close()
		return nil, addr, true, ErrClosed
	}
	return l, addr, true, nil
}

// ended notes that a call on l is over.
func (p *Proxy) ended(l *line, answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.calls--
	l.used = l.used || answered
	if l.calls > 0 || p.closed {
		return
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(p.o.Idle, p.rest)
	} else {
		p.timer.Reset(p.o.Idle)
	}
}

// rest closes a connection without calls.
func (p *Proxy) rest() {
	p.mu.Lock()
	l := p.line
	idle := l != nil && l.calls == 0
	if idle {
		p.line = nil
	}
	p.mu.Unlock()
	if idle {
		_ = l.client.Close()
	}
}

// hangUp closes a connection. Calls that are under way on it are made again on another.
func (p *Proxy) hangUp(l *line) {
	p.mu.Lock()
	if p.line == l {
		p.line = nil
	}
	p.mu.Unlock()
	_ = l.client.Close()
}

// Close frees what the Proxy has. Calls that are under way fail with ErrClosed.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	l := p.line
	p.line = nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	if l != nil {
		_ = l.client.Close()
	}
}
