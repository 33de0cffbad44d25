package core

import (
	"errors"
	"fmt"

	"fairway/broker/allocator"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// check verifies from scratch that the owner's books agree: with themselves, with the state and with the allocator,
// which must have taken all events.
func (m *machine) check() error {
	if err := errors.Join(m.st.Check(), m.alloc.Check()); err != nil {
		return err
	}
	for id, r := range m.reclaims {
		if r.id != id || r.count == 0 || !r.from.yields || r.from.session == nil || r.deadline <= m.now && !m.paused {
			return fmt.Errorf("reclaim %d from %s for %s: %d left, deadline %d", id, r.from.id, r.owner.id, r.count, r.deadline)
		}
	}
	live := 0
	for _, a := range m.agents {
		var used resource.Vector
		ports := resource.PortSet(nil)
		for t := range a.tasks {
			r, ok := m.st.Task(t.framework.num, t.seq)
			if t.agent != a || t.framework.tasks[t.seq] != t {
				return fmt.Errorf("task %d of %s is not where it should be", t.seq, t.framework.id)
			}
			if terminal(t.state) {
				if ok && r.Live() || len(t.pending) == 0 {
					return fmt.Errorf("task %d of %s has ended and is kept", t.seq, t.framework.id)
				}
				continue
			}
			if !ok || !r.Live() || r.Agent != a.num || r.Resources != t.resources {
				return fmt.Errorf("task %d of %s lives, and not so in the state", t.seq, t.framework.id)
			}
			live++
			used = used.Add(t.resources)
			if len(t.ports) > 0 {
				if resource.PortSet(t.ports).Len()+ports.Len() != ports.Add(t.ports).Len() {
					return fmt.Errorf("two tasks of agent %s have one port", a.id)
				}
				ports = ports.Add(t.ports)
			}
		}
		if got, status := m.st.Agent(a.num).Status, a.status; got != status {
			return fmt.Errorf("agent %s is in status %d and the state says %d", a.id, status, got)
		}
		if a.shown != m.stateOf(a) {
			return fmt.Errorf("agent %s is counted as %s and is %s", a.id, a.shown, m.stateOf(a))
		}
		_, held, _, ok := m.alloc.AgentShare(allocator.AgentID(a.num))
		if ok != a.placed || a.placed == (a.status == state.AgentGone) {
			return fmt.Errorf("agent %s: the allocator knows it: %v, it is placed: %v, in status %d", a.id, ok, a.placed, a.status)
		}
		if ok && held != used {
			return fmt.Errorf("agent %s: its tasks hold %v, the allocator says %v", a.id, used, held)
		}
		for _, o := range a.offers {
			if m.offers[o.id] != o || o.framework.offers[o.id] != o {
				return fmt.Errorf("offer %d is not where it should be", o.id)
			}
		}
	}
	if n := m.st.LiveTasks(); n != live {
		return fmt.Errorf("%d tasks live and the state says %d", live, n)
	}
	for _, r := range m.roles {
		var used, coordinators resource.Vector
		count := 0
		for _, f := range m.frameworks {
			for o := f.role; o != nil; o = o.parent {
				if o != r {
					continue
				}
				for _, t := range f.tasks {
					if !terminal(t.state) {
						used = used.Add(t.resources)
					}
				}
			}
			for _, t := range f.tasks {
				if t.counted && !terminal(t.state) && t.job.role == r {
					coordinators = coordinators.Add(t.resources)
					count++
				}
			}
		}
		for _, j := range m.jobs {
			if j.role == r && j.stage == ordered {
				coordinators = coordinators.Add(j.shape)
				count++
			}
		}
		if used != r.used {
			return fmt.Errorf("role %q: its tasks hold %v, its book says %v", r.path, used, r.used)
		}
		if count != r.count || coordinators != r.coordinators {
			return fmt.Errorf("role %q: %d coordinators hold %v, its book says %d and %v", r.path, count, coordinators, r.count, r.coordinators)
		}
	}
	for id, o := range m.offers {
		if o.id != id || o.dead {
			return fmt.Errorf("offer %d is dead and kept", id)
		}
	}
	return nil
}
