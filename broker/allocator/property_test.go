package allocator

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"fairway/broker/resource"
	"pgregory.net/rapid"
)

// TestDeterminism: the same history gives the same bytes.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(Config{OfferTimeout: 6e9, StarveAfter: 5e9})
		again := New(Config{OfferTimeout: 6e9, StarveAfter: 5e9})
		for range rapid.IntRange(5, 30).Draw(t, "steps") {
			var events []Event
			for range rapid.IntRange(1, 6).Draw(t, "batch") {
				if e, ok := w.event(t); ok {
					events = append(events, e)
				}
			}
			w.now += int64(rapid.IntRange(0, 3).Draw(t, "passed")) * 500e6
			w.step(t, events...)
			again.Step(w.now, events)
			a, _ := json.Marshal(w.m.Ready())
			b, _ := json.Marshal(again.Ready())
			if !bytes.Equal(a, b) {
				t.Fatalf("the same history gave\n%s\nand\n%s", a, b)
			}
		}
	})
}

// TestRejectedLeavesState: a machine that was given refused events decides as one that was not.
func TestRejectedLeavesState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(Config{})
		clean := New(Config{})
		nonsense := []Event{
			{Kind: AgentPause, Agent: 99}, {Kind: AgentAdd, Agent: math.MaxUint32}, {Kind: Accept, Offer: 1 << 50}, {Kind: 200},
			{Kind: AgentAdd, Agent: 98, Resources: resource.Vector{-1}}, {Kind: RoleSet, Role: 97, Parent: 96, Weight: 1},
			{Kind: FrameworkAdd, Framework: 95, Role: 94}, {Kind: TaskEnd, Agent: 99}, {Kind: RequestSet, Framework: 99},
			{Kind: RoleRemove}, {Kind: TaskStart, Agent: 99}, {Kind: AgentAdd, Agent: 90, Resources: resource.Vector{maxAmount + 1}},
		}
		for range rapid.IntRange(3, 15).Draw(t, "steps") {
			var events, more []Event
			for range rapid.IntRange(1, 6).Draw(t, "batch") {
				if e, ok := w.event(t); ok {
					events = append(events, e)
				}
				more = append(more, rapid.SampledFrom(nonsense).Draw(t, "nonsense"))
			}
			clean.Step(w.now, events)
			a, _ := json.Marshal(clean.Ready())
			more = slices.Concat(more, events, more)
			w.m.Step(w.now, more)
			b, _ := json.Marshal(w.m.Ready())
			if !bytes.Equal(a, b) {
				t.Fatalf("refused events changed\n%s\nto\n%s", a, b)
			}
			if err := w.m.Check(); err != nil {
				t.Fatal(err)
			}
			for _, x := range clean.Ready().Actions {
				if x.Kind == MakeOffer {
					w.offers[x.Offer] = x
				} else {
					delete(w.offers, x.Offer)
				}
			}
			w.now += 1e9
		}
	})
}

