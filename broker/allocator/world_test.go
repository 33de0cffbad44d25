package allocator

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"fairway/broker/resource"
	"pgregory.net/rapid"
)

func vec(cpu, mem int64) resource.Vector {
	return resource.Vector{resource.CPU: cpu, resource.Memory: mem}
}

// world drives a machine and keeps, in the plainest way, what an owner would know.
type world struct {
	m          *Machine
	now        int64
	agents     map[AgentID]bool
	frameworks map[FrameworkID]RoleID
	roles      map[RoleID]RoleID
	offers     map[OfferID]Action
	tasks      []task
	groups     map[FrameworkID]map[GroupID]*asked
	gone       map[FrameworkID]bool // in this step
	taken      []Action             // accepted, with the count that was
	lastOffer  OfferID
	classic    map[FrameworkID]bool
}

type task struct {
	agent AgentID
	fw    FrameworkID
	res   resource.Vector
}

// asked is a group as its framework sees it: how many it still lacks.
type asked struct {
	version uint64
	lacks   int64
	seen    OfferID
	shape   resource.Vector
	minimum int64
	last    OfferID // that counts in what was stated
	given   int64   // of offers after it

	came, missing int64 // in this step; and what was missing of the minimum when the first came
}

func newWorld(c Config) *world {
	return &world{
		m: New(c), agents: map[AgentID]bool{}, frameworks: map[FrameworkID]RoleID{}, roles: map[RoleID]RoleID{0: 0},
		offers: map[OfferID]Action{}, gone: map[FrameworkID]bool{}, groups: map[FrameworkID]map[GroupID]*asked{}, classic: map[FrameworkID]bool{},
	}
}

