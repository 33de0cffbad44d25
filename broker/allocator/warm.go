package allocator

import "fairway/broker/resource"

const maxAhead = 256 // events: more would push the first out again

// ahead is where the events of a batch will go.
type ahead struct {
	holds  [maxAhead]uint32 // slots of the holdings
	agents [maxAhead]AgentID
	fws    [maxAhead]uint32
	groups [maxAhead]int32
	asks   [maxAhead]uint16 // events with a request
	read   int64            // the sum of what was read, so that it is not optimised away
}

// warm reads what a batch of events will need, stage by stage, so that the cache misses of different events overlap
// instead of coming one after the other: with tens of thousands of agents it is memory that decides the speed. Each
// stage only reads what the one before has brought near, in short loops, so that the processor sees many reads at once.
// It changes nothing.
func (m *Machine) warm(events []Event) {
	if len(events) < 4 || len(m.agents) == 0 || m.holdings.n == 0 {
		return
	}
	events = events[:min(len(events), maxAhead)]
	w := &m.ahead
	var touched, fws, asks, groups int // used of holds and agents, fws, asks, groups
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case TaskEnd:
			if int(e.Agent) >= len(m.agents) || int(e.Framework) >= len(m.fws) {
				continue
			}
			w.agents[touched] = e.Agent
			w.holds[touched] = uint32(m.holdings.home(holdKey(e.Agent, uint32(e.Framework))))
			w.fws[fws] = uint32(e.Framework)
			touched++
			fws++
		case Accept:
			o := m.offerIDs.get(uint64(e.Offer))
			if o < 0 {
				continue
			}
			p := &m.offers[o]
			w.agents[touched] = p.agent
			w.holds[touched] = uint32(m.holdings.home(holdKey(p.agent, uint32(p.fw))))
			touched++
			w.fws[fws] = uint32(p.fw)
			fws++
			if p.group.at >= 0 {
				w.groups[groups] = p.group.at
				groups++
			}
		case RequestSet:
			if e.Request == nil || int(e.Framework) >= len(m.fws) {
				continue
			}
			w.asks[asks] = uint16(i)
			asks++
			w.fws[fws] = uint32(e.Framework)
			fws++
		}
	}
	var sum int64
	mask := uint32(len(m.holdings.slots) - 1)
	for _, at := range w.holds[:touched] {
		// Its home, and where the row of taken slots is likely to end.
		sum += int64(m.holdings.slots[at].key) + int64(m.holdings.slots[((at|1)+1)&mask].key)
	}
	for _, id := range w.agents[:touched] {
		a := &m.agents[id]
		sum += a.free[0] + int64(a.offers) + int64(m.fits[id].now)
	}
	for _, f := range w.fws[:fws] {
		fw := &m.fws[f]
		sum += int64(len(fw.queues)) + fw.waiting + fw.offered[0] + int64(fw.node)
	}
	for _, i := range w.asks[:asks] {
		for _, h := range atMost4(events[i].Request.Hosts) {
			if int(h.Host) < len(m.hostAgent) {
				sum += int64(m.hostAgent[h.Host])
			}
		}
	}
	for _, i := range w.asks[:asks] {
		e := &events[i]
		fw := &m.fws[e.Framework]
		if at := fw.groups.get(uint64(e.Request.Group)); at >= 0 {
			w.groups[groups] = at
			groups++
		}
		if fw.sole < 0 && len(fw.queues) > 0 {
			sum += int64(fw.queues[0].class)
		}
	}
	for _, at := range w.groups[:groups] {
		g := &m.groups[at]
		sum += g.left + int64(g.version) + g.nodeWait + int64(g.base[0])
		sum += g.shape[resource.Memory] + int64(len(g.hosts)+len(g.history))
	}
	for _, id := range w.agents[:touched] {
		if h := m.agents[id].host; int(h) < len(m.hostWants) {
			sum += int64(len(m.hostWants[h]))
		}
	}
	for _, f := range w.fws[:fws] {
		if node := m.fws[f].node; node >= 0 {
			sum += m.nodes[node].alloc[0] + int64(m.nodes[node].parent)
		}
	}
	for _, i := range w.asks[:asks] {
		for _, h := range atMost4(events[i].Request.Hosts) {
			if int(h.Host) < len(m.hostAgent) {
				if id := m.hostAgent[h.Host]; id >= 0 {
					sum += int64(m.fits[id].shown) + int64(len(m.hostWants[h.Host]))
				}
			}
		}
	}
	for _, at := range w.groups[:groups] {
		g := &m.groups[at]
		if cap(g.hosts) > 0 {
			sum += int64(g.hosts[:1][0].host)
		}
		if cap(g.history) > 0 {
			sum += int64(g.history[:1][0].offer)
		}
	}
	// The groups of requests are the last ones.
	for k := range min(asks, groups) {
		sum += m.warmPlace(m.groups[w.groups[groups-1-k]].class, events[w.asks[asks-1-k]].Request.Hosts)
	}
	w.read = sum
}

func atMost4(hosts []HostCount) []HostCount { return hosts[:min(len(hosts), 4)] }

// warmPlace reads the agent where a request is likely to go.
func (m *Machine) warmPlace(class uint8, hosts []HostCount) int64 {
	for _, h := range atMost4(hosts) {
		if int(h.Host) < len(m.hostAgent) {
			if id := m.hostAgent[h.Host]; id >= 0 && m.fits[id].shown>>(class&63)&1 != 0 {
				return int64(m.agents[id].host) + m.agents[id].free[0]
			}
		}
	}
	if slot := m.fitting[class&63].nextAround(m.cursor[class&63]); slot >= 0 {
		a := &m.agents[m.slotAgent[slot]]
		return int64(a.host) + a.free[0]
	}
	return 0
}
