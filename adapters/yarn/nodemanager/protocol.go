package nodemanager

import (
	"context"
	"errors"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"google.golang.org/protobuf/proto"
)

// ProtocolName is ContainerManagementProtocol on the wire.
const ProtocolName = "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB"

func (m *Manager) protocol() hadooprpc.Protocol {
	return hadooprpc.Protocol{Name: ProtocolName, Version: 1, Methods: map[string]hadooprpc.Method{
		"startContainers":              hadooprpc.Handle(m.startContainers),
		"stopContainers":               hadooprpc.Handle(m.stopContainers),
		"getContainerStatuses":         hadooprpc.Handle(m.getContainerStatuses),
		"signalToContainer":            hadooprpc.Handle(m.signalToContainer),
		"updateContainer":              hadooprpc.Handle(m.updateContainer),
		"increaseContainersResource":   hadooprpc.Handle(m.increaseContainers),
		"localize":                     hadooprpc.Handle(m.localize),
		"getLocalizationStatuses":      hadooprpc.Handle(m.getLocalizationStatuses),
		"reInitializeContainer":        refused("Container re-initialization"),
		"restartContainer":             refused("Container restart"),
		"rollbackLastReInitialization": refused("Container re-initialization"),
		"commitLastReInitialization":   refused("Container re-initialization"),
	}}
}

func refused(what string) hadooprpc.Method {
	return func(context.Context, *hadooprpc.Caller, []byte) (proto.Message, error) {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%s is not supported on this cluster", what)
	}
}

// caller is the attempt whose token opened the connection.
func caller(c *hadooprpc.Caller) (token.NM, error) {
	if c.Token == nil || c.Token.Kind != token.KindNM {
		return token.NM{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "no NM token")
	}
	return token.ParseNM(c.Token.Identifier)
}

// order has a master's order to one container carried out, and logs it if do refuses.
func (m *Manager) order(c *hadooprpc.Caller, to *wire.ContainerIdProto, wanted string, do func(token.NM, id.ContainerID) error) error {
	who, err := caller(c)
	if err != nil {
		return err
	}
	cid, err := id.ContainerFrom(to)
	if err != nil {
		return hadooprpc.Errorf(hadooprpc.YarnException, "%v", err)
	}
	if err := do(who, cid); err != nil {
		m.refusals.log(m.log, c.Remote, who.Attempt.String(), wanted, err)
		return err
	}
	return nil
}

func (m *Manager) startContainers(ctx context.Context, c *hadooprpc.Caller, q *wire.StartContainersRequestProto) (proto.Message, error) {
	who, err := caller(c)
	if err != nil {
		return nil, err
	}
	r := &wire.StartContainersResponseProto{}
	for _, aux := range m.auxiliary {
		r.ServicesMetaData = append(r.ServicesMetaData, &wire.StringBytesMapProto{Key: proto.String(aux.Name()), Value: aux.Metadata()})
	}
	for _, s := range q.GetStartContainerRequest() {
		t, err := m.permitted(ctx, who, s.GetContainerToken().GetIdentifier(), s.GetContainerToken().GetPassword())
		if err == nil && time.Now().After(t.Expires) {
			err = hadooprpc.Errorf(hadooprpc.YarnException, "Unauthorized request to start container. \nThis token is expired. current time is %d found %d\nNote: System times on machines may be out of sync. Check system time and time zones.",
				time.Now().UnixMilli(), t.Expires.UnixMilli())
		}
		if err == nil {
			err = m.begin(t.ID, s.GetContainerLaunchContext())
		}
		var e *hadooprpc.Exception
		switch {
		case err == nil:
			r.SucceededRequests = append(r.SucceededRequests, t.ID.Proto())
		case errors.As(err, &e) && e.Class == hadooprpc.InvalidToken:
			m.refusals.log(m.log, c.Remote, who.Attempt.String(), "start", err)
			return nil, err
		default:
			m.refusals.log(m.log, c.Remote, who.Attempt.String(), "start", err)
			r.FailedRequests = append(r.FailedRequests, failed(t.ID, err))
		}
	}
	return r, nil
}

// permitted checks a container token: that it is genuine, for this node, and of the caller's application.
func (m *Manager) permitted(ctx context.Context, who token.NM, identifier, password []byte) (token.Container, error) {
	t, err := token.ParseContainer(identifier)
	if err != nil {
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "Invalid container token used for starting container on : %s", m.node)
	}
	a, err := m.application(ctx, t.ID.Application())
	if err != nil {
		return t, err
	}
	if !token.Check(a.keys.Container, identifier, password) || t.Node != m.node.String() || t.User != a.kept.User {
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "Invalid container token used for starting container on : %s", m.node)
	}
	if t.ID.Application() != who.Attempt.Application {
		return t, hadooprpc.Errorf(hadooprpc.YarnException, "Unauthorized request to start container. \nNMToken for application attempt : %s was used for starting container with container token issued for application attempt : %s",
			who.Attempt, t.ID.Attempt)
	}
	return t, nil
}

