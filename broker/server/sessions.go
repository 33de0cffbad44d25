package server

import (
	"context"
	"errors"
	"io"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// pump joins a stream to a session in both directions until either ends. refused is told of a message that the
// session's mailbox had no room for; it returns the message to try again (after a pause, while the peer is held back
// by the stream's flow control) or nil to drop it.
func pump[In, Out any](st grpc.BidiStreamingServer[In, Out], send func(*In) error, events <-chan *Out, sessionErr func() error, closeSession func() error, refused func(*In, error) *In) error {
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	received := make(chan error, 1)
	go func() {
		received <- func() error {
			for {
				m, err := st.Recv()
				if err != nil {
					return err
				}
				for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
					err := send(m)
					if err == nil {
						break
					}
					if !errors.Is(err, api.ErrUnavailable) {
						return err
					}
					if m = refused(m, err); m == nil {
						break
					}
					select {
					case <-time.After(pause):
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
		}()
	}()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return sessionErr()
			}
			if err := st.Send(e); err != nil {
				return errors.Join(err, closeSession())
			}
		case err := <-received:
			closeErr := closeSession()
			if errors.Is(err, io.EOF) {
				return closeErr // the peer is done
			}
			if err := sessionErr(); err != nil && !errors.Is(err, api.ErrSessionEnded) {
				return err
			}
			return err
		}
	}
}

type frameworkService struct {
	v1.UnimplementedFrameworkServiceServer
	s *Server
}

func (f frameworkService) Session(st grpc.BidiStreamingServer[v1.FrameworkCall, v1.FrameworkEvent]) error {
	caller, err := f.s.door.caller(st.Context())
	if err != nil {
		return err
	}
	session, err := f.s.o.Broker.OpenFramework(st.Context(), caller)
	if err != nil {
		return err
	}
	// A framework's calls wait in the stream until there is room: its own flow control is the delay to retry.
	return pump(st, session.Send, session.Events(), session.Err, session.Close,
		func(m *v1.FrameworkCall, _ error) *v1.FrameworkCall { return m })
}

type agentService struct {
	v1.UnimplementedAgentServiceServer
	s *Server
}

func (a agentService) Session(st grpc.BidiStreamingServer[v1.AgentMessage, v1.AgentCommand]) error {
	caller, err := a.s.door.caller(st.Context())
	if err != nil {
		return err
	}
	session, err := a.s.o.Broker.OpenAgent(st.Context(), caller)
	if err != nil {
		return err
	}
	send := func(m *v1.AgentMessage) error {
		if r := m.GetRegister(); r != nil {
			a.findRack(st.Context(), r)
		}
		return session.Send(m)
	}
	return pump(st, send, session.Commands(), session.Err, session.Close,
		func(m *v1.AgentMessage, _ error) *v1.AgentMessage { return m })
}

// findRack fills in the rack of an agent that does not know it. An agent without a rack still serves, so a NameNode
// that does not answer costs locality and a warning, not the agent.
func (a agentService) findRack(ctx context.Context, r *v1.RegisterAgent) {
	if a.s.o.Racks == nil || r.GetInfo() == nil || r.Info.Rack != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	rack, ok, err := a.s.o.Racks.RackOf(ctx, r.Info.Host, r.Info.Addresses)
	switch {
	case err != nil:
		a.s.log.Warn("the rack of an agent could not be asked of the NameNode", zap.String("host", r.Info.Host), zap.Error(err))
	case ok:
		r.Info.Rack = rack
	}
}
