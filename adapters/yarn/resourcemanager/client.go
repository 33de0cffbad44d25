package resourcemanager

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	rpc "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

const clientProtocolName = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB"

func (m *Manager) clientProtocol() hadooprpc.Protocol {
	methods := map[string]hadooprpc.Method{
		"getNewApplication":           hadooprpc.Handle(m.getNewApplication),
		"submitApplication":           hadooprpc.Handle(m.submitApplication),
		"getApplicationReport":        hadooprpc.Handle(m.getApplicationReport),
		"forceKillApplication":        hadooprpc.Handle(m.forceKillApplication),
		"failApplicationAttempt":      hadooprpc.Handle(m.failApplicationAttempt),
		"getApplications":             hadooprpc.Handle(m.getApplications),
		"getApplicationAttemptReport": hadooprpc.Handle(m.getAttemptReport),
		"getApplicationAttempts":      hadooprpc.Handle(m.getAttempts),
		"getContainerReport":          hadooprpc.Handle(m.getContainerReport),
		"getContainers":               hadooprpc.Handle(m.getContainers),
		"moveApplicationAcrossQueues": hadooprpc.Handle(m.moveApplication),
		"updateApplicationPriority":   hadooprpc.Handle(m.updatePriority),
		"updateApplicationTimeouts":   hadooprpc.Handle(m.updateTimeouts),
		"signalToContainer":           hadooprpc.Handle(m.signalContainer),
		"getDelegationToken":          hadooprpc.Handle(m.getDelegationToken),
		"renewDelegationToken":        hadooprpc.Handle(m.renewDelegationToken),
		"cancelDelegationToken":       hadooprpc.Handle(m.cancelDelegationToken),
		"getClusterMetrics":           hadooprpc.Handle(m.getClusterMetrics),
		"getClusterNodes":             hadooprpc.Handle(m.getClusterNodes),
		"getQueueInfo":                hadooprpc.Handle(m.getQueueInfo),
		"getQueueUserAcls":            hadooprpc.Handle(m.getQueueUserAcls),
		"getResourceTypeInfo":         hadooprpc.Handle(m.getResourceTypes),
		"getNodeToLabels":             hadooprpc.Handle(m.getNodeToLabels),
		"getLabelsToNodes":            hadooprpc.Handle(m.getLabelsToNodes),
		"getClusterNodeLabels":        hadooprpc.Handle(m.getClusterNodeLabels),
		// No node has an attribute.
		"getClusterNodeAttributes": answer(&wire.GetClusterNodeAttributesResponseProto{}),
		"getAttributesToNodes":     answer(&wire.GetAttributesToNodesResponseProto{}),
		"getNodesToAttributes":     answer(&wire.GetNodesToAttributesResponseProto{}),
		"getResourceProfiles":      refuse(hadooprpc.FeatureNotEnabled, saidProfiles),
		"getResourceProfile":       refuse(hadooprpc.FeatureNotEnabled, saidProfiles),
	}
	for _, name := range []string{"getNewReservation", "submitReservation", "updateReservation", "deleteReservation", "listReservations"} {
		methods[name] = refuse(hadooprpc.YarnException, saidNoReservations)
	}
	return hadooprpc.Protocol{Name: clientProtocolName, Version: 1, Methods: m.guarded(methods)}
}

// answer is a method that has always the same answer.
func answer(x proto.Message) hadooprpc.Method {
	return func(context.Context, *hadooprpc.Caller, []byte) (proto.Message, error) { return x, nil }
}

// refuse is a method that YARN refuses where it is not enabled.
func refuse(class, message string) hadooprpc.Method {
	return func(context.Context, *hadooprpc.Caller, []byte) (proto.Message, error) {
		return nil, &hadooprpc.Exception{Class: class, Message: message}
	}
}

func (m *Manager) getNewApplication(ctx context.Context, c *hadooprpc.Caller, q *wire.GetNewApplicationRequestProto) (proto.Message, error) {
	return &wire.GetNewApplicationResponseProto{ApplicationId: m.newID().Proto(), MaximumCapability: m.cluster().largest.proto()}, nil
}

func (m *Manager) submitApplication(ctx context.Context, c *hadooprpc.Caller, q *wire.SubmitApplicationRequestProto) (proto.Message, error) {
	if err := m.submit(ctx, caller(c), q.GetApplicationSubmissionContext()); err != nil {
		return nil, err
	}
	return &wire.SubmitApplicationResponseProto{}, nil
}

// application is the one of an id that a client sent.
func (m *Manager) application(p *wire.ApplicationIdProto) (*application, error) {
	i, err := id.ApplicationFrom(p)
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Invalid application id: null, or %v", err)
	}
	if a := m.find(i); a != nil {
		return a, nil
	}
	return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Application with id '%s' doesn't exist in RM. Please check that the job submission was successful.", i)
}

