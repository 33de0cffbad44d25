package core

import (
	"fmt"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// resize changes the cpu and memory of a live task, at once or not at all.
func (m *machine) resize(f *framework, x *v1.ResizeTask) {
	t := f.tasks[x.GetTask().GetSequence()]
	if x.GetTask().GetFramework() != "" && x.Task.Framework != f.id {
		t = nil
	}
	to, err := m.checkResize(t, x)
	if err == nil && x.Revision == t.revision && to == t.resources {
		// It has been done, and the framework did not hear of it.
		m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Resized{Resized: m.resized(t)}})
		return
	}
	if err == nil && x.Revision != t.revision+1 {
		err = fmt.Errorf("%w: revision %d of task %d, which is at %d", api.ErrInvalid, x.Revision, t.seq, t.revision)
	}
	if err == nil {
		err = m.roomFor(t, to.Sub(t.resources).Floor())
	}
	if err != nil {
		m.refuse(f, &v1.Refused{Call: "resize", Message: err.Error(), Tasks: []*v1.TaskID{x.GetTask()}})
		return
	}
	less, more := t.resources.Sub(to).Floor(), to.Sub(t.resources).Floor()
	if t.agent.placed {
		e := allocator.Event{Agent: allocator.AgentID(t.agent.num), Framework: allocator.FrameworkID(f.num)}
		// The allocator takes both as one batch, and has just been asked, so that nobody gets in between.
		e.Kind, e.Resources = allocator.TaskEnd, less
		m.event(e)
		e.Kind, e.Resources = allocator.TaskStart, more
		m.event(e)
	}
	for r := f.role; r != nil; r = r.parent {
		r.used = r.used.Add(more).Sub(less)
	}
	if j := t.job; j != nil {
		j.used = j.used.Add(more).Sub(less)
		m.soil(j)
	}
	t.resources, t.revision = to, x.Revision
	m.changed = true
	m.fact(state.Fact{Kind: state.TaskResized, Framework: f.num, Sequence: t.seq, Resources: to, Version: t.revision})
	m.tellSize(t)
	m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Resized{Resized: m.resized(t)}})
}

// checkResize reads what a task is to have.
func (m *machine) checkResize(t *task, x *v1.ResizeTask) (resource.Vector, error) {
	to, err := vector(x.GetResources(), &m.kinds)
	switch {
	case err != nil:
		return to, err
	case t == nil || terminal(t.state):
		return to, fmt.Errorf("%w: task %d does not live", api.ErrNotFound, x.GetTask().GetSequence())
	case t.framework.launcher:
		return to, fmt.Errorf("%w: a coordinator stays as it is", api.ErrInvalid)
	case t.kill:
		return to, fmt.Errorf("%w: task %d is being killed", api.ErrInvalid, t.seq)
	}
	for slot := range to {
		if slot != resource.CPU && slot != resource.Memory && to[slot] != t.resources[slot] {
			return to, fmt.Errorf("%w: only cpu and memory of a task change while it runs, not its %s", api.ErrInvalid, m.kinds.Name(slot))
		}
	}
	if to[resource.CPU] == 0 && t.resources[resource.CPU] != 0 || to[resource.Memory] == 0 && t.resources[resource.Memory] != 0 {
		return to, fmt.Errorf("%w: task %d would be left without cpu or memory", api.ErrInvalid, t.seq)
	}
	return to, nil
}

// roomFor tells whether a task may have more now: its agent must have it free, and no role above be over its limit then.
func (m *machine) roomFor(t *task, more resource.Vector) error {
	if more == (resource.Vector{}) {
		return nil
	}
	a := t.agent
	if a.session == nil || a.status != state.AgentActive {
		return fmt.Errorf("%w: agent %s is cut off", api.ErrUnavailable, a.info.Host)
	}
	m.step() // the allocator must know of all that was said before
	total, used, offered, ok := m.alloc.AgentShare(allocator.AgentID(a.num))
	if free := total.Sub(used).Sub(offered); !ok || !more.Fits(free) {
		return fmt.Errorf("%w: host %s has %s free and task %d would need %s more", api.ErrUnavailable, a.info.Host, free.Floor().Format(&m.kinds), t.seq, more.Format(&m.kinds))
	}
	for r := t.framework.role; r != nil && r.num != 0; r = r.parent {
		s, _ := m.alloc.RoleShare(allocator.RoleID(r.num))
		limit := m.st.Role(r.num).Limit
		sum := s.Used.Add(s.Offered).Add(more)
		for slot, n := range limit {
			if n >= 0 && more[slot] > 0 && sum[slot] > n {
				return fmt.Errorf("%w: role %s has reached its limit of %s", api.ErrUnavailable, r.path, m.kinds.Name(slot))
			}
		}
	}
	return nil
}

// resized says what a task has now.
func (m *machine) resized(t *task) *v1.TaskResized {
	x := &v1.TaskResized{Task: t.id(), Resources: amounts(t.resources, &m.kinds), Revision: t.revision}
	x.Resources.PortRanges = portRanges(t.ports)
	return x
}

// tellSize tells a task's agent what it has now.
func (m *machine) tellSize(t *task) {
	m.tell(t.agent, &v1.AgentCommand{Command: &v1.AgentCommand_Resize{Resize: m.resized(t)}})
}
