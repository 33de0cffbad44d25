package core

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

const (
	// maxUnread is how many messages may wait for the far end of a session before it is given up as too slow.
	maxUnread = 1 << 18
	// maxUntaken is how many messages that are never refused for load one session may have in the mailbox.
	maxUntaken = 1 << 17
)

// outbox is the broker's half of a session: the owner pushes without ever waiting, a pump hands on in order.
type outbox[T any] struct {
	out  chan *T
	wake chan struct{} // of capacity one
	gone chan struct{} // closed by abort: nobody reads any more

	mu      sync.Mutex
	queue   []*T
	unread  int // in queue, and taken by the pump
	ended   bool
	err     error
	aborted bool
}

func newOutbox[T any]() *outbox[T] {
	return &outbox[T]{out: make(chan *T, 64), wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// push queues a message; after the end it is dropped.
func (o *outbox[T]) push(m *T) {
	o.mu.Lock()
	if o.ended {
		o.mu.Unlock()
		return
	}
	if o.unread >= maxUnread {
		o.mu.Unlock()
		o.abort(fmt.Errorf("%w: %d messages were not read", api.ErrSessionEnded, maxUnread))
		return
	}
	o.queue = append(o.queue, m)
	o.unread++
	o.mu.Unlock()
	o.signal()
}

func (o *outbox[T]) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// finish ends the session once what is queued has been read.
func (o *outbox[T]) finish(err error) {
	o.mu.Lock()
	if !o.ended {
		o.ended, o.err = true, err
	}
	o.mu.Unlock()
	o.signal()
}

// abort ends the session now; it tells whether it was the one to end it.
func (o *outbox[T]) abort(err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := !o.ended
	if first {
		o.ended, o.err = true, err
	}
	if !o.aborted {
		o.aborted = true
		close(o.gone)
	}
	return first
}

// failure is why the session ended; nil before.
func (o *outbox[T]) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		return nil
	}
	return o.err
}

// pump runs until the session has ended.
func (o *outbox[T]) pump() {
	defer close(o.out)
	var batch []*T
	for {
		o.mu.Lock()
		o.unread -= len(batch)
		clear(batch)
		batch, o.queue = o.queue, batch[:0]
		ended := o.ended
		o.mu.Unlock()
		for _, m := range batch {
			select {
			case <-o.gone:
				return
			default:
			}
			select {
			case o.out <- m:
			case <-o.gone:
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		if ended {
			return
		}
		select {
		case <-o.wake:
		case <-o.gone:
			return
		}
	}
}

// frameworkSession is api.FrameworkSession in process.
type frameworkSession struct {
	*outbox[v1.FrameworkEvent]
	box      *mailbox
	caller   api.Caller
	internal bool // the launcher's
	untaken  atomic.Int32
	stop     func() bool

	framework *framework // set by the owner at registration, read by nobody else
}

// Send implements api.FrameworkSession.
func (s *frameworkSession) Send(call *v1.FrameworkCall) error {
	if err := s.failure(); err != nil {
		return err
	}
	must := s.internal
	switch call.GetCall().(type) {
	case *v1.FrameworkCall_Kill, *v1.FrameworkCall_Acknowledge, *v1.FrameworkCall_Unregister, *v1.FrameworkCall_Decline:
		must = true
	case nil:
		return fmt.Errorf("%w: an empty call", api.ErrInvalid)
	}
	if s.untaken.Add(1) > maxUntaken && must {
		err := fmt.Errorf("%w: %d calls of this session wait for the broker", api.ErrSessionEnded, maxUntaken)
		if s.abort(err) {
			s.tellGone()
		}
		return err
	}
	err := s.box.put(message{framework: s, call: call}, must)
	if err != nil {
		s.untaken.Add(-1)
	}
	return err
}

// Events implements api.FrameworkSession.
func (s *frameworkSession) Events() <-chan *v1.FrameworkEvent { return s.out }

// Err implements api.FrameworkSession.
func (s *frameworkSession) Err() error { return s.failure() }

// Close implements api.FrameworkSession.
func (s *frameworkSession) Close() error {
	s.stop()
	if s.abort(api.ErrSessionEnded) {
		s.tellGone()
	}
	return nil
}

// tellGone tells the owner; without an owner nobody needs to know.
func (s *frameworkSession) tellGone() { _ = s.box.put(message{framework: s}, true) }

// agentSession is api.AgentSession in process.
type agentSession struct {
	*outbox[v1.AgentCommand]
	box     *mailbox
	caller  api.Caller
	untaken atomic.Int32
	stop    func() bool

	// Of the owner, read by nobody else.
	agent   *agent // set at registration
	waiting bool   // to be registered
}

// Send implements api.AgentSession. Only registrations and heartbeats are refused for load: a status that was refused
// could be overtaken by the next.
func (s *agentSession) Send(note *v1.AgentMessage) error {
	if err := s.failure(); err != nil {
		return err
	}
	must := false
	switch note.GetMessage().(type) {
	case *v1.AgentMessage_Status:
		must = true
	case nil:
		return fmt.Errorf("%w: an empty message", api.ErrInvalid)
	}
	if s.untaken.Add(1) > maxUntaken && must {
		err := fmt.Errorf("%w: %d messages of this session wait for the broker", api.ErrSessionEnded, maxUntaken)
		if s.abort(err) {
			s.tellGone()
		}
		return err
	}
	err := s.box.put(message{agent: s, note: note}, must)
	if err != nil {
		s.untaken.Add(-1)
	}
	return err
}

// Commands implements api.AgentSession.
func (s *agentSession) Commands() <-chan *v1.AgentCommand { return s.out }

// Err implements api.AgentSession.
func (s *agentSession) Err() error { return s.failure() }

// Close implements api.AgentSession.
func (s *agentSession) Close() error {
	s.stop()
	if s.abort(api.ErrSessionEnded) {
		s.tellGone()
	}
	return nil
}

func (s *agentSession) tellGone() { _ = s.box.put(message{agent: s}, true) }

// sessions starts the pumps and ends them all when the broker stops.
type sessions struct {
	mu   sync.Mutex
	live map[interface{ abort(error) bool }]struct{} // nil: none may be opened
	wg   sync.WaitGroup
}

// start runs a session's pump until it has ended; it is false when the broker does not serve.
func (s *sessions) start(o interface {
	abort(error) bool
	pump()
}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return false
	}
	s.live[o] = struct{}{}
	s.wg.Go(func() {
		o.pump()
		s.mu.Lock()
		delete(s.live, o)
		s.mu.Unlock()
	})
	return true
}

func (s *sessions) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = map[interface{ abort(error) bool }]struct{}{}
}

