package allocator

import (
	"fmt"
	"testing"

	"fairway/broker/resource"
)

// BenchmarkPlacement is one request, its offer, the acceptance and the task's end, in batches of 21 on an idle cluster;
// integration/benchallocator measures a full one.
func BenchmarkPlacement(b *testing.B) {
	for _, agents := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("agents=%d", agents), func(b *testing.B) { placements(b, agents, 0) })
	}
}

// BenchmarkPlacementBesideGangs is the same while ten gangs wait, of the same shape, each of one task more than there is room for.
func BenchmarkPlacementBesideGangs(b *testing.B) {
	for _, agents := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("agents=%d", agents), func(b *testing.B) { placements(b, agents, 10) })
	}
}

func placements(b *testing.B, agents, gangs int) {
	m := New(Config{})
	events := []Event{{Kind: RoleSet, Role: 1, Weight: 1000, Limit: resource.None()}, {Kind: FrameworkAdd, Role: 1}}
	for i := range agents {
		events = append(events, Event{Kind: AgentAdd, Agent: AgentID(i), Host: HostID(i + 1), Rack: RackID(i/40 + 1), Resources: vec(32000, 128<<30)})
	}
	m.Step(0, events)
	for g := range gangs {
		f := FrameworkID(g + 1)
		total := uint32(32*agents + 1)
		m.Step(0, []Event{{Kind: FrameworkAdd, Framework: f, Role: 1}, {Kind: RequestSet, Framework: f, Request: &Request{
			Group: 1, Version: 1, Shape: vec(1000, 2<<30), Total: total, Minimum: total,
		}}})
	}
	const n = 21
	requests := [n]Request{}
	events = events[:0]
	version, newest, now := uint64(0), OfferID(0), int64(0)
	b.ReportAllocs()
	placed := 0
	for b.Loop() {
		version++
		now += n * 1000 // a million a second
		for i := range requests {
			requests[i] = Request{Group: GroupID(i + 1), Version: version, LastOffer: newest, Shape: vec(1000, 2<<30), Total: 1}
			events = append(events, Event{Kind: RequestSet, Request: &requests[i]})
		}
		m.Step(now, events)
		events = events[:0]
		for _, a := range m.Ready().Actions {
			events = append(events, Event{Kind: Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count},
				Event{Kind: TaskEnd, Agent: a.Agent, Resources: a.Resources})
			newest = a.Offer
			placed++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(placed), "ns/placement")
}
