package resourcemanager

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

// Bounds of one call of a master, beyond the frame's.
const (
	maxPlaceName = 255
	maxExcluded  = 10_000
	maxAddress   = 4096 // bytes of a tracking URL
	maxWanted    = 1 << 24
)

func (m *Manager) masterProtocol() hadooprpc.Protocol {
	return hadooprpc.Protocol{Name: "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB", Version: 1, Methods: m.guarded(map[string]hadooprpc.Method{
		"registerApplicationMaster": hadooprpc.Handle(m.registerMaster),
		"allocate":                  hadooprpc.Handle(m.allocate),
		"finishApplicationMaster":   hadooprpc.Handle(m.finishMaster),
	})}
}

// master is the application and the attempt that a caller's token names. The attempt's calls is held.
func (m *Manager) master(ctx context.Context, c *hadooprpc.Caller) (*application, *attempt, error) {
	if c.Token == nil || c.Token.Kind != token.KindAMRM {
		return nil, nil, hadooprpc.Errorf(hadooprpc.AccessControlException, "No AMRMToken found for user %s", c.User)
	}
	x, ok := c.Value.(token.AMRM)
	if !ok {
		var err error
		if x, err = token.ParseAMRM(c.Token.Identifier); err != nil {
			return nil, nil, hadooprpc.Errorf(hadooprpc.InvalidToken, "%v", err)
		}
	}
	if err := m.wait(ctx); err != nil {
		return nil, nil, err
	}
	if a := m.find(x.Attempt.Application); a != nil {
		a.mu.Lock()
		t := a.current()
		a.mu.Unlock()
		if t != nil && t.id == x.Attempt {
			t.calls.Lock()
			return a, t, nil
		}
	}
	return nil, nil, hadooprpc.Errorf(hadooprpc.AttemptNotFound, "Application attempt %s doesn't exist in ApplicationMasterService cache.", x.Attempt)
}

// unknown is the answer to a master whose attempt is over.
func (t *attempt) unknown() error {
	return hadooprpc.Errorf(hadooprpc.AttemptNotFound, "Application attempt %s doesn't exist in ApplicationMasterService cache.", t.id)
}

func (m *Manager) registerMaster(ctx context.Context, c *hadooprpc.Caller, q *wire.RegisterApplicationMasterRequestProto) (proto.Message, error) {
	a, t, err := m.master(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.calls.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended || a.closing || isOver(t.state) || t.unregistered:
		return nil, t.unknown()
	case t.registered && !(a.isUnmanaged && a.keep):
		return nil, hadooprpc.Errorf(hadooprpc.InvalidApplicationMasterRequest, "Application Master is already registered : %s", a.id)
	case len(q.GetHost()) > maxPlaceName || len(q.GetTrackingUrl()) > maxAddress || !utf8Clean(q.GetHost(), q.GetTrackingUrl()) || q.GetRpcPort() < -1 || q.GetRpcPort() > 65535:
		return nil, hadooprpc.Errorf(hadooprpc.InvalidApplicationMasterRequest, "a host, port or tracking URL that is none")
	}
	rules, err := rulesOf(q.GetPlacementConstraints())
	if err != nil {
		return nil, err
	}
	t.rules = rules
	now := time.Now()
	if !t.contact.IsZero() {
		t.came = now.Sub(t.contact)
	}
	t.registered, t.responseID, t.last, t.contact, t.works = true, 0, nil, now, now.Add(slowStart)
	t.host, t.port, t.tracking = q.GetHost(), q.GetRpcPort(), q.GetTrackingUrl()
	t.state, a.state = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_RUNNING, wire.YarnApplicationStateProto_RUNNING
	if a.launched.IsZero() {
		a.launched = t.contact
	}
	a.dropAsks(t) // it states all of them
	t.excluded = nil
	t.gathers = a.isGang()
	r := &wire.RegisterApplicationMasterResponseProto{
		MaximumCapability: m.cluster().largest.proto(), Queue: proto.String(a.queue.name), Application_ACLs: a.submission.GetAmContainerSpec().GetApplication_ACLs(),
		SchedulerResourceTypes: []wire.SchedulerResourceTypes{wire.SchedulerResourceTypes_MEMORY, wire.SchedulerResourceTypes_CPU}, ResourceTypes: m.resourceTypes(),
	}
	for _, k := range t.previous {
		if a.containers[k.task] == k && k.node != (id.NodeID{}) {
			r.ContainersFromPreviousAttempts = append(r.ContainersFromPreviousAttempts, k.proto(a, t.contact))
			if !t.given[k.node] {
				t.given[k.node] = true
				r.NmTokensFromPreviousAttempts = append(r.NmTokensFromPreviousAttempts, a.nodeToken(t, k.node))
			}
		}
	}
	a.save(nil)
	a.progress()
	a.signal()
	return r, nil
}