// close ends every session and waits for their pumps.
func (s *sessions) close(err error) {
	s.mu.Lock()
	for o := range s.live {
		o.abort(err)
	}
	s.live = nil
	s.mu.Unlock()
	s.wg.Wait()
}

func (b *Broker) openFramework(ctx context.Context, caller api.Caller, internal bool) (*frameworkSession, error) {
	s := &frameworkSession{outbox: newOutbox[v1.FrameworkEvent](), box: b.box, caller: caller, internal: internal}
	if !b.sessions.start(s) {
		return nil, errNotServing
	}
	s.stop = context.AfterFunc(ctx, func() {
		if s.abort(fmt.Errorf("%w: %w", api.ErrSessionEnded, context.Cause(ctx))) {
			s.tellGone()
		}
	})
	return s, nil
}

// OpenFramework implements api.Broker. The session ends with ctx.
func (b *Broker) OpenFramework(ctx context.Context, caller api.Caller) (api.FrameworkSession, error) {
	if caller.User == "" && caller.JobID == "" && !caller.Operator {
		return nil, fmt.Errorf("%w: an unknown caller", api.ErrDenied)
	}
	return b.openFramework(ctx, caller, false)
}

// OpenAgent implements api.Broker. The session ends with ctx. Only an operator may be an agent.
func (b *Broker) OpenAgent(ctx context.Context, caller api.Caller) (api.AgentSession, error) {
	if !caller.Operator {
		return nil, fmt.Errorf("%w: an agent needs an operator's right", api.ErrDenied)
	}
	s := &agentSession{outbox: newOutbox[v1.AgentCommand](), box: b.box, caller: caller}
	if !b.sessions.start(s) {
		return nil, errNotServing
	}
	s.stop = context.AfterFunc(ctx, func() {
		if s.abort(fmt.Errorf("%w: %w", api.ErrSessionEnded, context.Cause(ctx))) {
			s.tellGone()
		}
	})
	return s, nil
}
