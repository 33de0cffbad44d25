package core

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// maxInfo bounds what an agent says of itself, in bytes.
const maxInfo = 256 << 10

func (m *machine) newAgent(num uint32, id string) *agent {
	a := &agent{num: num, id: id, tasks: map[*task]struct{}{}, offers: map[allocator.OfferID]*offer{}}
	m.agents[num] = a
	m.count(a, state.AgentActive, 1)
	m.show(a, m.stateOf(a))
	return a
}

// count keeps the number of agents in a status.
func (m *machine) count(a *agent, status uint8, by int) {
	a.status = status
	m.census[status] += by
}

func (m *machine) moveAgent(a *agent, status uint8) {
	m.count(a, a.status, -1)
	m.count(a, status, 1)
	m.show(a, m.stateOf(a))
}

// stateOf is an agent's state as the outside sees it.
func (m *machine) stateOf(a *agent) string {
	switch {
	case a.status != state.AgentActive || !a.drains:
		return agentStates[a.status]
	case m.st.LiveTasksOnAgent(a.num) > 0:
		return "draining"
	}
	return "drained"
}

// show counts an agent in the metric under a state; "": it is forgotten.
func (m *machine) show(a *agent, now string) {
	for _, x := range []struct {
		state string
		by    float64
	}{{a.shown, -1}, {now, 1}} {
		if a.shown != now && x.state != "" {
			m.met.agents.WithLabelValues(x.state).Add(x.by)
		}
	}
	a.shown = now
}

func (m *machine) agentsInOrder() []*agent {
	all := make([]*agent, 0, len(m.agents))
	for _, a := range m.agents {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *agent) int { return int(a.num) - int(b.num) })
	return all
}

// describe takes over what an agent says of itself.
func (m *machine) describe(a *agent, info *v1.AgentInfo, total resource.Vector) {
	a.info = info
	if a.placed {
		m.total = m.total.Sub(a.total).Add(total)
	}
	a.total = total
	a.host = m.places.Host(info.Host)
	if info.Rack != "" || !a.learned {
		a.rack, a.learned = m.places.Rack(info.Rack), false
	}
	ports, err := portSet(info.GetTotal().GetPortRanges())
	if err != nil {
		ports = nil // refused at registration; an older broker was more lenient
	}
	a.ports = ports
	for t := range a.tasks {
		if !terminal(t.state) {
			a.ports = a.ports.Sub(t.ports)
		}
	}
	for _, o := range a.offers {
		a.ports = a.ports.Sub(o.ports)
	}
	clear(m.fits)
}

// place makes the allocator know an agent.
func (m *machine) place(a *agent) {
	if a.placed {
		return
	}
	a.placed, a.paused = true, false
	m.total = m.total.Add(a.total)
	m.hostAgents[a.host] = append(m.hostAgents[a.host], a)
	m.placeHost(a)
	m.event(allocator.Event{Kind: allocator.AgentAdd, Agent: allocator.AgentID(a.num), Host: a.host, Rack: a.rack, Resources: a.total})
	m.setDraining(a)
	clear(m.fits)
	m.consider = true
}

// placeHost says where an agent's host is and by which names it goes.
func (m *machine) placeHost(a *agent) {
	m.places.Place(a.host, append([]string{a.info.Host}, a.info.Addresses...), a.rack)
}

// unplace makes the allocator forget an agent, with all that it holds.
func (m *machine) unplace(a *agent) {
	if !a.placed {
		return
	}
	a.placed = false
	m.total = m.total.Sub(a.total)
	for _, o := range a.offers {
		o.dead = true
	}
	m.event(allocator.Event{Kind: allocator.AgentRemove, Agent: allocator.AgentID(a.num)})
	m.hostAgents[a.host] = slices.DeleteFunc(m.hostAgents[a.host], func(o *agent) bool { return o == a })
	if len(m.hostAgents[a.host]) == 0 {
		delete(m.hostAgents, a.host)
		m.places.Displace(a.host)
	}
	clear(m.fits)
}

func (m *machine) pauseAgent(a *agent) {
	if !a.placed || a.paused {
		return
	}
	a.paused = true
	for _, o := range a.offers {
		o.dead = true
	}
	m.event(allocator.Event{Kind: allocator.AgentPause, Agent: allocator.AgentID(a.num)})
}

func (m *machine) resumeAgent(a *agent) {
	if a.placed && a.paused && a.status == state.AgentActive {
		a.paused = false
		m.event(allocator.Event{Kind: allocator.AgentResume, Agent: allocator.AgentID(a.num)})
	}
}

