package allocator

import (
	"math"
	"slices"
)

// A large shape can starve: every slot that frees is taken by a small one. When the request that is due first finds no
// room for long, an agent is kept for it: nothing is offered there to others until enough has come free.

const (
	keepProbes = 64 // agents looked at for a reservation: the cost must not grow with their number
	keepTurns  = 6  // times StarveAfter until a reservation that came to nothing moves on
)

// release gives up reservations whose group cannot use them now or has waited for its agent too long.
func (m *Machine) release() {
	for i := len(m.reserved) - 1; i >= 0; i-- {
		at := m.agents[m.reserved[i]].kept
		g := &m.groups[at]
		allowed, _ := m.allowed(g)
		late := m.now-g.blocked >= keepTurns*m.config.StarveAfter
		if !g.queued || !allowed || m.fws[g.fw].silent() || late {
			m.unreserve(at)
			g.blocked = 0
		}
	}
}

// reserve looks whether the request that is due first starves, and keeps an agent for it.
func (m *Machine) reserve() {
	m.starving = math.MaxInt64
	if m.config.StarveAfter < 0 {
		return
	}
	for range m.config.MaxReserved + 1 {
		fit := m.demand() &^ classicBit
		if fit == 0 {
			break
		}
		node, fit := m.due(fit)
		at := m.fws[m.nodes[node].id].first(fit)
		g := &m.groups[at]
		if g.kept < 0 {
			if g.blocked == 0 {
				g.blocked = max(m.now, 1)
			}
			if deadline := g.blocked + m.config.StarveAfter; deadline > m.now {
				m.starving = min(m.starving, deadline)
				break
			}
			if len(m.reserved) >= m.config.MaxReserved || !m.keep(at) {
				break
			}
		}
		m.starving = min(m.starving, max(g.blocked+keepTurns*m.config.StarveAfter, m.now+1))
		m.park(at)
	}
	m.unpark()
}

func (m *Machine) starveDeadline() int64 { return m.starving }

// keep reserves the agent, of some, that is nearest to having room.
func (m *Machine) keep(at int32) bool {
	g := &m.groups[at]
	best, most := none, int64(-1)
	for range min(keepProbes, len(m.agents)) {
		m.keepCursor = (m.keepCursor + 1) % uint32(len(m.agents))
		id := AgentID(m.keepCursor)
		a := &m.agents[id]
		if !a.live || a.kept >= 0 || !m.could(g, id) || m.filtered(at, id) || g.strict && m.locality(g, a) > Rack {
			continue
		}
		room := int64(math.MaxInt64)
		for i, n := range g.shape {
			if n > 0 {
				room = min(room, max(a.free[i], 0)*1024/n)
			}
		}
		if room > most {
			best, most = int32(id), room
		}
	}
	if best < 0 {
		return false
	}
	m.agents[best].kept, g.kept = at, best
	g.blocked = m.now
	m.reserved = append(m.reserved, best)
	m.publish(AgentID(best))
	return true
}

// unreserve gives up the agent that is kept for a group.
func (m *Machine) unreserve(at int32) {
	g := &m.groups[at]
	if g.kept < 0 {
		return
	}
	id := g.kept
	g.kept = none
	m.agents[id].kept = none
	i := slices.Index(m.reserved, id)
	m.reserved = slices.Delete(m.reserved, i, i+1)
	m.publish(AgentID(id))
	m.touch(AgentID(id))
}

// unkeep gives up an agent's reservation.
func (m *Machine) unkeep(id AgentID) {
	if at := m.agents[id].kept; at >= 0 {
		m.unreserve(at)
	}
}

// serveKept gives a reserved agent's room to the group that it is kept for; false while there is not enough.
func (m *Machine) serveKept(id AgentID) bool {
	a := &m.agents[id]
	at := a.kept
	g := &m.groups[at]
	if !g.shape.Fits(a.free) || !m.usable(at, id) {
		return false
	}
	m.unreserve(at)
	m.grant(at, id, m.locality(g, a))
	return true
}
