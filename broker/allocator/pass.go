package allocator

import "math/bits"

// allocate hands out what is free until nobody who waits can be served: first every agent that has more room than
// before is filled, then the groups that are new to the pass look for room on the others.
func (m *Machine) allocate() {
	m.wakeRegained()
	m.release()
	if m.gangs.later <= m.now {
		m.wakeAll()
	}
	for again := true; again; {
		seen := 0
		for i := 0; i < len(m.dirty); i++ {
			if i == seen && m.gangs.waiting > 0 {
				m.wakeGangs(m.dirty[i:])
				seen = len(m.dirty)
			}
			id := m.dirty[i]
			m.agents[id].dirty = false
			if m.agents[id].live {
				m.fill(id)
			}
		}
		m.dirty = m.dirty[:0]
		m.drain()
		m.serveGang()
		m.unpark()
		reclaimed := m.settleReclaims()
		again = m.wakeRegained() || reclaimed || len(m.dirty) > 0 // an offer that was widened or reclaimed may be less now
	}
	for _, at := range m.fresh {
		g := &m.groups[at]
		g.fresh = false
		if g.live && g.queued && g.gang && !m.fws[g.fw].silent() {
			m.placeGang(at) // its turn has not come: there is no room at all for it
		}
		if g.live && g.left > 0 {
			m.listHosts(at)
			m.startWaiting(at)
		}
	}
	m.fresh = m.fresh[:0]
	m.reserveGang() // first: what is due after it would have the agents that it needs
	m.reserve()
	m.reclaim()
}

// wakeRegained has groups looked at again that limits refused which have given way, and tells whether there are any.
func (m *Machine) wakeRegained() (any bool) {
	for i := 0; i < len(m.regained); i++ {
		any = m.wakeLimited(m.regained[i]) || any
	}
	m.regained = m.regained[:0]
	return any
}

// wakeLimited has groups looked at again that a limit refused outside of the tree.
func (m *Machine) wakeLimited(at int32) (any bool) {
	n := &m.nodes[at]
	hits := n.limitHits
	n.limitHits, n.gangs = nil, false
	for _, r := range hits {
		g := m.groupOf(r)
		if g == nil || g.limited != at+1 {
			continue
		}
		g.limited = 0
		if g.gang {
			if ok, by := m.allowsGang(g); !ok {
				m.hitLimit(r.at, by)
				continue
			}
		}
		m.consider(r.at)
		any = true
	}
	return any
}

// hitLimit has a group looked at again when a node's limit gives way.
func (m *Machine) hitLimit(at, by int32) {
	g, n := &m.groups[at], &m.nodes[by]
	n.gangs = n.gangs || g.gang
	if g.limited != by+1 {
		g.limited = by + 1
		n.limitHits = append(n.limitHits, groupRef{at, g.gen})
	}
}

// fill offers an agent's room, task by task, to who is due first among those that can use it.
func (m *Machine) fill(id AgentID) {
	a := &m.agents[id]
	if a.kept >= 0 && !m.serveKept(id) {
		m.countPassed(id, m.demand()&^classicBit&m.fits[id].now)
		m.publish(id)
		return
	}
	before := m.fits[id].now
	for m.fits[id].now != 0 {
		if !m.fillOne(id) {
			break
		}
	}
	m.unpark()
	m.countShortages(id, before)
	m.publish(id)
}

