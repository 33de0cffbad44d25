package core

import (
	"fmt"
	"sync"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// message is one thing that the owner is told. Exactly one of call, note and do counts, by the session that is set.
type message struct {
	framework *frameworkSession
	agent     *agentSession
	call      *v1.FrameworkCall // nil with framework set: the session has ended
	note      *v1.AgentMessage  // nil with agent set: the session has ended
	do        func(*machine)    // a caller's question or order
}

// mailbox is the bounded queue in front of the owner: many put, one takes everything at once.
type mailbox struct {
	mu     sync.Mutex
	queue  []message
	limit  int
	closed error
	wake   chan struct{} // of capacity one
}

func newMailbox(limit int) *mailbox {
	return &mailbox{limit: limit, closed: errNotServing, wake: make(chan struct{}, 1)}
}

// errNotServing is why a mailbox without an owner refuses.
var errNotServing = fmt.Errorf("the broker is starting or stopping: %w", api.ErrUnavailable)

// put adds a message, or says why not. A message that must not be refused is refused only when nobody owns the mailbox;
// sessions bound how many of those they may have queued.
func (b *mailbox) put(m message, must bool) error {
	b.mu.Lock()
	if b.closed != nil {
		err := b.closed
		b.mu.Unlock()
		return err
	}
	if len(b.queue) >= b.limit && !must {
		b.mu.Unlock()
		return fmt.Errorf("%d messages wait for the broker: %w", b.limit, api.ErrUnavailable)
	}
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns all that has arrived; into becomes the next queue.
func (b *mailbox) take(into []message) []message {
	clear(into)
	b.mu.Lock()
	q := b.queue
	b.queue = into[:0]
	b.mu.Unlock()
	return q
}

// open lets messages in; what an earlier owner left is dropped.
func (b *mailbox) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.queue)
	b.queue, b.closed = b.queue[:0], nil
}

// close refuses messages from now on with err, and returns those that nobody took.
func (b *mailbox) close(err error) []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue, b.closed = nil, err
	return q
}

func (b *mailbox) length() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}
