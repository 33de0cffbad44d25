package allocator

import (
	"math"
	"slices"
)

// A large shape can starve: every slot that frees is taken by a small one. When the request that is due first finds no
// room for long, an agent is kept for it: nothing is offered there to others until enough has come free. One that no agent could
// ever serve is passed by.

const (
	keepProbes = 64 // agents looked at for a reservation: the cost must not grow with their number
	keepTurns  = 6  // times StarveAfter until a reservation that came to nothing moves on
	keepPast   = 8  // groups passed by in a pass for which no agent may be kept: they want more than any has, or none of those that are free to be kept
)

// release gives up reservations whose group cannot use them now or has waited for its agent too long. So a kept agent that has
// room serves its group in this pass, unless a limit is reached in it (serveKept).
func (m *Machine) release() {
	for i := len(m.reserved) - 1; i >= 0; i-- {
		id := AgentID(m.reserved[i])
		at := m.agents[id].kept
		g := &m.groups[at]
		allowed, _ := m.allowed(g)
		late := m.now-g.blocked >= keepTurns*m.config.StarveAfter
		if g.gang {
			allowed, _ = m.allowsGang(g)
		}
		if !g.queued && !g.asleep || !allowed || m.fws[g.fw].silent() || late || !m.mayKeep(at, id) {
			m.unreserve(at)
			if g.blocked = 0; g.gang {
				g.blocked = m.now
			}
			i = min(i, len(m.reserved)) // it may have had several
		}
	}
}

// mayKeep says whether an agent could serve a group once enough has come free there.
func (m *Machine) mayKeep(at int32, id AgentID) bool {
	g, a := &m.groups[at], &m.agents[id]
	return a.live && m.could(g, id) && !m.filtered(at, id) && !(g.strict && m.locality(g, a) > Rack)
}

// reserve looks whether the request that is due first starves, and keeps an agent for it.
func (m *Machine) reserve() {
	m.starving = math.MaxInt64
	if m.config.StarveAfter < 0 {
		return
	}
	for range m.config.MaxReserved + 1 + keepPast {
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
			if len(m.reserved) >= m.config.MaxReserved {
				break
			}
			if !m.keep(at) { // it does not keep those due after it waiting
				m.park(at)
				continue
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
		if a.kept >= 0 || !m.mayKeep(at, id) {
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

// unreserve gives up the agents that are kept for a group; but for a gang it is one.
func (m *Machine) unreserve(at int32) {
	g := &m.groups[at]
	if g.kept < 0 {
		return
	}
	if g.kept = none; m.gangs.keeper == at {
		m.gangs.keeper = none
	}
	for i := len(m.reserved) - 1; i >= 0; i-- {
		if id := m.reserved[i]; m.agents[id].kept == at {
			m.agents[id].kept = none
			m.reserved = slices.Delete(m.reserved, i, i+1)
			m.publish(AgentID(id))
			m.touch(AgentID(id))
		}
	}
}

// unkeep gives up an agent's reservation.
func (m *Machine) unkeep(id AgentID) {
	if at := m.agents[id].kept; at >= 0 {
		m.unreserve(at)
	}
}

// serveKept gives a reserved agent's room to the group that it is kept for; false while it stays kept.
func (m *Machine) serveKept(id AgentID) bool {
	a := &m.agents[id]
	at := a.kept
	g := &m.groups[at]
	if g.gang {
		return g.queued && !m.fws[g.fw].silent() && m.placeGang(at)
	}
	if !g.shape.Fits(a.free) {
		return false
	}
	m.unreserve(at)
	if ok, _ := m.allowed(g); !ok { // others of its role were served in this pass
		g.blocked = 0
		return true
	}
	m.grant(at, id, m.locality(g, a))
	return true
}