func failed(cid id.ContainerID, err error) *wire.ContainerExceptionMapProto {
	class, message := hadooprpc.YarnException, err.Error()
	var e *hadooprpc.Exception
	if errors.As(err, &e) {
		class, message = e.Class, e.Message
	}
	return &wire.ContainerExceptionMapProto{ContainerId: cid.Proto(), Exception: &wire.SerializedExceptionProto{
		Message: proto.String(message), ClassName: proto.String(class), Trace: proto.String("")}}
}

// of finds a container of the caller's application.
func (m *Manager) of(who token.NM, cid id.ContainerID, verb string) (*container, error) {
	if cid.Application() != who.Attempt.Application {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%s attempted to %s non-application container : %s", who.Attempt, verb, cid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.containers[cid]; c != nil {
		return c, nil
	}
	return nil, errUnknown
}

func (m *Manager) stopContainers(_ context.Context, caller_ *hadooprpc.Caller, q *wire.StopContainersRequestProto) (proto.Message, error) {
	who, err := caller(caller_)
	if err != nil {
		return nil, err
	}
	r := &wire.StopContainersResponseProto{}
	for _, p := range q.GetContainerId() {
		cid, err := id.ContainerFrom(p)
		if err != nil {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%v", err)
		}
		c, err := m.of(who, cid, "stop")
		if err != nil {
			if errors.Is(err, errUnknown) {
				err = hadooprpc.Errorf(hadooprpc.YarnException, "Container %s is not handled by this NodeManager", cid)
			}
			m.refusals.log(m.log, caller_.Remote, who.Attempt.String(), "stop", err)
			r.FailedRequests = append(r.FailedRequests, failed(cid, err))
			continue
		}
		m.mu.Lock()
		task, ended := c.task, c.outcome != nil
		c.stopped = c.stopped || task == nil
		m.mu.Unlock()
		if task != nil && !ended {
			m.host.Kill(task, killGrace, whyMaster)
		}
		r.SucceededRequests = append(r.SucceededRequests, cid.Proto())
	}
	return r, nil
}

// killGrace is yarn.nodemanager.sleep-delay-before-sigkill.ms.
const killGrace = 250 * time.Millisecond

func (m *Manager) getContainerStatuses(_ context.Context, caller_ *hadooprpc.Caller, q *wire.GetContainerStatusesRequestProto) (proto.Message, error) {
	who, err := caller(caller_)
	if err != nil {
		return nil, err
	}
	r := &wire.GetContainerStatusesResponseProto{}
	for _, p := range q.GetContainerId() {
		cid, err := id.ContainerFrom(p)
		if err != nil {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%v", err)
		}
		c, err := m.of(who, cid, "get status for")
		if err != nil {
			if errors.Is(err, errUnknown) { // its own, and gone: no offence
				err = hadooprpc.Errorf(hadooprpc.YarnException, "Container %s is not handled by this NodeManager", cid)
			} else {
				m.refusals.log(m.log, caller_.Remote, who.Attempt.String(), "status", err)
			}
			r.FailedRequests = append(r.FailedRequests, failed(cid, err))
			continue
		}
		r.Status = append(r.Status, m.status(c))
	}
	return r, nil
}

func (m *Manager) status(c *container) *wire.ContainerStatusProto {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &wire.ContainerStatusProto{ContainerId: c.id.Proto(), State: wire.ContainerStateProto_C_RUNNING.Enum(), ExitStatus: proto.Int32(statusInvalid), Diagnostics: proto.String(""),
		ExecutionType: wire.ExecutionTypeProto_GUARANTEED.Enum(),
		ContainerAttributes: []*wire.StringStringMapProto{
			{Key: proto.String("IP"), Value: proto.String(m.node.Host)}, {Key: proto.String("HOST"), Value: proto.String(m.node.Host)}}}
	if c.grant != nil {
		s.Capability = token.Resource(c.memoryMB(), c.vcores)
	}
	switch {
	case c.outcome != nil:
		s.State, s.ExitStatus, s.Diagnostics = wire.ContainerStateProto_C_COMPLETE.Enum(), proto.Int32(c.outcome.ExitStatus), proto.String(c.outcome.Diagnostics)
		s.ContainerSubState = wire.ContainerSubStateProto_CSS_DONE.Enum()
	case !c.begun && !c.grant.GetMaster():
		// Granted, and no master has started it: the resource manager asks for this after its restart.
		s.State = wire.ContainerStateProto_C_NEW.Enum()
		s.ContainerSubState = wire.ContainerSubStateProto_CSS_SCHEDULED.Enum()
	case c.process == nil:
		s.ContainerSubState = wire.ContainerSubStateProto_CSS_SCHEDULED.Enum()
	default:
		s.ContainerSubState = wire.ContainerSubStateProto_CSS_RUNNING.Enum()
	}
	return s
}