func (m *Manager) getApplicationReport(ctx context.Context, c *hadooprpc.Caller, q *wire.GetApplicationReportRequestProto) (proto.Message, error) {
	a, err := m.application(q.GetApplicationId())
	if err != nil {
		return nil, err
	}
	v := m.viewer(shortName(c.User))
	return &wire.GetApplicationReportResponseProto{ApplicationReport: a.report(v.name, v.sees(a))}, nil
}

func (m *Manager) forceKillApplication(ctx context.Context, c *hadooprpc.Caller, q *wire.KillApplicationRequestProto) (proto.Message, error) {
	i, err := id.ApplicationFrom(q.GetApplicationId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Trying to kill an absent application: %v", err)
	}
	done, err := m.kill(ctx, caller(c), i, q.GetDiagnostics())
	if err != nil {
		return nil, err
	}
	return &wire.KillApplicationResponseProto{IsKillCompleted: proto.Bool(done)}, nil
}

func (m *Manager) failApplicationAttempt(ctx context.Context, c *hadooprpc.Caller, q *wire.FailApplicationAttemptRequestProto) (proto.Message, error) {
	i, err := id.AttemptFrom(q.GetApplicationAttemptId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "%v", err)
	}
	a := m.find(i.Application)
	if a == nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Trying to fail an application attempt %s of an absent application", i)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.checkModify(shortName(c.User)); err != nil {
		return nil, err
	}
	t := a.current()
	switch {
	case a.attempt(i.Number) == nil:
		return nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "ApplicationAttempt with id '%s' doesn't exist in RM.", i)
	case a.isFinal() || a.closing || t.id != i || isOver(t.state):
	default:
		a.failAttempt(t, fmt.Sprintf("Attempt %s was failed by user %s", i, shortName(c.User)), true)
		a.poke()
	}
	return &wire.FailApplicationAttemptResponseProto{}, nil
}

const (
	maxFilters = 1000 // values of one filter
	maxListed  = 20_000
)

func (m *Manager) getApplications(ctx context.Context, c *hadooprpc.Caller, q *wire.GetApplicationsRequestProto) (proto.Message, error) {
	for _, n := range []int{len(q.GetApplicationTypes()), len(q.GetApplicationStates()), len(q.GetUsers()), len(q.GetQueues()), len(q.GetApplicationTags())} {
		if n > maxFilters {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "a filter of %d values", n)
		}
	}
	limit := q.GetLimit()
	if q.Limit == nil || limit > maxListed {
		limit = maxListed
	}
	if limit < 0 {
		return nil, hadooprpc.Errorf(hadooprpc.IllegalArgument, "limit must be greater than 0")
	}
	v := m.viewer(shortName(c.User))
	var found []*application
	for _, a := range m.all() {
		a.mu.Lock()
		ok := a.matches(q, v.name)
		a.mu.Unlock()
		if ok && (q.GetScope() != wire.ApplicationsRequestScopeProto_VIEWABLE || v.sees(a)) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *application) int {
		return cmp.Or(cmp.Compare(b.id.Timestamp, a.id.Timestamp), cmp.Compare(b.id.Number, a.id.Number))
	})
	r := &wire.GetApplicationsResponseProto{}
	for _, a := range found[:min(len(found), int(limit))] {
		r.Applications = append(r.Applications, a.report(v.name, v.sees(a)))
	}
	return r, nil
}

// matches tells whether an application passes a client's filters. With mu held.
func (a *application) matches(q *wire.GetApplicationsRequestProto, who string) bool {
	if a.refused != nil || a.queue == nil {
		return false
	}
	within := func(t time.Time, from, to *int64) bool {
		ms := millis(t)
		return (from == nil || ms >= *from) && (to == nil || ms <= *to)
	}
	one := func(list []string, is func(string) bool) bool { return len(list) == 0 || slices.ContainsFunc(list, is) }
	return one(q.GetApplicationTypes(), func(s string) bool { return strings.EqualFold(s, a.kind) }) &&
		(len(q.GetApplicationStates()) == 0 || slices.Contains(q.GetApplicationStates(), a.state)) &&
		one(q.GetUsers(), func(s string) bool { return s == a.user }) &&
		one(q.GetQueues(), func(s string) bool {
			return s == a.queue.name || "root."+s == a.queue.name || s == a.queue.role || strings.HasSuffix(a.queue.name, "."+s)
		}) &&
		one(q.GetApplicationTags(), func(s string) bool { return slices.Contains(a.tags, strings.ToLower(s)) }) &&
		(q.GetScope() != wire.ApplicationsRequestScopeProto_OWN || who == a.user) &&
		(q.GetName() == "" || q.GetName() == a.name) &&
		within(a.submitted, q.StartBegin, q.StartEnd) && within(a.finished, q.FinishBegin, q.FinishEnd)
}

