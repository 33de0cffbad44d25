package nodemanager

import (
	"context"
	"errors"
	"os"
	"syscall"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"google.golang.org/protobuf/proto"
)

func (m *Manager) signalToContainer(_ context.Context, c *hadooprpc.Caller, q *wire.SignalContainerRequestProto) (proto.Message, error) {
	return &wire.SignalContainerResponseProto{}, m.order(c, q.GetContainerId(), "signal", func(who token.NM, cid id.ContainerID) error {
		return m.signal(who, cid, q.GetCommand())
	})
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