// agentMessage takes one message of an agent.
func (m *machine) agentMessage(s *agentSession, x *v1.AgentMessage) {
	a := s.agent
	if r := x.GetRegister(); r != nil {
		if a != nil || s.waiting {
			m.dismiss(s, "this session has registered already")
			return
		}
		m.queueAgent(s, r)
		return
	}
	if s.waiting {
		return // a heartbeat; it knows of nothing yet that it could have said
	}
	if a == nil {
		m.dismiss(s, "the first message of a session registers")
		return
	}
	if a.session != s {
		return // fenced; what it says is said again by the newer session
	}
	a.heard = m.now
	switch {
	case x.GetStatus() != nil:
		m.agentStatus(a, x.GetStatus())
	case x.GetHeartbeat() != nil:
		a.usage = x.GetHeartbeat()
	case x.GetReports() != nil:
		m.serviceReports(a, x.GetReports().Reports)
	case x.GetUpdate() != nil:
		if err := m.updateAgent(a, x.GetUpdate(), m.st.Agent(a.num).Boot); err != nil {
			m.log.Warn("an update of an agent was refused", zap.String("agent", a.id), zap.Error(err))
		}
	}
}

// dismiss ends a session for good, saying why.
func (m *machine) dismiss(s *agentSession, why string) {
	m.acts = append(m.acts, action{agent: s, command: &v1.AgentCommand{
		Epoch: m.epoch, Command: &v1.AgentCommand_Shutdown{Shutdown: &v1.AgentShutdown{Reason: why}},
	}})
	m.then(func() { s.finish(fmt.Errorf("%w: %s", api.ErrInvalid, why)) })
}

// agentTotal checks what an agent says of itself, naming kinds of resources that are new.
func (m *machine) agentTotal(info *v1.AgentInfo) (resource.Vector, error) {
	var none resource.Vector
	if info.GetHost() == "" || len(info.Host) > 255 || len(info.Addresses) > 64 || len(info.Rack) > 1024 || len(info.BootId) > 255 || proto.Size(info) > maxInfo {
		return none, fmt.Errorf("%w: an agent names its host (up to 255 bytes, 64 addresses, %d bytes in all)", api.ErrInvalid, maxInfo)
	}
	names := make([]string, 0, len(info.GetTotal().GetNamed()))
	for name := range info.GetTotal().GetNamed() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		slot, fresh, err := m.kinds.Intern(name)
		if err != nil {
			return none, fmt.Errorf("%w: %w", api.ErrInvalid, err)
		}
		if fresh {
			m.fact(state.Fact{Kind: state.KindNamed, Code: int32(slot), Name: name})
		}
	}
	ports, err := portSet(info.GetTotal().GetPortRanges())
	if err != nil {
		return none, err
	}
	total, err := vector(info.GetTotal(), &m.kinds)
	if err != nil {
		return none, err
	}
	total[resource.Ports] = int64(ports.Len())
	if total[resource.CPU] == 0 || total[resource.Memory] == 0 {
		return none, fmt.Errorf("%w: agent %s offers no cpu or no memory", api.ErrInvalid, info.Host)
	}
	return total, nil
}