// TestSnapshot: a machine that is told what runs, as after a failover, holds the same shares, and what it offers to the
// same requests keeps to them.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roles := []Event{
			{Kind: RoleSet, Role: 1, Weight: 2000, Limit: resource.None()}, {Kind: RoleSet, Role: 2, Weight: 1000, Limit: resource.None()},
			{Kind: RoleSet, Role: 3, Parent: 1, Weight: 500, Limit: resource.None()},
		}
		var base []Event
		base = append(base, roles...)
		for i := range 3 {
			base = append(base, Event{Kind: FrameworkAdd, Framework: FrameworkID(i), Role: RoleID(i + 1)})
		}
		agents := rapid.IntRange(1, 6).Draw(t, "agents")
		for i := range agents {
			base = append(base, Event{Kind: AgentAdd, Agent: AgentID(i), Host: HostID(i + 1), Rack: RackID(i%2 + 1), Resources: vec(8000, 16<<30)})
		}
		first := New(Config{NodeWait: -1, RackWait: -1})
		first.Step(0, base)
		var ask []Event
		for f := range 3 {
			r := &Request{Group: 1, Version: 1, Shape: shapes[f], Total: uint32(rapid.IntRange(0, 12).Draw(t, "total"))}
			ask = append(ask, Event{Kind: RequestSet, Framework: FrameworkID(f), Request: r})
		}
		first.Step(1, ask)
		var accepts, starts []Event
		for _, a := range first.Ready().Actions {
			accepts = append(accepts, Event{Kind: Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count})
			starts = append(starts, Event{Kind: TaskStart, Agent: a.Agent, Framework: a.Framework, Resources: a.Resources})
		}
		first.Step(2, accepts)
		second := New(Config{NodeWait: -1, RackWait: -1})
		second.Step(0, base)
		second.Step(1, starts)
		for r := range RoleID(4) {
			a, _ := first.RoleShare(r)
			b, _ := second.RoleShare(r)
			if a.Used != b.Used || a.Dominant != b.Dominant {
				t.Fatalf("role %d: %+v, rebuilt %+v", r, a, b)
			}
		}
		// The same demand again: both give every role the same.
		var more []Event
		for f := range 3 {
			more = append(more, Event{Kind: RequestSet, Framework: FrameworkID(f), Request: &Request{Group: 2, Version: 1, Shape: vec(500, 1<<30), Total: 20}})
			more = append(more, Event{Kind: RequestRemove, Framework: FrameworkID(f), Group: 1})
		}
		first.Step(3, more)
		var fresh []Event
		for _, e := range more {
			if e.Kind == RequestSet {
				fresh = append(fresh, e)
			}
		}
		second.Step(3, fresh)
		for r := range RoleID(4) {
			a, _ := first.RoleShare(r)
			b, _ := second.RoleShare(r)
			if a.Offered != b.Offered || a.Waiting != b.Waiting {
				t.Fatalf("role %d: offered %v, rebuilt %v", r, a.Offered, b.Offered)
			}
		}
		for _, m := range []*Machine{first, second} {
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// users makes one agent and n roles with one backlogged framework each; the result is how many tasks each is offered.
func users(t tester, total resource.Vector, weights []int64, demands []resource.Vector) ([]int64, *Machine) {
	m := New(Config{})
	events := []Event{{Kind: AgentAdd, Resources: total}}
	for i, d := range demands {
		events = append(events, Event{Kind: RoleSet, Role: RoleID(i + 1), Weight: weights[i], Limit: resource.None()},
			Event{Kind: FrameworkAdd, Framework: FrameworkID(i), Role: RoleID(i + 1)},
			Event{Kind: RequestSet, Framework: FrameworkID(i), Request: &Request{Group: 1, Version: 1, Shape: d, Total: 100000}})
	}
	if r := m.Step(0, events); len(r) > 0 {
		t.Fatal(r[0].Err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	counts := make([]int64, len(demands))
	for _, a := range m.Ready().Actions {
		counts[a.Framework] += int64(a.Count)
	}
	return counts, m
}

func equal(n int) []int64 { return slices.Repeat([]int64{1000}, n) }

// TestPaperExample is the example of section 4.1 of the DRF paper: 9 cpus and 18 GB, tasks of (1 cpu, 4 GB) and (3 cpus,
// 1 GB): 3 and 2 tasks.
func TestPaperExample(t *testing.T) {
	got, _ := users(t, vec(9000, 18<<30), equal(2), []resource.Vector{vec(1000, 4<<30), vec(3000, 1<<30)})
	if !slices.Equal(got, []int64{3, 2}) {
		t.Fatalf("got %v, the paper has 3 and 2", got)
	}
}

func drawUsers(t *rapid.T) (resource.Vector, []resource.Vector) {
	total := vec(int64(rapid.IntRange(200, 400).Draw(t, "cpu"))*1000, int64(rapid.IntRange(200, 400).Draw(t, "memory"))<<30)
	demands := make([]resource.Vector, rapid.IntRange(2, 5).Draw(t, "users"))
	for i := range demands {
		demands[i] = vec(int64(rapid.IntRange(1, 8).Draw(t, "cpu"))*500, int64(rapid.IntRange(1, 8).Draw(t, "memory"))<<29)
	}
	return total, demands
}

// grain is by how many of one's own tasks whole tasks can miss an ideal share: one, and as many as make the largest task
// of another.
func grain(total, own resource.Vector, demands []resource.Vector) int64 {
	mine, _ := own.Dominant(total)
	most := mine
	for _, d := range demands {
		s, _ := d.Dominant(total)
		most = max(most, s)
	}
	return 1 + int64(math.Ceil(most/mine))
}

// TestSharingIncentive: nobody gets less than from a 1/n part of the cluster of his own (DRF paper, section 3).
func TestSharingIncentive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, demands := drawUsers(t)
		got, _ := users(t, total, equal(len(demands)), demands)
		for i, d := range demands {
			part := total
			for k := range part {
				part[k] /= int64(len(demands))
			}
			if own := part.Times(d); got[i] < own-grain(total, d, demands) {
				t.Fatalf("user %d of %v gets %d tasks, alone in a part %d", i, demands, got[i], own)
			}
		}
	})
}

