package resourcemanager

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// What clients change of an application that lives.

// change runs f with the application's mu held, if the caller may and it has not ended; then it waits until what f did is
// durable.
func (m *Manager) change(ctx context.Context, c *hadooprpc.Caller, p *wire.ApplicationIdProto, what string, f func(*application) error) error {
	a, err := m.application(p)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	a.mu.Lock()
	if err := a.checkModify(shortName(c.User)); err != nil {
		a.mu.Unlock()
		return err
	}
	if a.isFinal() || a.closing {
		state := a.state
		a.mu.Unlock()
		return hadooprpc.Errorf(hadooprpc.YarnException, "Application in %s state cannot %s.", state, what)
	}
	if err := f(a); err != nil {
		a.mu.Unlock()
		return err
	}
	a.save(func() { close(done) })
	a.mu.Unlock()
	for {
		a.mu.Lock()
		over, changed := a.ended, a.await()
		a.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-done:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.over:
			return hadooprpc.Errorf(hadooprpc.RetriableException, "the resource manager stops")
		}
	}
}

func (m *Manager) updatePriority(ctx context.Context, c *hadooprpc.Caller, q *wire.UpdateApplicationPriorityRequestProto) (proto.Message, error) {
	p := max(q.GetApplicationPriority().GetPriority(), 0)
	err := m.change(ctx, c, q.GetApplicationId(), "update priority", func(a *application) error {
		a.priority = p
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &wire.UpdateApplicationPriorityResponseProto{ApplicationPriority: &wire.PriorityProto{Priority: proto.Int32(p)}}, nil
}

func (m *Manager) updateTimeouts(ctx context.Context, c *hadooprpc.Caller, q *wire.UpdateApplicationTimeoutsRequestProto) (proto.Message, error) {
	if len(q.GetApplicationTimeouts()) == 0 {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "At least one ApplicationTimeoutType should be configured for updating timeouts.")
	}
	var at time.Time
	for _, t := range q.GetApplicationTimeouts() {
		var err error
		if len(t.GetExpireTime()) > 64 {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Expire time is not in ISO8601 format. ISO8601 supported format is yyyy-MM-dd'T'HH:mm:ss.SSSZ")
		}
		if at, err = parseExpiry(t.GetExpireTime()); err != nil {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Expire time is not in ISO8601 format. ISO8601 supported format is yyyy-MM-dd'T'HH:mm:ss.SSSZ. Configured timeout value is %s", t.GetExpireTime())
		}
		if !at.After(time.Now()) {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Expire time is less than current time, current-time=%s expire-time=%s", time.Now().UTC().Format(expiryFormat), t.GetExpireTime())
		}
	}
	err := m.change(ctx, c, q.GetApplicationId(), "update timeout", func(a *application) error {
		a.expires = at
		a.poke()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &wire.UpdateApplicationTimeoutsResponseProto{ApplicationTimeouts: q.GetApplicationTimeouts()}, nil
}

// parseExpiry reads a time as Java's Times.parseISO8601ToLocalTimeInMillis does; a zone may have a colon.
func parseExpiry(s string) (t time.Time, err error) {
	for _, format := range []string{expiryFormat, "2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05-0700"} {
		if t, err = time.Parse(format, s); err == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("time %.64q", s)
}

// signalContainer signals a container: its agent does, as it would for the master.
func (m *Manager) signalContainer(ctx context.Context, c *hadooprpc.Caller, q *wire.SignalContainerRequestProto) (proto.Message, error) {
	i, err := id.ContainerFrom(q.GetContainerId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.ContainerNotFound, "%v", err)
	}
	a := m.find(i.Application())
	if a == nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Trying to signal a container of an absent application: %s", i)
	}
	a.mu.Lock()
	if err := a.checkModify(shortName(c.User)); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	var found *container
	for _, k := range a.containers {
		if k.id == i && k.state >= granted {
			found = k
		}
	}
	t := a.current()
	if found == nil || t == nil {
		a.mu.Unlock()
		return nil, hadooprpc.Errorf(hadooprpc.ContainerNotFound, "Container with id '%s' doesn't exist in RM.", i)
	}
	node := found.node
	proof := a.nodeProof(t, node)
	a.mu.Unlock()
	err = m.callNode(ctx, node, proof, "signalToContainer", q, &wire.SignalContainerResponseProto{})
	if err != nil {
		return nil, fmt.Errorf("signal %s: %w", i, err)
	}
	return &wire.SignalContainerResponseProto{}, nil
}

// callNode calls an agent's ContainerManagement server as the attempt that proof is of.
func (m *Manager) callNode(ctx context.Context, where id.NodeID, proof writable.Token, method string, q, r proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := hadooprpc.Dial(ctx, where.String(), hadooprpc.ClientOptions{Protocol: "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB", Token: &proof})
	if err != nil {
		return hadooprpc.Errorf(hadooprpc.YarnException, "the node %s does not answer: %v", where, err)
	}
	defer c.Close()
	if err := c.Call(ctx, method, q, r); err != nil {
		return fmt.Errorf("%s on %s: %w", method, where, err)
	}
	return nil
}

// askNode says which containers of an agent were begun, by asking it.
func (m *Manager) askNode(ctx context.Context, a *application, t *attempt, where id.NodeID, all []*container) (map[id.ContainerID]bool, error) {
	q := &wire.GetContainerStatusesRequestProto{}
	for _, c := range all {
		q.ContainerId = append(q.ContainerId, c.id.Proto())
	}
	a.mu.Lock()
	proof := a.nodeProof(t, where)
	a.mu.Unlock()
	var r wire.GetContainerStatusesResponseProto
	if err := m.callNode(ctx, where, proof, "getContainerStatuses", q, &r); err != nil {
		return nil, err
	}
	out := map[id.ContainerID]bool{}
	for _, s := range r.Status {
		if i, err := id.ContainerFrom(s.GetContainerId()); err == nil {
			out[i] = s.GetState() != wire.ContainerStateProto_C_NEW
		}
	}
	return out, nil
}

func (m *Manager) moveApplication(ctx context.Context, c *hadooprpc.Caller, q *wire.MoveApplicationAcrossQueuesRequestProto) (proto.Message, error) {
	i, err := id.ApplicationFrom(q.GetApplicationId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "%v", err)
	}
	to, err := m.chooseQueue(ctx, i, caller(c), q.GetTargetQueue())
	if err != nil {
		return nil, err
	}
	err = m.change(ctx, c, q.GetApplicationId(), "be moved", func(a *application) error { return a.move(to) })
	if err != nil {
		return nil, err
	}
	return &wire.MoveApplicationAcrossQueuesResponseProto{}, nil
}

// move has the application work for another role.
func (a *application) move(to *queue) error {
	if to.role == a.queue.role {
		return nil
	}
	a.m.masters.release(a.m, a)
	a.former, a.queue = a.queue, to
	if t := a.current(); t != nil && t.master != nil {
		a.admitted = true
		a.m.masters.hold(a)
	}
	// Its requests are stated again when the broker has moved it.
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_ChangeRole{ChangeRole: &v1.ChangeRole{Role: to.role}}})
	return nil
}

// moved takes the broker's word that the framework works for the role of its queue.
func (a *application) moved() {
	a.former = nil
	t := a.current()
	if t == nil || a.closing {
		return
	}
	t.masterAsk = 0
	a.askMaster()
	if t.asks != nil {
		t.asks.soil()
		a.ask()
	}
}
