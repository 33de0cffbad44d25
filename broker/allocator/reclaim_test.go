package allocator

import (
	"slices"
	"testing"

	"fairway/broker/resource"
	"pgregory.net/rapid"
)

// market is a machine whose frameworks have more to run than there is room, with tasks that never end by themselves.
// Frameworks that yield give back what they are asked for, so that tasks of the wanted shape fit.
type market struct {
	m        *Machine
	now      int64
	tasks    []task
	released int
	failures []string
}

// step gives the machine events and takes all offers. It returns what is asked for anew.
func (k *market) step(events ...Event) (asked []Reclaim) {
	for len(events) > 0 || asked == nil {
		for _, r := range k.m.Step(k.now, events) {
			k.failures = append(k.failures, r.Err.Error())
		}
		if err := k.m.Check(); err != nil {
			k.failures = append(k.failures, err.Error())
		}
		events = events[:0]
		b := k.m.Ready()
		if asked == nil {
			asked = []Reclaim{}
		}
		for _, r := range b.Reclaims {
			if r.Count == r.Asked {
				r.Agents = slices.Clone(r.Agents)
				asked = append(asked, r)
			}
		}
		for _, a := range b.Actions {
			if a.Kind != MakeOffer {
				continue
			}
			one := a.Resources
			for i := range one {
				one[i] /= int64(a.Count)
			}
			for range a.Count {
				k.tasks = append(k.tasks, task{a.Agent, a.Framework, one})
			}
			events = append(events, Event{Kind: Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count})
		}
	}
	return asked
}

// give ends tasks as a framework would that is asked: on an agent as many as make room for one more task, until there is
// room for all of them or nothing more may be given.
func (k *market) give(r *Reclaim) (events []Event) {
	var sum resource.Vector
	count := int64(r.Count)
	for id := range k.m.agents {
		if len(r.Agents) > 0 && !slices.Contains(r.Agents, AgentID(id)) {
			continue
		}
		free := k.m.agents[id].free
		var freed resource.Vector
		var bundle []int
		for i, x := range k.tasks {
			if count <= 0 {
				break
			}
			if all := sum.Add(freed).Add(x.res); int(x.agent) != id || x.fw != r.Framework || !all.Within(r.Most) {
				continue
			}
			freed, bundle = freed.Add(x.res), append(bundle, i)
			gain := free.Add(freed).Times(r.Shape) - max(free.Times(r.Shape), 0)
			if gain <= 0 {
				continue
			}
			for _, i := range bundle {
				x := &k.tasks[i]
				events = append(events, Event{Kind: TaskEnd, Agent: x.agent, Framework: x.fw, Resources: x.res})
				x.agent = 1 << 20 // it is gone
			}
			sum, free = sum.Add(freed), free.Add(freed)
			freed, bundle = resource.Vector{}, nil
			count -= gain
		}
	}
	k.tasks = slices.DeleteFunc(k.tasks, func(x task) bool { return x.agent == 1<<20 })
	k.released += len(events)
	return events
}