// TestParetoEfficiency: when all are backlogged no further task of anybody fits.
func TestParetoEfficiency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, demands := drawUsers(t)
		_, m := users(t, total, equal(len(demands)), demands)
		root, _ := m.RoleShare(0)
		for _, d := range demands {
			if d.Fits(total.Sub(root.Offered)) {
				t.Fatalf("%v fits into what is left of %v", d, total)
			}
		}
	})
}

// TestEnvyFreeness: nobody would run more tasks with what somebody else holds.
func TestEnvyFreeness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, demands := drawUsers(t)
		got, m := users(t, total, equal(len(demands)), demands)
		for i, d := range demands {
			for k := range demands {
				other, _ := m.RoleShare(RoleID(k + 1))
				if n := other.Offered.Times(d); n > got[i]+grain(total, d, demands) {
					t.Fatalf("user %d of %v runs %d tasks and %d with what user %d holds", i, demands, got[i], n, k)
				}
			}
		}
	})
}

// TestStrategyProofness: who inflates one kind of what he asks for does not run more useful tasks, up to the last task
// that whole tasks leave to chance.
func TestStrategyProofness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, demands := drawUsers(t)
		honest, _ := users(t, total, equal(len(demands)), demands)
		lie := slices.Clone(demands)
		slot := rapid.IntRange(0, 1).Draw(t, "kind")
		lie[0][slot] *= int64(rapid.IntRange(2, 4).Draw(t, "times"))
		lying, _ := users(t, total, equal(len(demands)), lie)
		if slack := honest[0]/10 + 2; lying[0] > honest[0]+slack {
			t.Fatalf("asking for %v instead of %v gave %d tasks instead of %d", lie[0], demands[0], lying[0], honest[0])
		}
	})
}

// naive is progressive filling, from the paper's algorithm 1: the user with the least weighted dominant share whose task
// fits is next, in exact arithmetic of floats that these sizes hold.
func naive(total resource.Vector, weights []int64, demands []resource.Vector) []int64 {
	counts := make([]int64, len(demands))
	free := total
	for {
		best, least := -1, math.Inf(1)
		for i, d := range demands {
			if !d.Fits(free) {
				continue
			}
			share, _ := d.Scale(counts[i]).Dominant(total)
			if s := share * 1000 / float64(weights[i]); s < least-1e-9 {
				best, least = i, s
			}
		}
		if best < 0 {
			return counts
		}
		counts[best]++
		free = free.Sub(demands[best])
	}
}

// TestAgainstNaive compares with progressive filling, with weights.
func TestAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total, demands := drawUsers(t)
		weights := make([]int64, len(demands))
		for i := range weights {
			weights[i] = int64(rapid.IntRange(1, 8).Draw(t, "weight")) * 500
		}
		got, _ := users(t, total, weights, demands)
		want := naive(total, weights, demands)
		for i := range got {
			// Ties of fixed point and of floats may fall differently; then the last tasks that fit are others: up to as
			// many as fit into another's task.
			most := int64(2)
			for _, d := range demands {
				for slot := range d {
					if own := demands[i][slot]; own > 0 {
						most = max(most, 2+d[slot]/own)
					}
				}
			}
			if d := got[i] - want[i]; d < -most || d > most {
				t.Fatalf("%v with weights %v: got %v, progressive filling %v", demands, weights, got, want)
			}
		}
	})
}

// TestTreeOfRoles: shares hold at each level, whatever the numbers of frameworks below.
func TestTreeOfRoles(t *testing.T) {
	m := New(Config{})
	none := resource.None()
	events := []Event{
		{Kind: AgentAdd, Resources: vec(90000, 90<<30)},
		{Kind: RoleSet, Role: 1, Weight: 2000, Limit: none}, {Kind: RoleSet, Role: 2, Weight: 1000, Limit: none},
		{Kind: RoleSet, Role: 3, Parent: 1, Weight: 1000, Limit: none}, {Kind: RoleSet, Role: 4, Parent: 1, Weight: 3000, Limit: none},
	}
	for i, role := range []RoleID{3, 4, 2, 2, 2} {
		events = append(events, Event{Kind: FrameworkAdd, Framework: FrameworkID(i), Role: role},
			Event{Kind: RequestSet, Framework: FrameworkID(i), Request: &Request{Group: 1, Version: 1, Shape: vec(1000, 1<<30), Total: 1000}})
	}
	m.Step(0, events)
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	for role, want := range map[RoleID]int64{1: 60000, 2: 30000, 3: 15000, 4: 45000} {
		s, _ := m.RoleShare(role)
		if d := s.Offered[0] - want; d < -1000 || d > 1000 {
			t.Errorf("role %d has %v, want %d milli-cpu", role, s.Offered, want)
		}
	}
}

