package sdktest

import (
	"cmp"
	"maps"
	"slices"

	v1 "fairway/broker/api/fairwayv1"
)

// LoseAgent makes an agent gone for good: its tasks end as LOST.
func (b *Broker) LoseAgent(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.agent(id)
	if a == nil || a.gone {
		return
	}
	a.gone = true
	b.tracef("agent %s is gone", id)
	b.agentLost(a, true)
	for _, t := range a.from {
		if t.state == v1.TaskState_TASK_STATE_RUNNING {
			t.state = v1.TaskState_TASK_STATE_LOST
			s := t.status(t.state)
			s.Reason, s.Sequence = v1.TaskReason_TASK_REASON_AGENT_GONE, 0
			if t.fw.session != nil {
				t.fw.session.send(statusEvent(s))
			}
			t.kill()
		}
	}
	b.allocate()
}

// CutAgent makes an agent unreachable: its tasks run on, and nothing is heard of them until HealAgent.
func (b *Broker) CutAgent(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.agent(id); a != nil && !a.cut && !a.gone {
		a.cut = true
		b.tracef("agent %s is cut off", id)
		b.agentLost(a, false)
	}
}

// HealAgent undoes CutAgent.
func (b *Broker) HealAgent(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.agent(id)
	if a == nil || !a.cut {
		return
	}
	a.cut = false
	b.tracef("agent %s is back", id)
	held := a.held
	a.held = nil
	for _, t := range a.from {
		if t.state == v1.TaskState_TASK_STATE_RUNNING {
			b.tell(t, t.status(t.state))
			if t.killed {
				t.kill()
			}
		}
	}
	for _, s := range held {
		if f := b.frameworks[s.Task.Framework]; f != nil && f.session != nil {
			f.session.send(statusEvent(s))
		}
	}
	b.allocate()
}

func (b *Broker) agentLost(a *agent, gone bool) {
	for _, id := range slices.Sorted(maps.Keys(b.offers)) {
		if o := b.offers[id]; o.agent == a {
			b.giveBack(o)
			if o.fw.session != nil {
				o.fw.session.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_Rescind{Rescind: &v1.RescindOffer{Offer: id, Reason: "agent lost"}}})
			}
		}
	}
	for _, id := range sortedKeys(b.frameworks) {
		if f := b.frameworks[id]; f.session != nil {
			f.session.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_AgentLost{AgentLost: &v1.AgentLost{
				AgentId: a.ID, Host: a.Host, Gone: gone, DataAddress: a.DataAddress}}})
		}
	}
}

// DropSessions ends all sessions with err, as a broker that fails does.
func (b *Broker) DropSessions(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tracef("sessions dropped: %v", err)
	for _, f := range b.frameworks {
		b.dropOffers(f)
		f.session = nil
	}
	for _, s := range b.sessions {
		s.end(err)
	}
	b.sessions = nil
}

// SetDown makes the broker refuse new sessions.
func (b *Broker) SetDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	b.allocate()
}

// RefuseAccepts has the next n launches refused.
func (b *Broker) RefuseAccepts(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals = n
}

// Kill asks a framework to stop, as the user's kill of its job does.
func (b *Broker) Kill(reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range sortedKeys(b.frameworks) {
		if f := b.frameworks[id]; f.session != nil {
			f.session.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_KillJob{KillJob: &v1.KillJob{JobId: f.job, Reason: reason}}})
		}
	}
}

func (b *Broker) agent(id string) *agent {
	for _, a := range b.agents {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// EndFramework kills a framework's tasks, as a broker does with what a dead coordinator has left.
func (b *Broker) EndFramework(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.frameworks[id]; f != nil {
		for _, t := range f.tasks {
			t.kill()
		}
	}
}