// fillOne makes one decision about an agent; false when nobody who waits can use it.
func (m *Machine) fillOne(id AgentID) bool {
	a := &m.agents[id]
	fit := m.fits[id].now
	best, bestNode, loc := none, none, Unspecified
	for _, e := range m.hostWants[a.host] {
		if fit>>e.class&1 == 0 || best >= 0 && !m.sooner(e, Node, best, bestNode, loc) {
			continue
		}
		if m.usable(e.g, id) && m.limitAllows(e.g) {
			best, bestNode, loc = e.g, e.node, Node
		}
	}
	for _, e := range m.racks[a.rack].wants {
		if fit>>e.class&1 == 0 || best >= 0 && !m.sooner(e, Rack, best, bestNode, loc) {
			continue
		}
		if m.usable(e.g, id) && m.limitAllows(e.g) && m.groups[e.g].wantsRack(a.rack) > 0 {
			best, bestNode, loc = e.g, e.node, Rack
		}
	}
	if m.demand()&fit == 0 {
		if best >= 0 {
			m.grant(best, id, loc)
		}
		return best >= 0
	}
	node, fit := m.due(fit)
	f := m.nodes[node].id
	fw := &m.fws[f]
	at := fw.first(fit)
	if at < 0 { // a classic framework
		if best >= 0 && m.before(bestNode, node) {
			m.grant(best, id, loc)
			return true
		}
		if m.filteredClassic(int32(f), id) || !m.grantClassic(int32(f), id) {
			m.parkClassic(int32(f))
		}
		return true
	}
	g := &m.groups[at]
	here := m.locality(g, a)
	if best >= 0 && (best == at || !m.first(at, here, best, loc)) {
		m.grant(best, id, loc)
		return true
	}
	if g.gang {
		m.publish(id)
		m.placeGang(at)
		return true
	}
	if !m.usable(at, id) {
		m.park(at)
		return true
	}
	if !g.wanting() || here == Node || !m.searches(g) && here <= g.reach() {
		m.grant(at, id, here)
		return true
	}
	// It is due first but this is not where it wants to be: serve it elsewhere or let it wait.
	m.publish(id)
	if !m.place(at) && m.groups[at].queued {
		m.park(at)
	}
	return true
}

// sooner is first for an entry of a list: the group itself is looked at only if the framework does not decide.
func (m *Machine) sooner(e entry, loc Locality, than, node int32, thanLoc Locality) bool {
	if e.node != node {
		return m.before(e.node, node)
	}
	return m.first(e.g, loc, than, thanLoc)
}

// first says whether group a, served at locality la, comes before group b at lb.
func (m *Machine) first(a int32, la Locality, b int32, lb Locality) bool {
	ga, gb := &m.groups[a], &m.groups[b]
	if ga.fw != gb.fw {
		return m.before(m.fws[ga.fw].node, m.fws[gb.fw].node)
	}
	if ga.prio != gb.prio {
		return ga.prio > gb.prio
	}
	if la != lb {
		return la < lb
	}
	return ga.seq < gb.seq
}

// usable says whether nothing about a group itself forbids an agent on which its class fits.
func (m *Machine) usable(at int32, id AgentID) bool {
	g := &m.groups[at]
	if g.class == mixedClass && !g.shape.Fits(m.agents[id].free) {
		return false
	}
	if g.class == mixedClass {
		if ok, _ := m.allowed(g); !ok {
			return false
		}
	}
	if g.excludes(id) {
		g.refused[Excluded]++
		return false
	}
	if m.filtered(at, id) {
		g.refused[Filtered]++
		return false
	}
	return true
}

// limitAllows says whether a group that was found outside of the tree may be served: its framework wants offers and no
// limit is in the way. If one is, the group is woken when the limit gives way.
func (m *Machine) limitAllows(at int32) bool {
	g := &m.groups[at]
	if m.fws[g.fw].silent() {
		return false
	}
	ok, by := m.allowed(g)
	if !ok {
		g.refused[RoleLimit]++
		m.hitLimit(at, by)
	}
	return ok
}

// drain serves groups in fair order wherever they fit.
func (m *Machine) drain() {
	for {
		fit := m.demand() & m.anyFit
		if fit == 0 {
			return
		}
		node, fit := m.due(fit)
		at := m.fws[m.nodes[node].id].first(fit)
		if m.groups[at].gang {
			m.placeGang(at)
			continue
		}
		if !m.place(at) && m.groups[at].queued {
			m.park(at)
		}
	}
}

