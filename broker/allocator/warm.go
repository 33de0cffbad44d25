package allocator

import "fairway/broker/resource"

// warm reads what a batch of events will need, stage by stage, so that the cache misses of different events overlap
// instead of coming one after the other: with tens of thousands of agents it is memory that decides the speed. Each
// stage only reads what the one before has brought near. It changes nothing.
func (m *Machine) warm(events []Event) {
	if len(events) < 4 {
		return
	}
	events = events[:min(len(events), 256)] // more would push the first out again
	var sum int64
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case TaskEnd:
			if int(e.Agent) < len(m.agents) && int(e.Framework) < len(m.fws) {
				a := &m.agents[e.Agent]
				sum += a.free[0] + int64(len(a.holders)) + int64(m.fits[e.Agent].now+m.fits[e.Agent].shown) + int64(m.fws[e.Framework].node)
			}
		case Accept:
			if o := m.offerIDs.get(uint64(e.Offer)); o >= 0 {
				p := &m.offers[o]
				a := &m.agents[p.agent]
				sum += a.free[0] + int64(len(a.holders)) + p.res[resource.CPU]
			}
		case RequestSet:
			if e.Request == nil || int(e.Framework) >= len(m.fws) {
				continue
			}
			fw := &m.fws[e.Framework]
			sum += int64(len(fw.queues)) + fw.waiting + fw.offered[0] + int64(fw.node)
			for k := range min(len(e.Request.Hosts), 4) {
				if h := e.Request.Hosts[k].Host; int(h) < len(m.hostAgent) {
					sum += int64(m.hostAgent[h])
				}
			}
		}
	}
	m.found = m.found[:0]
	for i := range events {
		e := &events[i]
		at := none
		switch e.Kind {
		case TaskEnd:
			if int(e.Agent) >= len(m.agents) || int(e.Framework) >= len(m.fws) {
				break
			}
			a := &m.agents[e.Agent]
			for k := 0; k < len(a.holders); k += 16 {
				sum += int64(a.holders[k])
			}
			if int(a.host) < len(m.hostWants) {
				sum += int64(len(m.hostWants[a.host]))
			}
			if node := m.fws[e.Framework].node; node >= 0 {
				n := &m.nodes[node]
				sum += n.alloc[0] + n.alloc[resource.Slots-1] + int64(n.parent)
			}
		case Accept:
			if o := m.offerIDs.get(uint64(e.Offer)); o >= 0 {
				a := &m.agents[m.offers[o].agent]
				for k := 0; k < len(a.holders); k += 16 {
					sum += int64(a.holders[k])
				}
				at = m.offers[o].group.at
			}
		case RequestSet:
			if e.Request == nil || int(e.Framework) >= len(m.fws) {
				break
			}
			fw := &m.fws[e.Framework]
			at = fw.groups.get(uint64(e.Request.Group))
			if fw.node >= 0 {
				n := &m.nodes[fw.node]
				sum += n.alloc[0] + n.alloc[resource.Slots-1] + int64(n.parent)
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
		m.found = append(m.found, at)
		if at >= 0 {
			g := &m.groups[at]
			sum += g.left + g.shape[4] + int64(g.version) + g.nodeWait + int64(g.base[0]) + int64(len(g.hosts)+len(g.history))
		}
	}
	for i := range events {
		e := &events[i]
		switch {
		case e.Kind == TaskEnd && int(e.Agent) < len(m.agents):
			a := &m.agents[e.Agent]
			for k, fw := range a.holders {
				if fw == uint32(e.Framework) {
					sum += a.held[k][0]
				}
			}
			if int(a.host) < len(m.hostWants) {
				if list := m.hostWants[a.host]; len(list) > 0 {
					sum += int64(list[0].g)
				}
			}
		case m.found[i] >= 0:
			g := &m.groups[m.found[i]]
			if cap(g.hosts) > 0 {
				sum += int64(g.hosts[:1][0].host)
			}
			if cap(g.history) > 0 {
				sum += int64(g.history[:1][0].offer)
			}
		}
	}
	m.warmth = sum
}