// checked is an allocate request that may be carried out.
type checked struct {
	asks    []checkedAsk
	release []id.ContainerID
	// requests with placement constraints
	scheduling []schedulingAsk
}

type checkedAsk struct {
	key   askKey
	name  string
	label string // of a "*" row
	count int64
	relax bool
}

// check holds a request against what a master may ask, before anything of it is done. With the application's mu held.
func (m *Manager) check(a *application, t *attempt, q *wire.AllocateRequestProto) (*checked, error) {
	x := &checked{}
	if p := q.GetProgress(); math.IsNaN(float64(p)) || math.IsInf(float64(p), 0) {
		q.Progress = proto.Float32(0)
	}
	var err error
	if x.scheduling, err = a.checkScheduling(t, q.GetSchedulingRequests()); err != nil {
		return nil, err
	}
	if len(q.GetAsk()) > m.o.MaxAsks {
		return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request, %d rows in one call; %d are the most", len(q.GetAsk()), m.o.MaxAsks)
	}
	s := m.cluster()
	var last *wire.ResourceProto
	var lastAmount amount
	for _, r := range q.GetAsk() {
		name := r.GetResourceName()
		if name == "" || len(name) > maxPlaceName || !utf8Clean(name) {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request, resource name %.64q", name)
		}
		label, err := a.checkLabel(s, t, r)
		if err != nil {
			return nil, err
		}
		if n := r.GetNumContainers(); n < 0 || n > maxWanted {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request, %d containers", n)
		}
		if last == nil || !sameCapability(last, r.GetCapability()) {
			var err error
			if lastAmount, err = m.checkAmount(r.GetCapability()); err != nil {
				return nil, err
			}
			last = r.GetCapability()
		}
		x.asks = append(x.asks, checkedAsk{
			key: askKey{priority: r.GetPriority().GetPriority(), requestID: r.GetAllocationRequestId(), amount: lastAmount}, name: name, label: label,
			count: int64(r.GetNumContainers()), relax: r.GetRelaxLocality(),
		})
	}
	if t.asks.rows+len(x.asks) > 2*m.o.MaxAsks {
		return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request, more than %d rows are kept", 2*m.o.MaxAsks)
	}
	if len(q.GetRelease()) > m.o.MaxAsks || len(q.GetUpdateRequests()) > m.o.MaxAsks {
		return nil, hadooprpc.Errorf(hadooprpc.InvalidContainerRelease, "%d containers in one call", len(q.GetRelease()))
	}
	for _, p := range q.GetRelease() {
		c, err := id.ContainerFrom(p)
		if err != nil {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidContainerRelease, "%v", err)
		}
		if c.Application() != a.id || !a.keep && c.Attempt != t.id {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidContainerRelease, "Cannot release container : %s not belonging to this application attempt : %s", c, t.id)
		}
		x.release = append(x.release, c)
	}
	b := q.GetBlacklistRequest()
	for _, names := range [][]string{b.GetBlacklistAdditions(), b.GetBlacklistRemovals()} {
		if len(names) > maxExcluded {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceBlacklistRequest, "%d places in one call", len(names))
		}
		for _, name := range names {
			if len(name) > maxPlaceName || !utf8Clean(name) {
				return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceBlacklistRequest, "no name of a place: %.64q", name)
			}
		}
	}
	for _, name := range b.GetBlacklistAdditions() {
		if name == anywhere {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceBlacklistRequest, "Cannot add * to the blacklist!")
		}
	}
	return x, nil
}

// sameCapability tells whether two capabilities are equal without further kinds to compare.
func sameCapability(a, b *wire.ResourceProto) bool {
	return a.GetMemory() == b.GetMemory() && a.GetVirtualCores() == b.GetVirtualCores() && len(a.GetResourceValueMap()) <= 2 && len(b.GetResourceValueMap()) <= 2 &&
		plain(a) && plain(b)
}

func plain(p *wire.ResourceProto) bool {
	for _, r := range p.GetResourceValueMap() {
		if k := r.GetKey(); k != memoryName && k != vcoresName {
			return false
		}
	}
	return true
}

// following is the response id after another; it never goes below 0.
func following(n int32) int32 { return (n + 1) & math.MaxInt32 }