// place serves one task of a group at the nearest place that it may go to. If there is none within its reach it begins
// to wait in the lists of its places.
func (m *Machine) place(at int32) bool {
	g := &m.groups[at]
	if !g.wanting() {
		return m.placeAny(at, Unspecified)
	}
	g.search = m.searches(g)
	if g.search && m.placeNode(at) {
		return true
	}
	if g.level == atNode && !g.strict {
		if m.waitsForHost(at) {
			m.settle(at)
			g.refused[WaitingForNode]++
			m.startTimer(at, g.nodeWait)
			return false
		}
		g.level, g.deadline, g.search = atRack, 0, true
	}
	if g.search && m.placeRack(at) {
		return true
	}
	g.search = false
	if g.strict {
		m.settle(at)
		g.refused[StrictPlace]++
		return false
	}
	if g.level == atRack {
		if m.waitsForRack(at) {
			m.settle(at)
			g.refused[WaitingForRack]++
			m.startTimer(at, g.rackWait)
			return false
		}
		g.level, g.deadline = atAny, 0
	}
	return m.placeAny(at, Any)
}

// waitsForHost says whether a group goes on waiting for the hosts that it wants, before it may go to their racks.
func (m *Machine) waitsForHost(at int32) bool {
	g := &m.groups[at]
	return g.nodeWait >= 0 && m.someHost(at) && !m.over(g, g.nodeWait)
}

// waitsForRack says whether it goes on waiting for the racks, before it may go anywhere.
func (m *Machine) waitsForRack(at int32) bool {
	g := &m.groups[at]
	return g.rackWait >= 0 && m.someRack(at) && !m.over(g, g.rackWait)
}

// searches says whether a group in the tree has to look at its wanted places. One that has just left their lists need not, if
// its turn comes in that pass; if it was hidden then, by a limit or because its framework is silent, what came free there meanwhile
// did not find it.
func (m *Machine) searches(g *group) bool {
	return g.search || g.sure != m.pass && (g.level != atAny || g.strict)
}

// over says whether a wait that had begun before is at its end.
func (m *Machine) over(g *group, wait int64) bool {
	return wait == 0 || g.deadline != 0 && g.deadline <= m.now
}

func (m *Machine) placeNode(at int32) bool {
	g := &m.groups[at]
	n := int32(len(g.hosts))
	for k := range n {
		i := g.cursor + k
		if i >= n {
			i -= n
		}
		w := &g.hosts[i]
		if w.left <= 0 {
			continue
		}
		for id := m.hostAgent[w.host]; id >= 0; id = m.agents[id].next {
			if m.fits[id].shown>>g.class&1 != 0 && m.usable(at, AgentID(id)) {
				g.cursor = i + 1
				m.grant(at, AgentID(id), Node)
				m.publish(AgentID(id))
				return true
			}
		}
	}
	return false
}

func (m *Machine) placeRack(at int32) bool {
	g := &m.groups[at]
	for i := range g.racks {
		if g.racks[i].left > 0 && m.placeInRack(at, g.racks[i].rack) {
			return true
		}
	}
	if g.strict {
		return false
	}
	last := RackID(0) // hosts of one rack are often stated together
	for i := range g.hosts {
		w := &g.hosts[i]
		if w.left <= 0 || w.rack == last {
			continue
		}
		if last = w.rack; g.wantsRack(last) > 0 && m.placeInRack(at, last) {
			return true
		}
	}
	return false
}

func (m *Machine) placeInRack(at int32, r RackID) bool {
	g := &m.groups[at]
	if int(r) >= len(m.racks) || r == 0 || m.fitting[g.class].n == 0 {
		return false
	}
	for _, word := range m.racks[r].words {
		for w := m.fitting[g.class].levels[0][word]; w != 0; w &= w - 1 {
			id := m.slotAgent[word<<6|uint32(bits.TrailingZeros64(w))]
			if m.usable(at, id) {
				m.grant(at, id, Rack)
				m.publish(id)
				return true
			}
		}
	}
	return false
}

