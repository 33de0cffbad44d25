package core

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"fairway/broker/allocator"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/state"
)

// marshal writes what is kept as an opaque body. The same message gives the same bytes in one program.
func marshal(x proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(x)
	if err != nil {
		panic(brokenError{err}) // only for invalid UTF-8, which the edge refuses
	}
	return b
}

// findTask is a task that lives or waits for an acknowledgement.
func (m *machine) findTask(id *v1.TaskID) *task {
	r := m.st.FrameworkByID(id.GetFramework())
	if r == nil {
		return nil
	}
	if f := m.frameworks[r.Number]; f != nil {
		return f.tasks[id.GetSequence()]
	}
	return nil
}

func (m *machine) tasksInOrder(set map[*task]struct{}) []*task {
	all := make([]*task, 0, len(set))
	for t := range set {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *task) int {
		if a.framework != b.framework {
			return int(a.framework.num) - int(b.framework.num)
		}
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return all
}

// enlist counts a live task everywhere.
func (m *machine) enlist(t *task) {
	t.framework.tasks[t.seq] = t
	t.agent.tasks[t] = struct{}{}
	t.framework.role.charge(t.resources)
	m.changed = true
	if j := t.job; j != nil {
		j.used = j.used.Add(t.resources)
		j.running++
		j.agents[t.agent] = struct{}{}
		m.soil(j)
	}
}

// agentStatus takes a status update of an agent. It is acknowledged to the agent once the framework has, or at once if
// nobody is left to hear it.
func (m *machine) agentStatus(a *agent, s *v1.TaskStatus) {
	if s.GetTask() == nil || s.Sequence == 0 || s.State < v1.TaskState_TASK_STATE_STAGING || s.State > v1.TaskState_TASK_STATE_LOST {
		m.acknowledge(a, s.GetTask(), s.GetSequence())
		return
	}
	s.AgentId, s.AgentHost, s.AgentDataAddress, s.WallUnixNanos = a.id, a.info.Host, a.info.DataAddress, m.wall
	s.Message = line(s.Message)
	t := m.findTask(s.Task)
	switch {
	case t == nil || t.agent != a:
		m.strangerStatus(a, s)
	case t.lost || s.Sequence <= t.acked:
		m.acknowledge(a, s.Task, s.Sequence)
	case s.Sequence <= t.seen:
		// A repetition of what the framework has been told and has not acknowledged.
	case terminal(t.state):
		m.acknowledge(a, s.Task, s.Sequence) // nothing comes after the end
	default:
		t.seen, t.last = s.Sequence, s
		if t.kill && s.State == v1.TaskState_TASK_STATE_KILLED {
			s.Reason = t.why // the agent knows only that it was asked to
		}
		if terminal(s.State) {
			m.endTask(t, s)
		} else if t.state != s.State {
			t.state = s.State
			m.soilTask(t)
		}
		m.forward(t, s)
	}
}

// strangerStatus answers for a task that is not in the owner's hands: ended before a restart, or never known.
func (m *machine) strangerStatus(a *agent, s *v1.TaskStatus) {
	r := m.st.FrameworkByID(s.Task.Framework)
	if r == nil {
		m.acknowledgeOrKill(a, s)
		return
	}
	x, ok := m.st.Task(r.Number, s.Task.Sequence)
	f := m.frameworks[r.Number]
	if !ok || f == nil || f.ended || x.Agent != a.num || uint8(s.State) != x.Status {
		m.acknowledgeOrKill(a, s)
		return
	}
	// The end is durable, but the framework may not have heard of it. It acknowledges, or the agent says it again.
	t := &task{framework: f, seq: x.Sequence, agent: a, state: s.State, seen: s.Sequence, last: s, job: m.jobs[x.Job], coordinator: x.Coordinator}
	f.tasks[t.seq] = t
	a.tasks[t] = struct{}{}
	m.forward(t, s)
}

func (m *machine) acknowledgeOrKill(a *agent, s *v1.TaskStatus) {
	if terminal(s.State) {
		m.acknowledge(a, s.Task, s.Sequence)
		return
	}
	m.acknowledge(a, s.Task, s.Sequence)
	m.tell(a, &v1.AgentCommand{Command: &v1.AgentCommand_Kill{Kill: &v1.KillTask{Task: s.Task, Reason: "the broker does not know this task"}}})
}

func (m *machine) acknowledge(a *agent, id *v1.TaskID, sequence uint64) {
	m.tell(a, &v1.AgentCommand{Command: &v1.AgentCommand_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: id, Sequence: sequence}}})
}

// forward passes an agent's update to the framework and keeps it until that has acknowledged it.
func (m *machine) forward(t *task, s *v1.TaskStatus) {
	if t.framework.ended {
		t.acked = s.Sequence
		m.acknowledge(t.agent, s.Task, s.Sequence)
		m.release1(t)
		return
	}
	t.pending = append(t.pending, s)
	m.sendStatus(t.framework, s)
}

