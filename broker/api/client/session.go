package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// mailbox is how many messages may wait to be sent before Send refuses; kills and acknowledgements are never refused.
const mailbox = 4096

// closeWait bounds how long Close lets queued messages go out.
const closeWait = 2 * time.Second

// session is the client's end of one stream: a queue that a sender drains, and a channel that a receiver fills.
type session[Out, In any] struct {
	client *Client
	stream grpc.BidiStreamingClient[Out, In]
	cancel context.CancelFunc
	urgent func(*Out) bool
	in     chan *In
	wake   chan struct{} // capacity 1
	done   chan struct{} // closed when either direction has ended

	mu    sync.Mutex
	queue []*Out
	// closing refuses new messages while the queue goes out.
	closing bool
	err     error
}

func start[Out, In any](c *Client, s grpc.BidiStreamingClient[Out, In], cancel context.CancelFunc, urgent func(*Out) bool) *session[Out, In] {
	n := &session[Out, In]{client: c, stream: s, cancel: cancel, urgent: urgent,
		in: make(chan *In, 64), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go n.send()
	go n.receive()
	return n
}

func (s *session[Out, In]) Send(m *Out) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.closing {
		return api.ErrSessionEnded
	}
	if len(s.queue) >= mailbox && !s.urgent(m) {
		return fmt.Errorf("%d messages to the broker wait already: %w", len(s.queue), api.ErrUnavailable)
	}
	s.queue = append(s.queue, m)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// send drains the queue. Stream sends may block on the peer's flow control, so no lock is held meanwhile.
func (s *session[Out, In]) send() {
	var batch []*Out
	for {
		select {
		case <-s.done:
			return
		case <-s.wake:
		}
		s.mu.Lock()
		batch, s.queue = s.queue, batch[:0]
		closing := s.closing
		s.mu.Unlock()
		for i, m := range batch {
			batch[i] = nil
			if s.stream.Send(m) != nil {
				return // receive learns why
			}
		}
		if closing {
			_ = s.stream.CloseSend() // the broker then ends the stream, and receive with it
			return
		}
	}
}

func (s *session[Out, In]) receive() {
	defer close(s.in)
	for {
		m, err := s.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = api.ErrSessionEnded
			} else {
				err = s.client.explain(err)
			}
			s.end(err)
			return
		}
		select {
		case s.in <- m:
		case <-s.done:
			return
		}
	}
}

func (s *session[Out, In]) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
		s.cancel()
	}
}

func (s *session[Out, In]) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close sends what was queued before it, then ends the session; it waits for the broker closeWait at most.
func (s *session[Out, In]) Close() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-s.done:
	case <-time.After(closeWait):
	}
	s.end(api.ErrSessionEnded)
	return nil
}

type frameworkSession struct {
	*session[v1.FrameworkCall, v1.FrameworkEvent]
}

func (f frameworkSession) Events() <-chan *v1.FrameworkEvent { return f.in }

func newFrameworkSession(c *Client, s grpc.BidiStreamingClient[v1.FrameworkCall, v1.FrameworkEvent], cancel context.CancelFunc) api.FrameworkSession {
	return frameworkSession{start(c, s, cancel, func(m *v1.FrameworkCall) bool {
		return m.GetKill() != nil || m.GetAcknowledge() != nil || m.GetUnregister() != nil
	})}
}

type agentSession struct {
	*session[v1.AgentMessage, v1.AgentCommand]
}

func (a agentSession) Commands() <-chan *v1.AgentCommand { return a.in }

func newAgentSession(c *Client, s grpc.BidiStreamingClient[v1.AgentMessage, v1.AgentCommand], cancel context.CancelFunc) api.AgentSession {
	return agentSession{start(c, s, cancel, func(m *v1.AgentMessage) bool { return m.GetStatus() != nil })}
}