// registerAgent admits an agent, or takes it back.
func (m *machine) registerAgent(s *agentSession, r *v1.RegisterAgent) error {
	total, err := m.agentTotal(r.GetInfo())
	if err != nil {
		return err
	}
	var a *agent
	if r.AgentId != "" {
		if known := m.st.AgentByID(r.AgentId); known != nil {
			a = m.agents[known.Number]
		}
	}
	fresh := a == nil
	if !fresh && a.placed && !strings.EqualFold(r.Info.Host, a.info.Host) {
		return fmt.Errorf("%w: agent %s was on host %s and is now on %s; give the new host an empty work folder", api.ErrInvalid, a.id, a.info.Host, r.Info.Host)
	}
	if fresh {
		// New here, or of a cluster that is no more: then what it runs is unknown and will be killed.
		num := m.st.NextAgent()
		id := m.newID("agent")
		m.fact(state.Fact{
			Kind: state.AgentAdmitted, Agent: num, Name: id, Host: r.Info.Host, Body: marshal(r.Info), Resources: total, Text: r.Info.BootId, Wall: m.wall,
		})
		a = m.newAgent(num, id)
		m.describe(a, r.Info, total)
	}
	if old := a.session; old != nil {
		old.agent = nil
		m.then(func() { old.finish(fmt.Errorf("%w: agent %s has registered again", api.ErrFenced, a.id)) })
	}
	s.agent, a.session, a.heard = a, s, m.now
	held := map[*task]*v1.RunningTask{}
	var kill []*v1.TaskID
	for _, x := range r.Tasks {
		t := m.findTask(x.GetTask())
		if t != nil && t.agent == a {
			held[t] = x
		} else if !terminal(x.GetState()) && x.GetTask() != nil {
			kill = append(kill, x.Task)
		}
	}
	if !fresh {
		kill = append(kill, m.reconcileAgent(a, r, held)...)
		if err := m.updateAgent(a, r.Info, r.Info.BootId); err != nil {
			return err
		}
	}
	if a.status != state.AgentActive {
		m.setAgentStatus(a, state.AgentActive, "it has come back")
	}
	m.place(a)
	m.resumeAgent(a)
	m.back(a)
	m.tell(a, &v1.AgentCommand{Command: &v1.AgentCommand_Registered{Registered: &v1.AgentRegistered{
		AgentId: a.id, HeartbeatNanos: int64(m.cfg.Heartbeat), Kill: kill, LiveJobs: m.liveJobs(),
	}}})
	for _, t := range m.tasksInOrder(a.tasks) {
		if x := held[t]; x != nil && x.Revision < t.revision && !terminal(t.state) {
			m.tellSize(t) // it was resized while the agent was away
		}
		if t.state == v1.TaskState_TASK_STATE_UNREACHABLE {
			t.state = v1.TaskState_TASK_STATE_RUNNING // if it has ended, the agent's own update says so next
			if held[t].GetState() == v1.TaskState_TASK_STATE_STAGING {
				t.state = v1.TaskState_TASK_STATE_STAGING
			}
			m.brokerStatus(t, t.state, v1.TaskReason_TASK_REASON_UNSPECIFIED, "its agent is back")
			if t.coordinator && t.job != nil {
				m.coordinatorBack(t)
			}
		}
	}
	m.watchAgent(a)
	m.replaceWants()
	m.log.Info("agent registered", zap.String("agent", a.id), zap.String("host", r.Info.Host), zap.Bool("new", fresh), zap.Int("tasks", len(r.Tasks)))
	return nil
}

// reconcileAgent settles the difference between what an agent holds and what it should, and returns what it is to kill.
func (m *machine) reconcileAgent(a *agent, r *v1.RegisterAgent, held map[*task]*v1.RunningTask) (kill []*v1.TaskID) {
	booted := r.Info.BootId != m.st.Agent(a.num).Boot
	for _, t := range m.tasksInOrder(a.tasks) {
		x := held[t]
		switch {
		case terminal(t.state):
			if x != nil && !terminal(x.State) {
				kill = append(kill, x.Task)
			}
		case booted && (x == nil || !terminal(x.State)):
			m.endByBroker(t, v1.TaskReason_TASK_REASON_AGENT_RESTARTED, "host "+r.Info.Host+" was restarted")
		case x == nil:
			m.endByBroker(t, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "agent "+a.info.Host+" never had it, or lost it")
		case t.kill && !terminal(x.State):
			kill = append(kill, x.Task)
		case x.State == v1.TaskState_TASK_STATE_RUNNING && t.state == v1.TaskState_TASK_STATE_STAGING:
			t.state = x.State
			m.brokerStatus(t, t.state, v1.TaskReason_TASK_REASON_UNSPECIFIED, "")
		}
	}
	return kill
}

// liveJobs are the jobs whose folders agents keep.
func (m *machine) liveJobs() []string {
	if m.live == nil {
		m.live = []string{}
		for _, j := range m.jobsInOrder() {
			if !m.record(j).HasEnded() {
				m.live = append(m.live, j.id)
			}
		}
	}
	return m.live
}

// updateAgent takes over what has changed of an agent.
func (m *machine) updateAgent(a *agent, info *v1.AgentInfo, boot string) error {
	total, err := m.agentTotal(info)
	if err != nil {
		return err
	}
	if boot == "" {
		boot = m.st.Agent(a.num).Boot
	}
	if a.placed && !strings.EqualFold(info.Host, a.info.Host) {
		return fmt.Errorf("%w: agent %s cannot move from host %s to %s", api.ErrInvalid, a.id, a.info.Host, info.Host)
	}
	body, old := marshal(info), m.st.Agent(a.num)
	if string(body) == string(old.Info) && total == old.Total && boot == old.Boot {
		return nil
	}
	m.fact(state.Fact{Kind: state.AgentUpdated, Agent: a.num, Host: info.Host, Body: body, Resources: total, Text: boot})
	rack := a.rack
	m.describe(a, info, total)
	if a.placed {
		m.placeHost(a)
		if total != old.Total || rack != a.rack {
			m.event(allocator.Event{Kind: allocator.AgentUpdate, Agent: allocator.AgentID(a.num), Resources: total, Rack: a.rack})
		}
	}
	return nil
}