func (m *Manager) allocate(ctx context.Context, c *hadooprpc.Caller, q *wire.AllocateRequestProto) (proto.Message, error) {
	begun := time.Now()
	a, t, err := m.master(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.calls.Unlock()
	m.met.allocate.Inc()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended || a.closing || isOver(t.state) || t.unregistered:
		return nil, t.unknown()
	case !t.registered:
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationMasterNotRegistered,
			"AM is not registered for known application attempt: %s or RM had restarted after AM registered.  AM should re-register.", t.id)
	case t.last != nil && following(q.GetResponseId()) == t.responseID:
		t.contact = begun
		return t.last, nil // the answer was lost on its way
	case q.GetResponseId() != t.responseID:
		return nil, hadooprpc.Errorf(hadooprpc.InvalidApplicationMasterRequest,
			"Invalid responseId in AllocateRequest from application attempt: %s, expect responseId to be %d, but get %d", t.id, t.responseID, q.GetResponseId())
	}
	t.contact = begun
	x, err := m.check(a, t, q)
	if err != nil {
		return nil, err
	}
	a.acknowledgeAll(t.told) // its master has read the last answer
	t.told = nil
	if a.apply(t, q, x, begun) {
		a.hold(ctx, t)
	}
	if a.ended || a.closing || isOver(t.state) || t.unregistered {
		return nil, t.unknown()
	}
	t.last, t.responseID = a.answer(t, begun), following(t.responseID)
	return t.last, nil
}

// apply does what a checked request says; it tells whether more is wanted than before.
func (a *application) apply(t *attempt, q *wire.AllocateRequestProto, x *checked, now time.Time) (more bool) {
	if t.progress = min(max(q.GetProgress(), 0), 1); math.Abs(float64(t.progress-t.shown)) >= 0.01 && now.Sub(t.shownAt) >= time.Second {
		t.shown, t.shownAt = t.progress, now
		a.progress()
	}
	if u := q.GetTrackingUrl(); u != "" && len(u) <= maxAddress && utf8Clean(u) {
		t.tracking = u
	}
	changed := false
	b := q.GetBlacklistRequest()
	for _, name := range b.GetBlacklistAdditions() {
		if t.excluded == nil {
			t.excluded = map[string]bool{}
		}
		if name = strings.ToLower(name); !t.excluded[name] && len(t.excluded) < maxExcluded {
			t.excluded[name], changed = true, true
		}
	}
	for _, name := range b.GetBlacklistRemovals() {
		if name = strings.ToLower(name); t.excluded[name] {
			delete(t.excluded, name)
			changed = true
		}
	}
	if changed {
		t.asks.soil()
	}
	for _, c := range x.release {
		a.releaseContainer(t, c)
	}
	if len(x.asks) > 0 {
		undelivered := a.undelivered(t)
		newID := func() uint64 {
			a.lastGroup++
			return a.lastGroup
		}
		// The totals come first, so that the rows of places know whether anything is wanted at all.
		for _, total := range []bool{true, false} {
			for _, r := range x.asks {
				if (r.name == anywhere) != total {
					continue
				}
				if t.asks.set(r.key, r.name, r.count, r.relax, undelivered, newID) {
					more = true
					t.asks.groups[r.key].since = now
				}
				if g := t.asks.groups[r.key]; total && g != nil && g.label != r.label {
					g.label, g.since = r.label, now
					more = more || g.any.count > 0
				}
			}
		}
	}
	a.update(t, q.GetUpdateRequests())
	if changed || len(x.asks) > 0 {
		a.ask()
	}
	more = a.schedule(t, x.scheduling, now) || more
	return more && t.asks.outstanding() > 0
}

// releaseContainer ends a container that its master does not want.
func (a *application) releaseContainer(t *attempt, i id.ContainerID) {
	o := a.attempt(i.Attempt.Number)
	if o == nil {
		return
	}
	if c := a.containers[o.first+uint64(i.Number())-1]; c != nil && c.id == i && !c.isMaster && !c.released {
		c.released = true
		a.killTask(c.task, saidReleased)
	}
}

// hold waits for the containers that a new ask may bring: until all that was offered is confirmed and there is one, or the
// time is over. mu is let go meanwhile.
func (a *application) hold(ctx context.Context, t *attempt) {
	timer := time.NewTimer(a.m.o.Hold)
	defer timer.Stop()
	patient := false
	for {
		if len(t.ready) > 0 && len(a.accepted) == 0 && a.gather(t) || a.closing || isOver(t.state) {
			return
		}
		changed := a.await()
		a.mu.Unlock()
		over := false
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-ctx.Done():
			over = true
		}
		a.mu.Lock()
		switch {
		case !over:
		case patient || len(a.accepted) == 0 || ctx.Err() != nil:
			return
		default:
			// The allocator has answered and the launch is on its way to the disk: it is worth more than a heartbeat's wait.
			patient = true
			timer.Reset(4 * a.m.o.Hold)
		}
	}
}

