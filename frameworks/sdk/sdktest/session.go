package sdktest

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// session is a framework's end of a conversation with the Broker.
type session struct {
	b      *Broker
	fw     *framework
	events chan *v1.FrameworkEvent
	wake   chan struct{} // capacity 1
	done   chan struct{} // closed when it has ended
	err    error         // why; guarded by the broker

	mu sync.Mutex
	q  []*v1.FrameworkEvent
}

// Send implements api.FrameworkSession.
func (s *session) Send(c *v1.FrameworkCall) error {
	return s.b.call(s, proto.Clone(c).(*v1.FrameworkCall))
}

// Events implements api.FrameworkSession.
func (s *session) Events() <-chan *v1.FrameworkEvent { return s.events }

// Err implements api.FrameworkSession.
func (s *session) Err() error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.err
}

// Close implements api.FrameworkSession.
func (s *session) Close() error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.fw != nil && s.fw.session == s {
		s.b.dropOffers(s.fw)
		s.fw.session = nil
	}
	s.end(errClosed)
	return nil
}

// end is called with the broker's lock held.
func (s *session) end(err error) {
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

// send queues an event; called with the broker's lock held.
func (s *session) send(e *v1.FrameworkEvent) {
	s.mu.Lock()
	s.q = append(s.q, proto.Clone(e).(*v1.FrameworkEvent))
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pump hands events over until the session ends.
func (s *session) pump() {
	defer close(s.events)
	for {
		s.mu.Lock()
		q := s.q
		s.q = nil
		s.mu.Unlock()
		for _, e := range q {
			select {
			case s.events <- e:
			case <-s.done:
				return
			}
		}
		if len(q) > 0 {
			continue
		}
		select {
		case <-s.wake:
		case <-s.done:
			return
		}
	}
}

var errClosed = fmt.Errorf("%w: closed by the framework", api.ErrSessionEnded)