func (m *machine) setAgentStatus(a *agent, status uint8, why string) {
	m.moveAgent(a, status)
	a.since = m.now
	m.fact(state.Fact{Kind: state.AgentChanged, Agent: a.num, Status: status, Wall: m.wall, Text: why})
}

// agentGone notes that a session has ended. Nothing is placed on its agent until it registers again; after the timeout
// it is unreachable.
func (m *machine) agentGone(s *agentSession) {
	a := s.agent
	s.waiting = false
	if a == nil || a.session != s {
		return
	}
	s.agent, a.session = nil, nil
	m.pauseAgent(a)
}

// watchAgent looks after an active agent until it has been silent for too long. A registration starts another watch;
// the number of them is small, as each ends when it finds a newer one.
func (m *machine) watchAgent(a *agent) {
	a.since = m.now
	begun := a.since
	var look func()
	look = func() {
		if m.agents[a.num] != a || a.status != state.AgentActive || a.since != begun {
			return
		}
		if at := a.heard + int64(m.cfg.AgentTimeout); at > m.now {
			m.timers.after(at, look)
			return
		}
		m.unreachable(a)
	}
	m.timers.after(a.heard+int64(m.cfg.AgentTimeout), look)
}

// unreachable cuts an agent off.
func (m *machine) unreachable(a *agent) {
	if s := a.session; s != nil {
		s.agent, a.session = nil, nil
		m.then(func() { s.finish(fmt.Errorf("%w: nothing was heard for %v", api.ErrSessionEnded, m.cfg.AgentTimeout)) })
	}
	m.pauseAgent(a)
	m.setAgentStatus(a, state.AgentUnreachable, "nothing was heard of it")
	m.log.Warn("agent unreachable", zap.String("agent", a.id), zap.String("host", a.info.Host), zap.Int("tasks", len(a.tasks)))
	m.agentLost(a, false)
	for _, t := range m.tasksInOrder(a.tasks) {
		if terminal(t.state) {
			continue
		}
		t.state = v1.TaskState_TASK_STATE_UNREACHABLE
		m.brokerStatus(t, t.state, v1.TaskReason_TASK_REASON_UNSPECIFIED, "agent "+a.info.Host+" is cut off")
		if t.coordinator && t.job != nil {
			m.coordinatorCutOff(t)
		}
	}
	m.watchGone(a)
}

func (m *machine) watchGone(a *agent) {
	since := a.since
	m.timers.after(since+int64(m.cfg.AgentGone), func() {
		if m.agents[a.num] == a && a.status == state.AgentUnreachable && a.since == since {
			m.gone(a)
		}
	})
}

// gone gives an unreachable agent up. If it returns it is told to kill what it still runs.
func (m *machine) gone(a *agent) {
	m.log.Warn("agent gone", zap.String("agent", a.id), zap.String("host", a.info.Host), zap.Int("tasks", len(a.tasks)))
	m.agentLost(a, true)
	for _, t := range m.tasksInOrder(a.tasks) {
		if !terminal(t.state) {
			m.endByBroker(t, v1.TaskReason_TASK_REASON_AGENT_GONE, "agent "+a.info.Host+" is gone")
		}
	}
	m.setAgentStatus(a, state.AgentGone, "it was cut off for too long")
	m.unplace(a)
}

// agentLost tells frameworks with tasks there.
func (m *machine) agentLost(a *agent, gone bool) {
	told := map[*framework]bool{}
	tell := func(f *framework) {
		if !told[f] && !f.ended {
			told[f] = true
			m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_AgentLost{AgentLost: &v1.AgentLost{
				AgentId: a.id, Host: a.info.Host, Gone: gone, DataAddress: a.info.DataAddress,
			}}})
		}
	}
	for _, t := range m.tasksInOrder(a.tasks) {
		tell(t.framework)
	}
	// A job may have left map output there though it runs nothing there now.
	for _, j := range m.jobsInOrder() {
		if _, was := j.agents[a]; was && j.framework != nil {
			tell(j.framework)
		}
	}
}

// forget drops agents that have been gone for long.
func (m *machine) forgetAgents() {
	for _, a := range m.agentsInOrder() {
		if r := m.st.Agent(a.num); a.status == state.AgentGone && len(a.tasks) == 0 && m.wall-r.Changed > int64(m.cfg.JobRetention) {
			m.fact(state.Fact{Kind: state.AgentForgotten, Agent: a.num})
			m.count(a, a.status, -1)
			m.show(a, "")
			delete(m.agents, a.num)
			for _, j := range m.jobs {
				delete(j.agents, a)
				m.dropReports(j, a)
			}
		}
	}
}
