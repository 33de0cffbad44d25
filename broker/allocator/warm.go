package allocator

import "fairway/broker/resource"

// warm reads what a batch of events will need, stage by stage, so that the cache misses of different events overlap
// instead of coming one after the other: with tens of thousands of agents it is memory that decides the speed. Each
// stage only reads what the one before has brought near, and branches on nothing that is not. It changes nothing.
func (m *Machine) warm(events []Event) {
	if len(events) < 4 {
		return
	}
	events = events[:min(len(events), 256)] // more would push the first out again
	var sum int64
	m.found = m.found[:0]
	for i := range events {
		e := &events[i]
		at := none
		switch e.Kind {
		case TaskEnd:
			if int(e.Agent) < len(m.agents) && int(e.Framework) < len(m.fws) && m.holdings.n > 0 {
				a := &m.agents[e.Agent]
				sum += a.free[0] + int64(a.offers) + int64(m.fits[e.Agent].now) + int64(m.fws[e.Framework].node)
				sum += int64(m.holdings.slots[m.holdings.home(holdKey(e.Agent, uint32(e.Framework)))].key)
			}
		case Accept:
			if o := m.offerIDs.get(uint64(e.Offer)); o >= 0 {
				p := &m.offers[o]
				at = p.group.at
				sum += m.agents[p.agent].free[0]
				if m.holdings.n > 0 {
					sum += int64(m.holdings.slots[m.holdings.home(holdKey(p.agent, uint32(p.fw)))].key)
				}
			}
		case RequestSet:
			if e.Request == nil || int(e.Framework) >= len(m.fws) {
				break
			}
			fw := &m.fws[e.Framework]
			sum += int64(len(fw.queues)) + fw.waiting + fw.offered[0] + int64(fw.node)
			for k := range min(len(e.Request.Hosts), 4) {
				if h := e.Request.Hosts[k].Host; int(h) < len(m.hostAgent) {
					sum += int64(m.hostAgent[h])
				}
			}
		}
		m.found = append(m.found, at)
	}
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case TaskEnd:
			if int(e.Agent) < len(m.agents) && int(e.Framework) < len(m.fws) {
				if h := m.agents[e.Agent].host; int(h) < len(m.hostWants) {
					sum += int64(len(m.hostWants[h]))
				}
				if node := m.fws[e.Framework].node; node >= 0 {
					sum += m.nodes[node].alloc[0] + int64(m.nodes[node].parent)
				}
			}
		case RequestSet:
			if e.Request == nil || int(e.Framework) >= len(m.fws) {
				break
			}
			fw := &m.fws[e.Framework]
			m.found[i] = fw.groups.get(uint64(e.Request.Group))
			if fw.node >= 0 {
				sum += m.nodes[fw.node].alloc[0] + int64(m.nodes[fw.node].parent)
			}
			if len(fw.queues) > 0 {
				sum += int64(fw.queues[0].class)
			}
			for k := range min(len(e.Request.Hosts), 4) {
				if h := e.Request.Hosts[k].Host; int(h) < len(m.hostAgent) {
					if id := m.hostAgent[h]; id >= 0 {
						sum += int64(m.fits[id].shown) + int64(len(m.hostWants[h]))
					}
				}
			}
		}
		if at := m.found[i]; at >= 0 {
			g := &m.groups[at]
			sum += g.left + g.shape[resource.Memory] + int64(g.version) + g.nodeWait + int64(g.base[0]) + int64(len(g.hosts)+len(g.history))
		}
	}
	for i, at := range m.found {
		if at < 0 {
			continue
		}
		g := &m.groups[at]
		if events[i].Kind == RequestSet {
			sum += m.warmPlace(g.class, events[i].Request.Hosts)
		}
		if cap(g.hosts) > 0 {
			sum += int64(g.hosts[:1][0].host)
		}
		if cap(g.history) > 0 {
			sum += int64(g.history[:1][0].offer)
		}
	}
	m.warmth = sum
}

// warmPlace reads the agent where a request is likely to go.
func (m *Machine) warmPlace(class uint8, hosts []HostCount) int64 {
	for k := range min(len(hosts), 4) {
		if h := hosts[k].Host; int(h) < len(m.hostAgent) {
			if id := m.hostAgent[h]; id >= 0 && m.fits[id].shown>>(class&63)&1 != 0 {
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
