package allocator

import "slices"

// Lists of hosts and racks: who would like to run there. A freed agent looks at the lists of its host and rack.

func (m *Machine) hostList(h HostID) *[]entry {
	for int(h) >= len(m.hostWants) {
		m.hostWants = append(m.hostWants, nil)
		m.hostAgent = append(m.hostAgent, none)
	}
	return &m.hostWants[h]
}

func (m *Machine) listHosts(at int32) {
	g := &m.groups[at]
	if g.gang {
		return
	}
	for i := range g.hosts {
		w := &g.hosts[i]
		if w.listed || w.left <= 0 {
			continue
		}
		list := m.hostList(w.host)
		*list = append(*list, entry{at, int32(i), m.fws[g.fw].node, g.class})
		w.listed = true
	}
}

func (m *Machine) unlistHosts(at int32) {
	g := &m.groups[at]
	for i := range g.hosts {
		m.unlistHost(at, &g.hosts[i])
	}
}

func (m *Machine) unlistHost(at int32, w *want) {
	if !w.listed {
		return
	}
	w.listed = false
	m.hostWants[w.host] = removeEntry(m.hostWants[w.host], at)
}

// listRacks puts a group into the lists of the racks that it wants.
func (m *Machine) listRacks(at int32) {
	g := &m.groups[at]
	if len(g.listed) > 0 {
		return
	}
	for _, r := range g.racks {
		m.listRack(at, r.rack)
	}
	if g.strict {
		return
	}
	for i := range g.hosts {
		if g.hosts[i].left > 0 {
			m.listRack(at, g.hosts[i].rack)
		}
	}
}

func (m *Machine) listRack(at int32, r RackID) {
	g := &m.groups[at]
	if r == 0 || g.wantsRack(r) <= 0 || slices.Contains(g.listed, r) {
		return
	}
	m.growRacks(r)
	g.listed = append(g.listed, r)
	m.racks[r].wants = append(m.racks[r].wants, entry{at, none, m.fws[g.fw].node, g.class})
}

func (m *Machine) unlistRacks(at int32) {
	g := &m.groups[at]
	for _, r := range g.listed {
		m.racks[r].wants = removeEntry(m.racks[r].wants, at)
	}
	g.listed = g.listed[:0]
}

// removeEntry keeps no order: choices never depend on the order of a list.
func removeEntry(list []entry, g int32) []entry {
	for i := range list {
		if list[i].g == g {
			last := len(list) - 1
			list[i] = list[last]
			return list[:last]
		}
	}
	return list
}

// wanting says whether a group has preferences at all.
func (g *group) wanting() bool { return len(g.hosts) > 0 || len(g.racks) > 0 }

func (g *group) wantOf(h HostID) *want {
	if h == 0 {
		return nil
	}
	for i := range g.hosts {
		if g.hosts[i].host == h {
			return &g.hosts[i]
		}
	}
	return nil
}

// wantsRack is how many tasks would still run in a rack: as stated, else (unless strict) as many as would run on hosts
// in it.
func (g *group) wantsRack(r RackID) int32 {
	if r == 0 {
		return 0
	}
	for _, w := range g.racks {
		if w.rack == r {
			return w.left
		}
	}
	var n int32
	if !g.strict {
		for i := range g.hosts {
			if g.hosts[i].rack == r {
				n += max(g.hosts[i].left, 0)
			}
		}
	}
	return n
}

// countPlace changes the wanted counts by n after tasks went to (n < 0) or came back from (n > 0) a place.
func (m *Machine) countPlace(at int32, host HostID, rack RackID, n int32) {
	g := &m.groups[at]
	if w := g.wantOf(host); w != nil {
		w.left += n
		if w.left <= 0 {
			m.unlistHost(at, w)
		}
	}
	for i := range g.racks {
		if g.racks[i].rack == rack {
			g.racks[i].left += n
		}
	}
}

// locality of an agent for a group, whatever its level allows.
func (m *Machine) locality(g *group, a *agent) Locality {
	if !g.wanting() {
		return Unspecified
	}
	if w := g.wantOf(a.host); w != nil && w.left > 0 {
		return Node
	}
	if g.wantsRack(a.rack) > 0 {
		return Rack
	}
	return Any
}

// reach is how far a group may go by now.
func (g *group) reach() Locality {
	switch {
	case !g.wanting():
		return Unspecified
	case g.strict:
		return Rack
	}
	return Locality(g.level) + Node
}
