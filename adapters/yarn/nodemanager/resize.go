package nodemanager

import (
	"context"
	"time"

	"fairway/adapters/hadooprpc"
	hadoop "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/memory"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"google.golang.org/protobuf/proto"
)

// resizePatience is how long a master that comes with a new token waits for the broker's word on it, which is sent when
// the token is.
const resizePatience = 10 * time.Second

// size takes a container's resources from its task, unless a later change is known. Under mu.
func (c *container) size(spec *v1.TaskSpec) {
	version := int32(spec.GetRevision())
	if version < c.version {
		return
	}
	if c.limit, c.vcores = spec.GetResources().GetMemoryBytes(), int32(spec.GetResources().GetCpuMilli()/1000); version == 0 {
		c.vcores = c.grant.GetVcores()
	}
	if c.version = version; c.resized != nil {
		close(c.resized)
		c.resized = nil
	}
}

// memoryMB is the memory of a container as YARN counts it. Under mu.
func (c *container) memoryMB() int64 {
	if c.version == 0 {
		return c.grant.GetMemoryMb()
	}
	return c.limit >> 20
}

// Resized implements service.Service.
func (m *Manager) Resized(spec *v1.TaskSpec) (memoryLimitBytes int64, hardCPU bool) {
	if c := m.find(spec); c != nil {
		m.mu.Lock()
		c.size(spec)
		if c.process != nil {
			m.monitor.Watch(memory.Container{ID: c.id.String(), LimitBytes: c.limit, Process: c.process})
		}
		m.mu.Unlock()
	}
	return hardLimit(spec.GetResources().GetMemoryBytes()), m.o.HardCPU
}

func (m *Manager) updateContainer(ctx context.Context, c *hadooprpc.Caller, q *wire.ContainerUpdateRequestProto) (proto.Message, error) {
	good, bad, err := m.update(ctx, c, q.GetUpdateContainerToken())
	if err != nil {
		return nil, err
	}
	return &wire.ContainerUpdateResponseProto{SucceededRequests: good, FailedRequests: bad}, nil
}

func (m *Manager) increaseContainers(ctx context.Context, c *hadooprpc.Caller, q *wire.IncreaseContainersResourceRequestProto) (proto.Message, error) {
	good, bad, err := m.update(ctx, c, q.GetIncreaseContainers())
	if err != nil {
		return nil, err
	}
	return &wire.IncreaseContainersResourceResponseProto{SucceededRequests: good, FailedRequests: bad}, nil
}

// update answers for each container whether it has what its token says. The change itself comes from the broker, as in YARN
// with yarn.resourcemanager.auto-update.containers; a master that asks for it waits until it is there.
func (m *Manager) update(ctx context.Context, c *hadooprpc.Caller, tokens []*hadoop.TokenProto) (good []*wire.ContainerIdProto, bad []*wire.ContainerExceptionMapProto, err error) {
	who, err := caller(c)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resizePatience)
	defer cancel()
	for _, t := range tokens {
		permit, err := m.permitted(ctx, who, t.GetIdentifier(), t.GetPassword())
		if err != nil {
			m.refusals.log(m.log, c.Remote, who.Attempt.String(), "update", err)
			return nil, nil, err
		}
		if err := m.awaitSize(ctx, permit); err != nil {
			m.refusals.log(m.log, c.Remote, who.Attempt.String(), "update", err)
			bad = append(bad, failed(permit.ID, err))
			continue
		}
		good = append(good, permit.ID.Proto())
	}
	return good, bad, nil
}

// awaitSize waits until a container has the resources of a token.
func (m *Manager) awaitSize(ctx context.Context, permit token.Container) error {
	for {
		changed, err := m.hasSize(permit)
		if changed == nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return hadooprpc.Errorf(hadooprpc.YarnException, "the new resources of container %s have not come to this node yet", permit.ID)
		}
	}
}

// hasSize tells whether a container has the resources of a token; it may yet get them when the channel that is returned is
// closed.
func (m *Manager) hasSize(permit token.Container) (<-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.containers[permit.ID]
	switch {
	case c == nil || c.grant == nil || c.outcome != nil:
		return nil, notHandled(permit.ID)
	case c.version > permit.Version:
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Container %s has version %d of its resources and the token is of version %d", permit.ID, c.version, permit.Version)
	case c.version == permit.Version:
		return nil, nil
	}
	if c.resized == nil {
		c.resized = make(chan struct{})
	}
	return c.resized, nil
}

func notHandled(cid id.ContainerID) error {
	return hadooprpc.Errorf(hadooprpc.YarnException, "Container %s is not handled by this NodeManager", cid)
}