// TestReclaimKeepsShares: whatever the roles and what they run, giving back what is asked for brings no role below its fair
// share, and it comes to an end.
func TestReclaimKeepsShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
		k := &market{m: New(Config{ReclaimAfter: 10e9, ReclaimDeadline: 10e9, NodeWait: -1, RackWait: -1})}
		var events []Event
		agents := n("agents", 1, 4)
		for i := range agents {
			events = append(events, Event{Kind: AgentAdd, Agent: AgentID(i), Host: HostID(i + 1), Resources: vec(int64(n("cpu", 4, 12))*1000, int64(n("memory", 4, 24))<<30)})
		}
		// Two levels of roles; frameworks are in the lower ones, or in an upper one without.
		parents := []RoleID{0}
		roles := n("roles", 2, 6)
		var leaves []RoleID
		for i := range roles {
			id := RoleID(i + 1)
			parent := RoleID(0)
			if i > 1 {
				parent = parents[n("parent", 0, min(len(parents)-1, 2))]
			}
			events = append(events, Event{Kind: RoleSet, Role: id, Parent: parent, Weight: int64(n("weight", 1, 6)) * 500, Limit: resource.None()})
			if parent == 0 {
				parents = append(parents, id)
			}
			leaves = append(leaves, id)
		}
		var fws []FrameworkID
		add := func() []Event {
			f := FrameworkID(len(fws))
			fws = append(fws, f)
			shape := vec(int64(n("task cpu", 1, 6))*500, int64(n("task memory", 1, 8))<<29)
			r := &Request{Group: 1, Version: 1, Shape: shape, Total: uint32(n("total", 1, 60))}
			if n("excludes", 0, 4) == 0 {
				r.Excluded = []AgentID{AgentID(n("excluded", 0, agents-1))}
			}
			return []Event{
				{Kind: FrameworkAdd, Framework: f, Role: leaves[n("role", 0, len(leaves)-1)]},
				{Kind: Reclaimable, Framework: f, Flag: n("yields", 0, 3) > 0}, {Kind: RequestSet, Framework: f, Request: r},
			}
		}
		k.step(append(events, add()...)...)
		const quiet = 120
		last := 0
		for i := range 20 + quiet {
			k.now += 5e9
			var events []Event
			if i < 20 && len(fws) < 8 && n("new", 0, 2) == 0 {
				events = add()
			}
			for _, r := range k.step(events...) {
				fair := map[RoleID]float64{}
				for _, role := range leaves {
					if k.m.below(k.m.fws[r.For].node, k.m.roles[role]) {
						continue // what it gives it gets
					}
					s, _ := k.m.RoleShare(role)
					fair[role] = min(s.Fair, s.Dominant)
				}
				before := k.released
				ends := k.give(&r)
				if len(ends) == 0 {
					continue
				}
				// What is given back, before anybody takes it.
				k.m.Step(k.now, append([]Event{{Kind: Pause}}, ends...))
				for _, role := range leaves {
					if s, _ := k.m.RoleShare(role); s.Dominant < fair[role]-1e-9 {
						t.Fatalf("role %d has %v of %v after %+v took %d tasks", role, s.Dominant, fair[role], r, k.released-before)
					}
				}
				k.step(Event{Kind: Resume})
				last = i
			}
			if len(k.failures) > 0 {
				t.Fatal(k.failures)
			}
		}
		if last >= 20+quiet-20 {
			t.Fatalf("tasks are still given back after %d rounds: %d in all", last, k.released)
		}
	})
}

// TestReclaimMeets: two roles 2:1 of equal tasks, whatever the sizes of the cluster, end at their shares within one task.
func TestReclaimMeets(t *testing.T) {
	for _, agents := range []int{1, 3, 7, 40} {
		k := &market{m: New(Config{NodeWait: -1, RackWait: -1})}
		events := []Event{{Kind: RoleSet, Role: 1, Weight: 2000, Limit: resource.None()}, {Kind: RoleSet, Role: 2, Weight: 1000, Limit: resource.None()}}
		for i := range agents {
			events = append(events, Event{Kind: AgentAdd, Agent: AgentID(i), Host: HostID(i + 1), Resources: vec(12000, 12<<30)})
		}
		for f := range FrameworkID(2) {
			events = append(events, Event{Kind: FrameworkAdd, Framework: f, Role: RoleID(f + 1)}, Event{Kind: Reclaimable, Framework: f, Flag: true})
			r := &Request{Group: 1, Version: 1, Shape: vec(1000, 1<<30), Total: 10000}
			k.step(append(events, Event{Kind: RequestSet, Framework: f, Request: r})...)
			events = nil
		}
		steps := 0
		for ; steps < 40; steps++ {
			k.now += 15e9
			var ends []Event
			for _, r := range k.step() {
				ends = append(ends, k.give(&r)...)
			}
			k.step(ends...)
		}
		for role, want := range map[RoleID]int64{1: int64(agents) * 8, 2: int64(agents) * 4} {
			if s, _ := k.m.RoleShare(role); s.Used[0]/1000 != want {
				t.Errorf("%d agents: role %d has %d tasks, want %d", agents, role, s.Used[0]/1000, want)
			}
		}
		if k.released != agents*4 || len(k.failures) > 0 {
			t.Errorf("%d agents: %d tasks were given back, want %d; %v", agents, k.released, agents*4, k.failures)
		}
	}
}

// TestReclaimAllocates: looking for what could be reclaimed, and finding nothing, allocates nothing.
func TestReclaimAllocates(t *testing.T) {
	m := New(Config{ReclaimAfter: 2e9})
	events := []Event{{Kind: AgentAdd, Host: 1, Resources: vec(12000, 12<<30)}}
	for f := range FrameworkID(20) {
		events = append(events, Event{Kind: RoleSet, Role: RoleID(f + 1), Weight: 1000, Limit: resource.None()},
			Event{Kind: FrameworkAdd, Framework: f, Role: RoleID(f + 1)}, Event{Kind: Reclaimable, Framework: f, Flag: true},
			Event{Kind: RequestSet, Framework: f, Request: &Request{Group: 1, Version: 1, Shape: vec(1000, 1<<30), Total: 100}})
	}
	m.Step(0, events)
	now := int64(0)
	if n := testing.AllocsPerRun(50, func() { now += 1e9; m.Step(now, nil) }); n > 0 {
		t.Errorf("%v allocations in a step", n)
	}
}
