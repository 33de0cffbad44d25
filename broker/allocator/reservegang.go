package allocator

// A gang can starve as a large shape can: what frees here and there is taken by others before it is enough. When the gang
// that is due first has waited for long, some agents are kept for it, if they hold enough once they are empty.
//
// What holds after each pass (checkGangs): agents are kept for one gang at most, gangs.keeper, so no two wait for each other's.
// It sleeps, unless the end of the pass has begun to reclaim for it or from its framework. Its agents are let go together, and
// shown to all again, when
//   - it begins (grant), wants nothing more, or is no gang any more (unindex, regather): a plain group that becomes a gang gives up
//     the one agent that it may have had, too;
//   - one of them is cut off, drained or gone (unkeep), or could not serve the gang even when it is empty: it is too small now, or
//     the gang has excluded or declined it (release);
//   - a limit has no room for the gang, or its framework wants no offers (release);
//   - they have not come free in keepTurns times StarveAfter (release): then it is another's turn, and this one's once more when it
//     has starved as long again.

// turnPause is how long (ns) a gang that starves is not looked at again when it was not its turn.
const turnPause = 1e9

// reserveGang looks whether a gang starves, and keeps agents for it.
func (m *Machine) reserveGang() {
	x := &m.gangs
	if x.starves = never; m.config.StarveAfter < 0 {
		return
	}
	if x.keeper >= 0 {
		x.starves = m.groups[x.keeper].blocked + keepTurns*m.config.StarveAfter
		return
	}
	best := none
	for _, at := range x.asleep {
		g := &m.groups[at]
		switch from := max(g.since, g.blocked); {
		case g.after == never || m.fws[g.fw].silent():
		case from+m.config.StarveAfter > m.now:
			x.starves = min(x.starves, from+m.config.StarveAfter)
		case best < 0 || m.first(at, Unspecified, best, Unspecified):
			best = at
		}
	}
	if best < 0 {
		return
	}
	x.starves = min(x.starves, m.now+turnPause)
	if waiting := m.demand() &^ classicBit; waiting != 0 {
		if node, _ := m.due(waiting); m.before(node, m.fws[m.groups[best].fw].node) {
			return
		}
	}
	m.groups[best].blocked = m.now
	if m.keepMany(best) {
		x.starves = m.now + keepTurns*m.config.StarveAfter
	}
}

// keepMany reserves agents, of some, that would hold what a gang lacks if nothing else ran there: those first that would
// hold the most of it.
func (m *Machine) keepMany(at int32) bool {
	x, g := &m.gangs, &m.groups[at]
	lacks := int64(g.missing) - m.roomFor(at, int64(g.missing))
	x.agents = x.agents[:0]
	for range min(keepProbes, len(m.agents)) {
		m.keepCursor = (m.keepCursor + 1) % uint32(len(m.agents))
		id := AgentID(m.keepCursor)
		if m.agents[id].kept < 0 && m.mayKeep(at, id) {
			x.agents = append(x.agents, id)
		}
	}
	from := len(m.reserved)
	for lacks > 0 && len(m.reserved) < m.config.MaxReserved {
		best, most := none, int64(0)
		for _, id := range x.agents {
			a := &m.agents[id]
			if n := a.total.Times(g.shape) - a.free.Times(g.shape); a.kept < 0 && n > most {
				best, most = int32(id), n
			}
		}
		if best < 0 {
			break
		}
		m.agents[best].kept = at
		m.reserved = append(m.reserved, best)
		lacks -= most
	}
	kept := m.reserved[from:]
	if lacks > 0 || len(kept) == 0 {
		for _, id := range kept {
			m.agents[id].kept = none
		}
		m.reserved = m.reserved[:from]
		return false
	}
	g.kept, x.keeper = kept[0], at
	for _, id := range kept {
		m.publish(AgentID(id))
	}
	return true
}

// serveGang looks at the gang that agents are kept for, if it is awake: what is kept is not shown, so the tree may not lead
// to it.
func (m *Machine) serveGang() {
	at := m.gangs.keeper
	if at < 0 {
		return
	}
	if g := &m.groups[at]; g.queued && !m.fws[g.fw].silent() {
		m.placeGang(at)
	}
}

// keptRoom is for how many tasks of a group there is room on the agents that are kept for it.
func (m *Machine) keptRoom(at int32) (n int64) {
	if m.gangs.keeper != at {
		return 0
	}
	for _, id := range m.reserved {
		if m.agents[id].kept == at {
			n += m.agents[id].free.Times(m.groups[at].shape)
		}
	}
	return n
}