func (m *machine) sendStatus(f *framework, s *v1.TaskStatus) {
	m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Status{Status: s}})
}

// acknowledged takes a framework's acknowledgement.
func (m *machine) acknowledged(f *framework, x *v1.AcknowledgeStatus) {
	t := f.tasks[x.GetTask().GetSequence()]
	if t == nil || x.Sequence == 0 || x.Sequence > t.seen || x.Sequence <= t.acked {
		return
	}
	for len(t.pending) > 0 && t.pending[0].Sequence <= x.Sequence {
		s := t.pending[0]
		t.pending = t.pending[1:]
		t.acked = s.Sequence
		m.acknowledge(t.agent, t.id(), s.Sequence)
	}
	m.release1(t)
}

// release1 lets a task go that has ended and of which nothing is left to be said.
func (m *machine) release1(t *task) {
	if !terminal(t.state) || len(t.pending) > 0 {
		return
	}
	f := t.framework
	delete(f.tasks, t.seq)
	delete(t.agent.tasks, t)
	if f.ended && len(f.tasks) == 0 {
		delete(m.frameworks, f.num)
	}
}

// brokerStatus tells a framework what the broker itself has found; it needs no acknowledgement.
func (m *machine) brokerStatus(t *task, s v1.TaskState, why v1.TaskReason, message string) {
	x := &v1.TaskStatus{
		Task: t.id(), State: s, Reason: why, Message: message, AgentId: t.agent.id, AgentHost: t.agent.info.Host,
		AgentDataAddress: t.agent.info.DataAddress, WallUnixNanos: m.wall,
	}
	t.last = x
	m.soilTask(t)
	if t.framework.session == nil && terminal(s) {
		t.framework.unheard = append(t.framework.unheard, x)
		return
	}
	m.sendStatus(t.framework, x)
}

// endByBroker ends a task as lost, whatever its agent may say later.
func (m *machine) endByBroker(t *task, why v1.TaskReason, message string) {
	t.lost = true
	m.endTask(t, &v1.TaskStatus{State: v1.TaskState_TASK_STATE_LOST, Reason: why, Message: message, Task: t.id()})
	t.pending = nil // of a task that is lost, only that is news
	if !t.framework.ended {
		m.brokerStatus(t, v1.TaskState_TASK_STATE_LOST, why, message)
	}
	m.release1(t)
}

// endTask ends a live task: a fact, and what it held is free again.
func (m *machine) endTask(t *task, s *v1.TaskStatus) {
	t.state, t.last = s.State, s
	m.fact(state.Fact{
		Kind: state.TaskEnded, Framework: t.framework.num, Sequence: t.seq, Status: uint8(s.State), Code: s.ExitCode, Reason: uint8(s.Reason), Wall: m.wall,
	})
	m.met.ended[s.State].Inc()
	m.show(t.agent, m.stateOf(t.agent))
	if t.agent.placed {
		m.event(allocator.Event{
			Kind: allocator.TaskEnd, Agent: allocator.AgentID(t.agent.num), Framework: allocator.FrameworkID(t.framework.num), Resources: t.resources,
		})
	}
	if len(t.ports) > 0 {
		t.agent.ports = t.agent.ports.Add(t.ports)
	}
	t.framework.role.discharge(t.resources)
	m.changed = true
	j := t.job
	if j == nil {
		return
	}
	j.used = j.used.Sub(t.resources)
	j.running--
	m.soil(j)
	if m.record(j).HasEnded() {
		m.jobLeft(j, t.agent)
	}
	if t.coordinator {
		m.coordinatorEnded(t, s)
	}
}

// killTask asks a task's agent to end it, now or when it is back.
func (m *machine) killTask(t *task, why v1.TaskReason, grace int64, message string) {
	if terminal(t.state) {
		return
	}
	t.kill, t.why, t.because = true, why, message
	m.tell(t.agent, &v1.AgentCommand{Command: &v1.AgentCommand_Kill{Kill: &v1.KillTask{Task: t.id(), GraceNanos: grace, Reason: message}}})
}

// statusOf is the present status of a task, for a framework that registers again or reconciles.
func (m *machine) statusOf(t *task) *v1.TaskStatus {
	s := &v1.TaskStatus{
		Task: t.id(), State: t.state, AgentId: t.agent.id, AgentHost: t.agent.info.Host, AgentDataAddress: t.agent.info.DataAddress, WallUnixNanos: m.wall,
	}
	if t.last != nil && t.last.State == t.state {
		s.Reason, s.Message, s.ExitCode, s.Signal = t.last.Reason, t.last.Message, t.last.ExitCode, t.last.Signal
	}
	return s
}

func (m *machine) soilTask(t *task) {
	if t.job != nil {
		m.soil(t.job)
	}
}
