package core

import (
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// Bounds of one task.
const (
	maxTaskSize  = 2 << 20 // bytes of a TaskSpec
	maxFileBytes = 1 << 20 // of its inline files in all
	maxTasks     = 4096    // in one accept
)

func (m *machine) offersOf(f *framework) []*offer {
	all := make([]*offer, 0, len(f.offers))
	for _, o := range f.offers {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *offer) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return all
}

// offerMade takes the allocator's decision to offer.
func (m *machine) offerMade(x *allocator.Action) {
	f, a := m.frameworks[uint32(x.Framework)], m.agents[uint32(x.Agent)]
	if f == nil || a == nil {
		m.broken("offer %d of agent %d to framework %d, which are not there", x.Offer, x.Agent, x.Framework)
	}
	o := &offer{id: x.Offer, agent: a, framework: f, group: x.Group, count: x.Count, resources: x.Resources, locality: x.Locality}
	if n := x.Resources[resource.Ports]; n > 0 {
		taken, rest, ok := a.ports.Take(int(n))
		if !ok {
			m.broken("offer %d holds %d ports and agent %s has %d", x.Offer, n, a.id, a.ports.Len())
		}
		o.ports, a.ports = taken, rest
	}
	m.offers[o.id], f.offers[o.id], a.offers[o.id] = o, o, o
	m.met.offers.Inc()
	if len(f.out) == 0 {
		m.offerTo = append(m.offerTo, f)
	}
	out := &v1.Offer{
		Id: uint64(x.Offer), Group: uint64(x.Group), AgentId: a.id, Host: a.info.Host, Addresses: a.info.Addresses, Rack: m.places.RackName(a.rack),
		Resources: amounts(x.Resources, &m.kinds), Count: x.Count, Locality: v1.Locality(x.Locality), DataAddress: a.info.DataAddress,
		Attributes: a.info.Attributes, TimeoutNanos: int64(m.cfg.OfferTimeout),
	}
	out.Resources.PortRanges = portRanges(o.ports)
	if g := f.groups[x.Group]; g != nil {
		out.GroupVersion = g.stated.Version
	}
	f.out = append(f.out, out)
}

// sendOffers sends what one step has made, one message for a framework.
func (m *machine) sendOffers() {
	for _, f := range m.offerTo {
		if len(f.out) > 0 {
			m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Offers{Offers: &v1.Offers{Offers: f.out}}})
		}
		f.out = nil
	}
	m.offerTo = m.offerTo[:0]
}

// offerTaken takes the allocator's decision to take an offer back.
func (m *machine) offerTaken(x *allocator.Action) {
	o := m.offers[x.Offer]
	if o == nil {
		m.broken("offer %d was taken back twice", x.Offer)
	}
	f := o.framework
	m.dropOffer(o)
	m.met.rescinded.Inc()
	if i := slices.IndexFunc(f.out, func(p *v1.Offer) bool { return p.Id == uint64(x.Offer) }); i >= 0 {
		f.out = slices.Delete(f.out, i, i+1) // not sent yet
		return
	}
	m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Rescind{Rescind: &v1.RescindOffer{Offer: uint64(x.Offer), Reason: reasonText(x.Reason)}}})
}

// dropOffer forgets an offer; the ports that it still holds are free again.
func (m *machine) dropOffer(o *offer) {
	if len(o.ports) > 0 {
		o.agent.ports = o.agent.ports.Add(o.ports)
	}
	delete(m.offers, o.id)
	delete(o.framework.offers, o.id)
	delete(o.agent.offers, o.id)
}

// findOffer is a live offer of the framework.
func (m *machine) findOffer(f *framework, id uint64) *offer {
	o := m.offers[allocator.OfferID(id)]
	if o == nil || o.framework != f || o.dead {
		return nil
	}
	if f.touched || m.unsettled {
		// What has just been said may have ended it; only the allocator knows.
		m.step()
		return m.offers[allocator.OfferID(id)]
	}
	return o
}

func (m *machine) decline(f *framework, x *v1.DeclineOffers) {
	for _, id := range x.Offers {
		o := m.findOffer(f, id)
		if o == nil {
			continue // it has been taken back meanwhile
		}
		m.dropOffer(o)
		m.event(allocator.Event{Kind: allocator.Decline, Offer: o.id, Filter: x.FilterNanos})
		m.met.declined.Inc()
	}
}