func keys[K interface{ ~uint32 | ~uint64 }, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// step steps the machine, follows its actions and checks everything.
func (w *world) step(t tester, events ...Event) {
	for _, e := range events {
		t.Logf("%d: %v", w.now, describe(&e))
	}
	clear(w.gone)
	refused := map[int]bool{}
	for _, r := range w.m.Step(w.now, events) {
		t.Logf("reject %d: %v", r.Index, r.Err)
		refused[r.Index] = true
		if e := events[r.Index]; e.Kind != Accept && e.Kind != Decline {
			t.Fatalf("event %+v: %v", e, r.Err)
		}
	}
	for i := range events {
		if !refused[i] {
			w.follow(&events[i])
		}
	}
	b := w.m.Ready()
	for _, a := range b.Actions {
		t.Logf("  %+v", a)
		switch a.Kind {
		case MakeOffer:
			if _, ok := w.offers[a.Offer]; ok || a.Offer <= w.lastOffer {
				t.Fatalf("offer %d again", a.Offer)
			}
			w.offers[a.Offer] = a
			w.lastOffer = a.Offer
			if !w.agents[a.Agent] {
				t.Fatalf("offer of agent %d, which is away", a.Agent)
			}
			if _, ok := w.frameworks[a.Framework]; !ok {
				t.Fatalf("offer for framework %d, which is gone", a.Framework)
			}
			if a.Group != 0 {
				g := w.groups[a.Framework][a.Group]
				if g == nil {
					t.Fatalf("offer for group %d of framework %d, which nobody asked for", a.Group, a.Framework)
				}
				if g.came == 0 {
					g.missing = min(g.minimum-g.given, g.lacks)
				}
				g.given += int64(a.Count)
				g.came += int64(a.Count)
				g.lacks -= int64(a.Count)
				if g.lacks < 0 {
					t.Fatalf("group %d of framework %d got %d more than it asked for", a.Group, a.Framework, -g.lacks)
				}
				if a.Resources != g.shape.Scale(int64(a.Count)) {
					t.Fatalf("offer %d: %v is not %d times %v", a.Offer, a.Resources, a.Count, g.shape)
				}
			}
		case RescindOffer:
			o, ok := w.offers[a.Offer]
			if !ok {
				t.Fatalf("rescinded offer %d, which is not open", a.Offer)
			}
			w.returned(o, o.Count)
			delete(w.offers, a.Offer)
		}
	}
	for i := range b.Reclaims {
		r := &b.Reclaims[i]
		t.Logf("  %+v", *r)
		if r.Count > r.Asked || r.Asked == 0 || r.Framework == r.For && r.Count > 0 {
			t.Fatalf("reclaim %+v", r)
		}
	}
	if err := w.m.Check(); err != nil {
		t.Fatal(err)
	}
	for f, groups := range w.groups {
		for id, g := range groups {
			if g.came > 0 && g.came < g.missing {
				t.Fatalf("group %d of framework %d begins with %d at once, and got %d", id, f, g.missing, g.came)
			}
			g.came = 0
			if left, ok := w.m.Outstanding(f, id); !ok || int64(left) > max(g.lacks, 0) {
				t.Fatalf("group %d of framework %d: %d outstanding, %d lacking", id, f, left, g.lacks)
			}
		}
	}
	if b.WakeAt != 0 && b.WakeAt <= w.now {
		t.Fatalf("wake at %d, now is %d", b.WakeAt, w.now)
	}
}

func describe(e *Event) string {
	s := fmt.Sprintf("kind %d agent %d host %d rack %d role %d/%d framework %d group %d offer %d count %d filter %d flag %v %v", e.Kind, e.Agent, e.Host,
		e.Rack, e.Role, e.Parent, e.Framework, e.Group, e.Offer, e.Count, e.Filter, e.Flag, e.Resources)
	if e.Request != nil {
		s += fmt.Sprintf(" %+v", *e.Request)
	}
	return s
}

// follow takes over what an event changes for an owner.
func (w *world) follow(e *Event) {
	switch e.Kind {
	case AgentRemove:
		w.tasks = slices.DeleteFunc(w.tasks, func(t task) bool { return t.agent == e.Agent })
	case RequestSet:
		g := w.groups[e.Framework][e.Request.Group]
		if g == nil || g.version < e.Request.Version {
			return
		}
		g.lacks, g.minimum, g.last = int64(e.Request.Total), int64(e.Request.Minimum), e.Request.LastOffer
		for _, o := range w.offers {
			if o.Framework == e.Framework && o.Group == e.Request.Group && o.Offer > e.Request.LastOffer {
				g.lacks -= int64(o.Count)
			}
		}
		for _, o := range w.taken {
			if o.Framework == e.Framework && o.Group == e.Request.Group && o.Offer > e.Request.LastOffer {
				g.lacks -= int64(o.Count)
			}
		}
		g.given = int64(e.Request.Total) - g.lacks
	case RequestRemove:
		for id, o := range w.offers {
			if o.Framework == e.Framework && o.Group == e.Group {
				o.Group = 1 << 60 // its end is among the actions
				w.offers[id] = o
			}
		}
		w.taken = slices.DeleteFunc(w.taken, func(a Action) bool { return a.Framework == e.Framework && a.Group == e.Group })
	case FrameworkRemove:
		w.taken = slices.DeleteFunc(w.taken, func(a Action) bool { return a.Framework == e.Framework })
	case Accept:
		o := w.offers[e.Offer]
		delete(w.offers, e.Offer)
		if o.Group != 0 {
			w.returned(o, o.Count-e.Count)
			o.Count = e.Count
			w.taken = append(w.taken, o)
		}
		if !e.Resources.IsZero() {
			w.tasks = append(w.tasks, task{o.Agent, o.Framework, e.Resources})
		}
	case Decline:
		o := w.offers[e.Offer]
		w.returned(o, o.Count)
		delete(w.offers, e.Offer)
	}
}

func (w *world) returned(o Action, count uint32) {
	if g := w.groups[o.Framework][o.Group]; g != nil {
		g.lacks += int64(count)
		if o.Offer > g.last {
			g.given -= int64(count)
		}
	}
}

var shapes = []resource.Vector{vec(1000, 1<<30), vec(500, 2<<30), vec(4000, 1<<30), vec(2000, 12<<30), vec(100, 128<<20), {resource.CPU: 1000, resource.Named: 1}}

// event draws one event that an owner could send.
func (w *world) event(t *rapid.T) (Event, bool) {
	n := func(max int) int { return rapid.IntRange(0, max).Draw(t, "n") }
	unlimited := resource.None()
	switch k := rapid.IntRange(0, 23).Draw(t, "kind"); k {
	case 22, 23:
		if len(w.frameworks) == 0 {
			return Event{}, false
		}
		return Event{Kind: Reclaimable, Framework: rapid.SampledFrom(keys(w.frameworks)).Draw(t, "framework"), Flag: n(3) > 0}, true
	case 0, 1:
		id := AgentID(n(9))
		if _, ok := w.agents[id]; ok {
			return Event{}, false
		}
		w.agents[id] = true
		res := vec(int64(1+n(7))*1000, int64(1+n(15))<<30)
		res[resource.Named] = int64(n(2))
		return Event{Kind: AgentAdd, Agent: id, Host: HostID(1 + n(5)), Rack: RackID(n(3)), Resources: res}, true
	case 2:
		if len(w.agents) == 0 || n(2) > 0 {
			return Event{}, false
		}
		id := rapid.SampledFrom(keys(w.agents)).Draw(t, "agent")
		delete(w.agents, id)
		w.tasks = slices.DeleteFunc(w.tasks, func(t task) bool { return t.agent == id })
		return Event{Kind: AgentRemove, Agent: id}, true
	case 3:
		if len(w.agents) == 0 {
			return Event{}, false
		}
		id := rapid.SampledFrom(keys(w.agents)).Draw(t, "agent")
		switch n(5) {
		case 0:
			return Event{Kind: AgentDrain, Agent: id}, true
		case 1:
			return Event{Kind: AgentUndrain, Agent: id}, true
		}
		w.agents[id] = n(1) == 0
		if w.agents[id] {
			return Event{Kind: AgentResume, Agent: id}, true
		}
		return Event{Kind: AgentPause, Agent: id}, true
	case 4:
		role := RoleID(1 + n(4))
		parent, ok := w.roles[role]
		if !ok {
			parent = rapid.SampledFrom(keys(w.roles)).Draw(t, "parent")
		}
		w.roles[role] = parent
		limit, guarantee := unlimited, resource.Vector{}
		if n(2) == 0 {
			limit[resource.CPU] = int64(n(10)) * 1000
		}
		if n(2) == 0 {
			guarantee[resource.Memory] = int64(n(10)) << 30
		}
		return Event{Kind: RoleSet, Role: role, Parent: parent, Weight: int64(1+n(4)) * 500, Limit: limit, Guarantee: guarantee}, true
	case 5, 6:
		id := FrameworkID(n(5))
		if _, ok := w.frameworks[id]; ok || w.gone[id] {
			return Event{}, false
		}
		role := rapid.SampledFrom(keys(w.roles)).Draw(t, "role")
		for _, t := range w.tasks {
			if t.fw == id {
				return Event{}, false
			}
		}
		w.frameworks[id] = role
		w.groups[id] = map[GroupID]*asked{}
		w.classic[id] = n(3) == 0
		return Event{Kind: FrameworkAdd, Framework: id, Role: role, Flag: w.classic[id]}, true
	case 7:
		if len(w.frameworks) == 0 || n(3) > 0 {
			return Event{}, false
		}
		id := rapid.SampledFrom(keys(w.frameworks)).Draw(t, "framework")
		delete(w.frameworks, id)
		delete(w.groups, id)
		w.gone[id] = true
		return Event{Kind: FrameworkRemove, Framework: id}, true
	case 8, 9, 10, 11:
		if len(w.frameworks) == 0 {
			return Event{}, false
		}
		return w.request(t), true
	case 12:
		for _, f := range keys(w.groups) {
			if ids := keys(w.groups[f]); len(ids) > 0 {
				id := rapid.SampledFrom(ids).Draw(t, "group")
				delete(w.groups[f], id)
				return Event{Kind: RequestRemove, Framework: f, Group: id}, true
			}
		}
		return Event{}, false
	case 13, 14, 15, 16:
		if len(w.offers) == 0 {
			return Event{}, false
		}
		return w.accept(t), true
	case 17:
		if len(w.offers) == 0 {
			return Event{}, false
		}
		id := rapid.SampledFrom(keys(w.offers)).Draw(t, "offer")
		return Event{Kind: Decline, Offer: id, Filter: int64(n(3)-1) * 2e9}, true
	case 18, 19:
		if len(w.tasks) == 0 {
			return Event{}, false
		}
		i := n(len(w.tasks) - 1)
		x := w.tasks[i]
		w.tasks = slices.Delete(w.tasks, i, i+1)
		return Event{Kind: TaskEnd, Agent: x.agent, Framework: x.fw, Resources: x.res}, true
	case 20:
		if len(w.frameworks) == 0 {
			return Event{}, false
		}
		kind := Suppress
		if n(1) == 0 {
			kind = Revive
		}
		return Event{Kind: kind, Framework: rapid.SampledFrom(keys(w.frameworks)).Draw(t, "framework")}, true
	default:
		if len(w.agents) == 0 || n(1) == 0 {
			return Event{Kind: []EventKind{Pause, Resume, Resume}[n(2)]}, true
		}
		res := vec(int64(1+n(7))*1000, int64(1+n(15))<<30)
		return Event{Kind: AgentUpdate, Agent: rapid.SampledFrom(keys(w.agents)).Draw(t, "agent"), Rack: RackID(n(3)), Resources: res}, true
	}
}

func (w *world) request(t *rapid.T) Event {
	n := func(max int) int { return rapid.IntRange(0, max).Draw(t, "n") }
	f := rapid.SampledFrom(keys(w.frameworks)).Draw(t, "framework")
	id := GroupID(1 + n(2))
	g := w.groups[f][id]
	if g == nil {
		g = &asked{shape: rapid.SampledFrom(shapes).Draw(t, "shape")}
		w.groups[f][id] = g
	}
	g.version++
	total := uint32(n(6))
	// The framework has not seen the newest offers yet: what it states crosses them.
	g.seen = max(g.seen, w.lastOffer-min(w.lastOffer, OfferID(n(3))))
	seen := g.seen
	r := &Request{Group: id, Version: g.version, LastOffer: seen, Shape: g.shape, Total: total, Priority: int32(id), Strict: n(4) == 0}
	if n(2) == 0 {
		r.Minimum = uint32(n(int(total)))
	}
	if n(2) > 0 {
		r.NodeWait, r.RackWait = int64(n(4)-1)*1e9, int64(n(4)-1)*1e9
		for range n(3) {
			h := HostID(1 + n(6))
			if !slices.ContainsFunc(r.Hosts, func(c HostCount) bool { return c.Host == h }) {
				r.Hosts = append(r.Hosts, HostCount{Host: h, Rack: RackID(h % 4), Count: uint32(n(4))})
			}
		}
		if n(2) == 0 {
			r.Racks = append(r.Racks, RackCount{Rack: RackID(n(3)), Count: uint32(n(4))})
		}
		if n(4) == 0 {
			r.Excluded = append(r.Excluded, AgentID(n(9)))
		}
	}
	return Event{Kind: RequestSet, Framework: f, Request: r}
}

func (w *world) accept(t *rapid.T) Event {
	n := func(max int) int { return rapid.IntRange(0, max).Draw(t, "n") }
	id := rapid.SampledFrom(keys(w.offers)).Draw(t, "offer")
	o := w.offers[id]
	res, count := o.Resources, o.Count
	switch {
	case o.Group == 0:
		res = res.Min(vec(int64(n(4))*500, int64(n(4))<<29))
		count = 1
	case n(2) == 0:
		count = uint32(n(int(o.Count)))
		for i := range res {
			res[i] = res[i] / int64(o.Count) * int64(count)
		}
	}
	return Event{Kind: Accept, Offer: id, Resources: res, Count: count, Filter: int64(n(2)-1) * 1e9}
}

// TestRandomHistories checks every invariant, and that nothing is allocated twice, after each step of random histories.
func TestRandomHistories(t *testing.T) {
	for range 10 {
		t.Run("", randomHistories)
	}
}

func randomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(Config{OfferTimeout: 6e9, StarveAfter: 5e9, MaxReserved: 2, ReclaimAfter: 1e9, ReclaimDeadline: 2e9})
		steps := rapid.IntRange(5, 40).Draw(t, "steps")
		for range steps {
			var events []Event
			for range rapid.IntRange(1, 6).Draw(t, "batch") {
				if e, ok := w.event(t); ok {
					events = append(events, e)
				}
			}
			w.now += int64(rapid.IntRange(0, 3).Draw(t, "passed")) * 500e6
			w.step(t, events...)
		}
	})
}

// tester is what a rapid test and a plain one share.
type tester interface {
	Helper()
	Logf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