func (m *Manager) getAttemptReport(ctx context.Context, c *hadooprpc.Caller, q *wire.GetApplicationAttemptReportRequestProto) (proto.Message, error) {
	i, err := id.AttemptFrom(q.GetApplicationAttemptId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "%v", err)
	}
	a := m.find(i.Application)
	if a == nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Application with id '%s' doesn't exist in RM. Please check that the job submission was successful.", i.Application)
	}
	if err := m.viewer(shortName(c.User)).check(a, "attempt", i); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.attempt(i.Number)
	if t == nil {
		return nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "ApplicationAttempt with id '%s' doesn't exist in RM.", i)
	}
	return &wire.GetApplicationAttemptReportResponseProto{ApplicationAttemptReport: attemptReport(a.describeAttempt(t))}, nil
}

func (m *Manager) getAttempts(ctx context.Context, c *hadooprpc.Caller, q *wire.GetApplicationAttemptsRequestProto) (proto.Message, error) {
	a, err := m.application(q.GetApplicationId())
	if err != nil {
		return nil, err
	}
	if err := m.viewer(shortName(c.User)).check(a, "application", a.id); err != nil {
		return nil, err
	}
	r := &wire.GetApplicationAttemptsResponseProto{}
	all, _ := m.Attempts(a.id)
	for _, x := range all {
		r.ApplicationAttempts = append(r.ApplicationAttempts, attemptReport(x))
	}
	return r, nil
}

func (m *Manager) getContainerReport(ctx context.Context, c *hadooprpc.Caller, q *wire.GetContainerReportRequestProto) (proto.Message, error) {
	i, err := id.ContainerFrom(q.GetContainerId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.ContainerNotFound, "%v", err)
	}
	a := m.find(i.Application())
	if a == nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Application with id '%s' doesn't exist in RM. Please check that the job submission was successful.", i.Application())
	}
	if err := m.viewer(shortName(c.User)).check(a, "application", a.id); err != nil {
		return nil, err
	}
	x, ok := a.containerOf(i)
	if !ok {
		return nil, hadooprpc.Errorf(hadooprpc.ContainerNotFound, "Container with id '%s' doesn't exist in RM.", i)
	}
	return &wire.GetContainerReportResponseProto{ContainerReport: containerReport(x)}, nil
}

func (m *Manager) getContainers(ctx context.Context, c *hadooprpc.Caller, q *wire.GetContainersRequestProto) (proto.Message, error) {
	i, err := id.AttemptFrom(q.GetApplicationAttemptId())
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "%v", err)
	}
	a := m.find(i.Application)
	if a == nil {
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Application with id '%s' doesn't exist in RM. Please check that the job submission was successful.", i.Application)
	}
	if err := m.viewer(shortName(c.User)).check(a, "application", a.id); err != nil {
		return nil, err
	}
	all, ok := m.Containers(i)
	if !ok {
		return nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "ApplicationAttempt with id '%s' doesn't exist in RM.", i)
	}
	r := &wire.GetContainersResponseProto{}
	for _, x := range all {
		r.Containers = append(r.Containers, containerReport(x))
	}
	return r, nil
}

func (m *Manager) getDelegationToken(ctx context.Context, c *hadooprpc.Caller, q *rpc.GetDelegationTokenRequestProto) (proto.Message, error) {
	if c.Token != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Delegation Token can be issued only with kerberos authentication")
	}
	if err := checkUser(shortName(c.User)); err != nil {
		return nil, err
	}
	if len(q.GetRenewer()) > maxUser*4 || !utf8Clean(q.GetRenewer()) {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "a renewer of %d bytes", len(q.GetRenewer()))
	}
	t := m.tokens.issue(c, q.GetRenewer(), m.clientService(), time.Now())
	return &rpc.GetDelegationTokenResponseProto{Token: t.Proto()}, nil
}

// clientService is what the tokens of this server are for: the address that clients dial.
func (m *Manager) clientService() string {
	if m.o.Client == nil {
		return m.o.Host + ":8032"
	}
	return m.o.Host + m.o.Client.Addr().String()[strings.LastIndexByte(m.o.Client.Addr().String(), ':'):]
}

func (m *Manager) renewDelegationToken(ctx context.Context, c *hadooprpc.Caller, q *rpc.RenewDelegationTokenRequestProto) (proto.Message, error) {
	at, err := m.tokens.renew(shortName(c.User), writable.TokenFrom(q.GetToken()), time.Now())
	if err != nil {
		return nil, err
	}
	return &rpc.RenewDelegationTokenResponseProto{NewExpiryTime: proto.Uint64(uint64(at.UnixMilli()))}, nil
}

func (m *Manager) cancelDelegationToken(ctx context.Context, c *hadooprpc.Caller, q *rpc.CancelDelegationTokenRequestProto) (proto.Message, error) {
	if err := m.tokens.cancel(shortName(c.User), writable.TokenFrom(q.GetToken()), time.Now()); err != nil {
		return nil, err
	}
	return &rpc.CancelDelegationTokenResponseProto{}, nil
}