// TestChurnConverges: two backlogged roles with weights 2 and 1 keep 2:1 while tasks end and all offers are accepted,
// with wanted hosts and without.
func TestChurnConverges(t *testing.T) {
	for _, local := range []bool{false, true} {
		m := New(Config{})
		none := resource.None()
		rng := rand.New(rand.NewPCG(1, 2))
		const agents = 20
		events := []Event{{Kind: RoleSet, Role: 1, Weight: 2000, Limit: none}, {Kind: RoleSet, Role: 2, Weight: 1000, Limit: none}}
		for i := range agents {
			events = append(events, Event{Kind: AgentAdd, Agent: AgentID(i), Host: HostID(i + 1), Rack: RackID(i%4 + 1), Resources: vec(16000, 32<<30)})
		}
		for f := range 2 {
			r := &Request{Group: 1, Version: 1, Shape: []resource.Vector{vec(1000, 1<<30), vec(500, 2<<30)}[f], Total: 1 << 20}
			if local {
				for i := range agents {
					r.Hosts = append(r.Hosts, HostCount{Host: HostID(i + 1), Rack: RackID(i%4 + 1), Count: 1 << 16})
				}
			}
			events = append(events, Event{Kind: FrameworkAdd, Framework: FrameworkID(f), Role: RoleID(f + 1)}, Event{Kind: RequestSet, Framework: FrameworkID(f), Request: r})
		}
		var running []task
		sums := [2]float64{}
		for step := range 400 {
			m.Step(int64(step)*1e8, events)
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			events = events[:0]
			for _, a := range m.Ready().Actions {
				events = append(events, Event{Kind: Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count})
				one := a.Resources
				for i := range one {
					one[i] /= int64(a.Count)
				}
				for range a.Count {
					running = append(running, task{a.Agent, a.Framework, one})
				}
				if local && a.Locality != Node {
					t.Fatalf("every host is wanted, and the offer is %v", a.Locality)
				}
			}
			for range 20 {
				if len(running) == 0 {
					break
				}
				i := rng.IntN(len(running))
				x := running[i]
				running = slices.Delete(running, i, i+1)
				events = append(events, Event{Kind: TaskEnd, Agent: x.agent, Framework: x.fw, Resources: x.res})
			}
			for r := range 2 {
				s, _ := m.RoleShare(RoleID(r + 1))
				sums[r] += s.Dominant
			}
		}
		if ratio := sums[0] / sums[1]; ratio < 1.95 || ratio > 2.05 {
			t.Errorf("wanted hosts %v: the shares are as %.3f to 1, weights as 2", local, ratio)
		}
	}
}

// TestManyShapes: more shapes than have a bit of their own.
func TestManyShapes(t *testing.T) {
	m := New(Config{})
	events := []Event{{Kind: FrameworkAdd}}
	for i := range 10 {
		events = append(events, Event{Kind: AgentAdd, Agent: AgentID(i), Host: HostID(i + 1), Resources: vec(40000, 40<<30)})
	}
	for i := range 150 {
		shape := vec(int64(100+i*10), int64(1+(i*7)%150)<<23)
		events = append(events, Event{Kind: RequestSet, Request: &Request{Group: GroupID(i + 1), Version: 1, Shape: shape, Total: 3}})
	}
	m.Step(0, events)
	for range 60 {
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		var next []Event
		for _, a := range m.Ready().Actions {
			next = append(next, Event{Kind: Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count},
				Event{Kind: TaskEnd, Agent: a.Agent, Resources: a.Resources})
		}
		m.Step(m.now+1, next)
	}
	if s, _ := m.RoleShare(0); s.Waiting != 0 || !s.Used.IsZero() {
		t.Fatalf("not all was served: %+v", s)
	}
}