// answer is the response to a call that began at begun.
func (a *application) answer(t *attempt, begun time.Time) *wire.AllocateResponseProto {
	m, now := a.m, time.Now()
	s := m.cluster()
	r := &wire.AllocateResponseProto{
		ResponseId: proto.Int32(following(t.responseID)), NumClusterNodes: proto.Int32(int32(s.active + s.leaving)), ApplicationPriority: &wire.PriorityProto{Priority: proto.Int32(a.priority)},
	}
	var ready []*container
	if len(t.ready) > 0 && a.gather(t) {
		ready, t.ready = t.ready, nil
	}
	if len(ready) > 0 && len(t.given) == 0 && now.Before(t.works) {
		t.works = now.Add(min(3*t.came, slowStart))
	}
	for _, c := range ready {
		if !t.given[c.node] {
			t.given[c.node] = true
			r.NmTokens = append(r.NmTokens, a.nodeToken(t, c.node))
		}
		c.state = delivered
		r.AllocatedContainers = append(r.AllocatedContainers, c.proto(a, now))
		m.met.handed.Inc()
		if !c.asked.IsZero() {
			m.met.latency.Observe(now.Sub(c.asked).Seconds())
			if !c.asked.Before(begun) {
				m.met.inCall.Inc()
			}
		}
	}
	for _, c := range t.done {
		r.CompletedContainerStatuses = append(r.CompletedContainerStatuses, c.status)
	}
	t.told, t.done = t.done, nil
	r.RejectedSchedulingRequests = a.rejected(t, now)
	r.UpdatedNodes, t.updates = t.updates, nil
	r.Limit = a.headroom(s).proto()
	a.tellUpdates(t, r, now)
	a.warn(t, r)
	return r
}

// headroom is what the application could get now: that of its queue in the last snapshot, less what it took since.
func (a *application) headroom(s *snapshot) amount {
	r := s.role(a.queue.role)
	if r == nil {
		return amount{}
	}
	room := r.headroom
	if len(s.split.labels) > 0 {
		room = room.least(a.reach(s))
	}
	if a.baseline != s {
		return room
	}
	return room.minus(a.held.minus(a.baseHeld))
}

func (m *Manager) finishMaster(ctx context.Context, c *hadooprpc.Caller, q *wire.FinishApplicationMasterRequestProto) (proto.Message, error) {
	a, t, err := m.master(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.calls.Unlock()
	done := make(chan struct{})
	a.mu.Lock()
	switch {
	case t.unregistered:
		// It asks again, as it did not hear the answer.
		if a.ended || a.closing || a.durable >= a.version {
			a.mu.Unlock()
			return &wire.FinishApplicationMasterResponseProto{IsUnregistered: proto.Bool(true)}, nil
		}
		a.onDurable = append(a.onDurable, func() { close(done) })
	case a.ended || a.closing || isOver(t.state):
		a.mu.Unlock()
		return nil, t.unknown()
	case !t.registered:
		a.mu.Unlock()
		return nil, hadooprpc.Errorf(hadooprpc.ApplicationMasterNotRegistered, "Application Master is trying to unregister before registering for: %s", a.id)
	default:
		a.unregister(t, q, func() { close(done) })
	}
	ended := a.await()
	a.mu.Unlock()
	for {
		select {
		case <-done:
			return &wire.FinishApplicationMasterResponseProto{IsUnregistered: proto.Bool(true)}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.over:
			return nil, hadooprpc.Errorf(hadooprpc.RetriableException, "the resource manager stops")
		case <-ended:
			a.mu.Lock()
			over := a.ended
			ended = a.await()
			a.mu.Unlock()
			if over {
				return &wire.FinishApplicationMasterResponseProto{IsUnregistered: proto.Bool(true)}, nil
			}
		}
	}
}

// unregister takes the master's word on how the application ended; then runs when that is durable.
func (a *application) unregister(t *attempt, q *wire.FinishApplicationMasterRequestProto, then func()) {
	now := time.Now()
	t.unregistered, t.contact, t.progress = true, time.Time{}, 1
	t.state, t.finished, t.diagnostic = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FINISHING, now, bounded(q.GetDiagnostics())
	a.state, a.final, a.finished, a.diagnostic = wire.YarnApplicationStateProto_FINISHED, q.GetFinalApplicationStatus(), now, t.diagnostic
	if u := q.GetTrackingUrl(); len(u) <= maxAddress && utf8Clean(u) {
		a.tracking, t.tracking = u, u
	}
	a.acknowledgeAll(t.told)
	a.acknowledgeAll(t.done)
	t.told, t.done = nil, nil
	a.dropAsks(t)
	for _, c := range a.live() {
		if !c.isMaster && c.state == granted {
			a.killTask(c.task, saidReleased) // nobody will start it
		}
	}
	t.ready = nil
	a.m.count(a.state)
	a.save(then)
	a.signal()
	a.poke()
	if a.isUnmanaged {
		a.close()
	}
}

// String names an attempt in logs.
func (t *attempt) String() string { return fmt.Sprint(t.id) }