// placeAny takes the agents where the class fits in turn, so that tasks spread.
func (m *Machine) placeAny(at int32, loc Locality) bool {
	g := &m.groups[at]
	fitting := &m.fitting[g.class]
	from := m.cursor[g.class]
	for tries := fitting.n; tries > 0; tries-- {
		slot := fitting.nextAround(from)
		id := m.slotAgent[slot]
		from = uint32(slot) + 1
		if !m.usable(at, id) {
			continue
		}
		m.cursor[g.class] = from
		m.grant(at, id, loc)
		m.publish(id)
		return true
	}
	return false
}

// someHost says whether any agent on a wanted host could ever serve the group; if not, waiting is in vain.
func (m *Machine) someHost(at int32) bool {
	g := &m.groups[at]
	for i := range g.hosts {
		if g.hosts[i].left <= 0 {
			continue
		}
		for id := m.hostAgent[g.hosts[i].host]; id >= 0; id = m.agents[id].next {
			if m.could(g, AgentID(id)) {
				return true
			}
		}
	}
	return false
}

// someRack is someHost for racks.
func (m *Machine) someRack(at int32) bool {
	g := &m.groups[at]
	in := func(r RackID) bool {
		if r == 0 || int(r) >= len(m.racks) || g.wantsRack(r) <= 0 {
			return false
		}
		for _, word := range m.racks[r].words {
			for w := m.slotUsed[word]; w != 0; w &= w - 1 {
				if m.could(g, m.slotAgent[word<<6|uint32(bits.TrailingZeros64(w))]) {
					return true
				}
			}
		}
		return false
	}
	for i := range g.racks {
		if in(g.racks[i].rack) {
			return true
		}
	}
	for i := range g.hosts {
		if (i == 0 || g.hosts[i-1].rack != g.hosts[i].rack) && in(g.hosts[i].rack) {
			return true
		}
	}
	return false
}

// could says whether an agent could serve a group if it were empty.
func (m *Machine) could(g *group, id AgentID) bool {
	a := &m.agents[id]
	return a.away == 0 && g.shape.Fits(a.total) && !g.excludes(id)
}

// park takes a group out of the tree until the end of what is going on, because it was looked at and cannot be served.
func (m *Machine) park(at int32) {
	m.dequeue(at)
	m.parked = append(m.parked, at)
}

func (m *Machine) parkClassic(f int32) {
	m.setEff(m.fws[f].node, m.fws[f].mask)
	m.parked = append(m.parked, -1-f)
}

func (m *Machine) unpark() {
	for _, at := range m.parked {
		if at < 0 {
			m.showDemand(&m.fws[-1-at])
		} else if g := &m.groups[at]; g.live && g.left > 0 && !g.settled && !g.asleep {
			m.enqueue(at)
		}
	}
	m.parked = m.parked[:0]
}

// countShortages counts, by class, that an agent had too little or that others were due first.
func (m *Machine) countShortages(id AgentID, before uint64) {
	waiting := m.demand() &^ classicBit
	m.countPassed(id, waiting&before&^m.fits[id].now)
	short := waiting &^ before
	for i := 0; short != 0 && i < len(m.classes.dims); i++ {
		t := &m.classes.dims[i]
		lacks := short &^ t.below(m.agents[id].free[t.slot])
		short &^= lacks
		for why := shortage(t.slot) - NotEnoughCPU; lacks != 0; lacks &= lacks - 1 {
			m.shortage[bits.TrailingZeros64(lacks)][why]++
		}
	}
}

// countPassed counts that an agent's room for some classes went to others. It does not count against a group that has
// itself been served there in this pass.
func (m *Machine) countPassed(id AgentID, lost uint64) {
	if lost == 0 {
		return
	}
	for rest := lost; rest != 0; rest &= rest - 1 {
		m.passedBy[bits.TrailingZeros64(rest)]++
	}
	m.counts++
	for o := m.agents[id].offers; o >= 0 && m.offers[o].pass == m.pass; o = m.offers[o].next {
		g := m.groupOf(m.offers[o].group)
		if g != nil && g.left > 0 && lost>>g.class&1 != 0 && g.counted != m.counts {
			g.counted = m.counts
			g.passed++
		}
	}
}