// accept launches tasks on an offer, all of them or none.
func (m *machine) accept(f *framework, x *v1.AcceptOffer) {
	o := m.findOffer(f, x.Offer)
	var err error
	var launches []*launch
	if o == nil {
		err = fmt.Errorf("%w: offer %d; it has expired or was taken back", api.ErrNotFound, x.Offer)
	} else {
		launches, err = m.checkLaunches(f, o, x)
	}
	if err != nil {
		r := &v1.Refused{Call: "accept", Message: err.Error(), Offer: x.Offer}
		for _, t := range x.Tasks {
			r.Tasks = append(r.Tasks, t.GetTask())
		}
		m.refuse(f, r)
		if o != nil {
			// What cannot be launched returns, so that nobody waits for the offer to expire.
			m.dropOffer(o)
			m.event(allocator.Event{Kind: allocator.Decline, Offer: o.id})
		}
		return
	}
	var sum resource.Vector
	for _, l := range launches {
		sum = sum.Add(l.task.resources)
	}
	for _, l := range launches {
		o.ports = o.ports.Sub(l.task.ports)
	}
	m.dropOffer(o)
	m.event(allocator.Event{
		Kind: allocator.Accept, Offer: o.id, Resources: sum, Count: uint32(len(launches)), Filter: x.FilterNanos,
	})
	for _, l := range launches {
		m.launch(l, o)
	}
	if x.Confirm {
		// It is released with the launches, once their facts are durable.
		m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Accepted{Accepted: &v1.Accepted{Offer: x.Offer}}})
	}
}

// launch is a task that has passed the checks.
type launch struct {
	spec *v1.TaskSpec
	task *task
}

// checkLaunches holds the tasks of an accept against the offer and the framework, and completes their specifications.
func (m *machine) checkLaunches(f *framework, o *offer, x *v1.AcceptOffer) ([]*launch, error) {
	if o.agent.session == nil || o.agent.status != state.AgentActive {
		return nil, fmt.Errorf("%w: agent %s is cut off", api.ErrNotFound, o.agent.id)
	}
	if len(x.Tasks) > maxTasks {
		return nil, fmt.Errorf("%w: %d tasks on one offer", api.ErrInvalid, len(x.Tasks))
	}
	rest, ports, high := o.resources, o.ports, f.high
	out := make([]*launch, 0, len(x.Tasks))
	for _, s := range x.Tasks {
		seq := s.GetTask().GetSequence()
		if s.GetTask() == nil || s.Task.Framework != "" && s.Task.Framework != f.id {
			return nil, fmt.Errorf("%w: a task without an id, or of another framework", api.ErrInvalid)
		}
		if seq <= high || seq == math.MaxUint64 {
			return nil, fmt.Errorf("%w: task %d; sequences only grow, and %d was used", api.ErrInvalid, seq, high)
		}
		high = seq
		t := &task{framework: f, seq: seq, agent: o.agent, job: f.job, state: v1.TaskState_TASK_STATE_STAGING}
		var err error
		if t.resources, err = vector(s.Resources, &m.kinds); err != nil {
			return nil, fmt.Errorf("task %d: %w", seq, err)
		}
		named, err := portSet(s.Resources.GetPortRanges())
		if err != nil {
			return nil, fmt.Errorf("task %d: %w", seq, err)
		}
		if n := int64(named.Len()); n > 0 {
			if t.resources[resource.Ports] = max(t.resources[resource.Ports], n); t.resources[resource.Ports] != n || !ports.Contains(named) {
				return nil, fmt.Errorf("%w: task %d: ports %s are not of the offer, or their number is not the one asked for", api.ErrInvalid, seq, named)
			}
			t.ports, ports = named, ports.Sub(named)
		}
		if !t.resources.Fits(rest) {
			return nil, fmt.Errorf("%w: task %d needs %s and the offer has %s left", api.ErrInvalid, seq, t.resources.Format(&m.kinds), rest.Format(&m.kinds))
		}
		rest = rest.Sub(t.resources)
		if err := m.checkSpec(f, s); err != nil {
			return nil, fmt.Errorf("task %d: %w", seq, err)
		}
		out = append(out, &launch{s, t})
	}
	for _, l := range out {
		if n := l.task.resources[resource.Ports]; n > 0 && len(l.task.ports) == 0 {
			taken, left, ok := resource.PortSet(ports).Take(int(n))
			if !ok {
				return nil, fmt.Errorf("%w: task %d needs %d ports and the offer has %d left", api.ErrInvalid, l.task.seq, n, ports.Len())
			}
			l.task.ports, ports = taken, left
		}
	}
	for _, l := range out {
		if len(l.task.ports) > state.MaxPorts {
			return nil, fmt.Errorf("%w: task %d would have its ports in %d pieces; %d are the most", api.ErrInvalid, l.task.seq, len(l.task.ports), state.MaxPorts)
		}
	}
	if f.launcher {
		if err := m.completeCoordinators(out); err != nil {
			return nil, err
		}
	} else if f.job != nil && m.record(f.job).HasEnded() {
		return nil, fmt.Errorf("%w: job %s has ended", api.ErrInvalid, f.job.id)
	}
	if o.group != 0 && len(out) > int(o.count) {
		return nil, fmt.Errorf("%w: %d tasks on an offer for %d", api.ErrInvalid, len(out), o.count)
	}
	return out, nil
}

