package nodemanager

import (
	"context"
	"errors"
	"os"
	"syscall"

	"fairway/adapters/hadooprpc"
	hadoop "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"google.golang.org/protobuf/proto"
)

func (m *Manager) signalToContainer(_ context.Context, c *hadooprpc.Caller, q *wire.SignalContainerRequestProto) (proto.Message, error) {
	who, err := caller(c)
	if err != nil {
		return nil, err
	}
	cid, err := id.ContainerFrom(q.GetContainerId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%v", err)
	}
	if err := m.signal(who, cid, q.GetCommand()); err != nil {
		m.refusals.log(m.log, c.Remote, who.Attempt.String(), "signal", err)
		return nil, err
	}
	return &wire.SignalContainerResponseProto{}, nil
}

// signal does nothing to a container that does not run, as YARN does.
func (m *Manager) signal(who token.NM, cid id.ContainerID, command wire.SignalContainerCommandProto) error {
	c, err := m.of(who, cid, "signal")
	if errors.Is(err, errUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	var s syscall.Signal
	switch command {
	case wire.SignalContainerCommandProto_OUTPUT_THREAD_DUMP:
		s = syscall.SIGQUIT
	case wire.SignalContainerCommandProto_GRACEFUL_SHUTDOWN:
		s = syscall.SIGTERM
	case wire.SignalContainerCommandProto_FORCEFUL_SHUTDOWN:
		s = syscall.SIGKILL
	default:
		return hadooprpc.Errorf(hadooprpc.YarnException, "unknown signal %d", command)
	}
	m.mu.Lock()
	p := c.process
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return hadooprpc.Errorf(hadooprpc.YarnException, "signal %s: %v", cid, err)
	}
	return nil
}

func (m *Manager) updateContainer(ctx context.Context, c *hadooprpc.Caller, q *wire.ContainerUpdateRequestProto) (proto.Message, error) {
	bad, err := m.update(ctx, c, q.GetUpdateContainerToken())
	if err != nil {
		return nil, err
	}
	return &wire.ContainerUpdateResponseProto{FailedRequests: bad}, nil
}

func (m *Manager) increaseContainers(ctx context.Context, c *hadooprpc.Caller, q *wire.IncreaseContainersResourceRequestProto) (proto.Message, error) {
	bad, err := m.update(ctx, c, q.GetIncreaseContainers())
	if err != nil {
		return nil, err
	}
	return &wire.IncreaseContainersResourceResponseProto{FailedRequests: bad}, nil
}

// update refuses each container: the limits of a task that runs do not change. The tokens are checked all the same.
func (m *Manager) update(ctx context.Context, c *hadooprpc.Caller, tokens []*hadoop.TokenProto) (bad []*wire.ContainerExceptionMapProto, err error) {
	who, err := caller(c)
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		permit, err := m.permitted(ctx, who, t.GetIdentifier(), t.GetPassword())
		if err != nil {
			m.refusals.log(m.log, c.Remote, who.Attempt.String(), "update", err)
			return nil, err
		}
		bad = append(bad, failed(permit.ID, hadooprpc.Errorf(hadooprpc.YarnException, "the resources of container %s cannot be changed while it runs", permit.ID)))
	}
	return bad, nil
}