// checkSpec holds what a framework says of a task against what it may.
func (m *machine) checkSpec(f *framework, s *v1.TaskSpec) error {
	if err := checkCommand(s); err != nil {
		return err
	}
	if f.launcher {
		return nil
	}
	job := ""
	if f.job != nil {
		job = f.job.id
	}
	if s.JobId != "" && s.JobId != job {
		return fmt.Errorf("%w: it is of job %s, and its framework of job %q", api.ErrDenied, s.JobId, job)
	}
	if s.Coordinator {
		return fmt.Errorf("%w: coordinators are launched by the broker", api.ErrDenied)
	}
	if s.Command == nil {
		s.Command = &v1.Command{}
	}
	switch {
	case s.Command.User == "":
		s.Command.User = f.user
	case s.Command.User != f.user && !f.session.caller.Operator:
		return fmt.Errorf("%w: its framework is of %s and may not act for %s", api.ErrDenied, f.user, s.Command.User)
	}
	s.JobId = job
	s.JobSecret = jobSecret(m.cluster.Key, f.secretName())
	return nil
}

// checkCommand bounds a task's specification, wherever it comes from.
func checkCommand(s *v1.TaskSpec) error {
	if n := proto.Size(s); n > maxTaskSize {
		return fmt.Errorf("%w: a specification of %d bytes; %d are the most", api.ErrInvalid, n, maxTaskSize)
	}
	c := s.GetCommand()
	if len(c.GetArgv()) == 0 && s.Service == "" {
		return fmt.Errorf("%w: no command to run", api.ErrInvalid)
	}
	size := 0
	for _, f := range c.GetFiles() {
		size += len(f.GetContent())
	}
	if size > maxFileBytes {
		return fmt.Errorf("%w: inline files of %d bytes; %d are the most, ship larger ones as URIs", api.ErrInvalid, size, maxFileBytes)
	}
	if s.KillGraceNanos < 0 || s.SandboxQuotaBytes < 0 || len(s.Name) > 1024 {
		return fmt.Errorf("%w: a negative grace or quota, or a name of more than 1024 bytes", api.ErrInvalid)
	}
	return nil
}

// launch makes a task: a fact, and a command to its agent.
func (m *machine) launch(l *launch, o *offer) {
	s, t, f := l.spec, l.task, l.task.framework
	s.Task, s.Revision = t.id(), 0
	s.Resources = amounts(t.resources, &m.kinds)
	s.Resources.PortRanges = portRanges(t.ports)
	x := state.Fact{
		Kind: state.TaskLaunched, Framework: f.num, Sequence: t.seq, Agent: t.agent.num, Resources: t.resources, Ports: t.ports,
		Name: s.Name, Code: int32(o.locality), Flag: t.coordinator, Wall: m.wall,
	}
	if t.job != nil {
		x.Job = t.job.num
	}
	m.fact(x)
	f.high = t.seq
	for r := f.role; r != nil; r = r.parent {
		r.launched++
	}
	m.met.launched.Inc()
	m.enlist(t)
	m.tell(t.agent, &v1.AgentCommand{Command: &v1.AgentCommand_Launch{Launch: s}})
	if t.coordinator {
		m.coordinatorLaunched(t)
	}
}
