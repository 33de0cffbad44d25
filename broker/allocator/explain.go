package allocator

import "fairway/broker/resource"

// Explanation says why a group waits.
type Explanation struct {
	Shape       resource.Vector
	Outstanding uint32
	Agents      int                // that were looked at
	CanServe    int                // of them that could serve it now
	Now         [NumReasons]int    // agents that cannot serve it now, by the reason that comes first
	Refused     [NumReasons]uint64 // how often, by reason; what is counted when is said at each Reason
	Unblock     Reason             // the reason whose end would help most; ReasonNone if it does not wait
	Waited      int64              // ns since it began to wait
	Role        RoleID
	LimitedBy   RoleID // the role whose limit is in the way, if Now[RoleLimit] > 0
	Reserved    bool   // an agent is kept for it; of a gang some are
	// Of a gang that waits whole: tasks that it begins with at once, less those that it was offered; for how many of them there
	// is room now, and would be in the cluster if it were empty, within the limits and but for agents that are drained. Minimum is 0
	// for others.
	Minimum uint32
	Fits    uint32
	Most    uint32
}

// Explain says, by reason, how many agents cannot serve a group now and what would unblock it. It reads all agents.
func (m *Machine) Explain(framework FrameworkID, group GroupID) (e Explanation, ok bool) {
	at := m.find(framework, group)
	if at < 0 {
		return Explanation{}, false
	}
	g := &m.groups[at]
	fw := &m.fws[g.fw]
	e = Explanation{Shape: g.shape, Outstanding: uint32(max(g.left, 0)), Role: fw.role, Reserved: g.kept >= 0}
	for i, n := range g.refused {
		e.Refused[i] = uint64(n)
	}
	if g.since >= 0 {
		e.Waited = m.now - g.since
		for i := range g.base {
			e.Refused[int(NotEnoughCPU)+i] += uint64(m.shortage[g.class][i] - g.base[i])
		}
		e.Refused[FairShare] += uint64(m.passedBy[g.class] - g.passed)
	}
	e.Refused[HigherPriority] = uint64(m.outranked(at))
	head := m.head(at)
	allowed, by := m.allowed(g)
	e.Minimum = uint32(g.missing)
	var fits, most int64
	if g.gang {
		if ok, node := m.allowsGang(g); allowed && !ok {
			allowed, by = false, node
		}
	}
	if !allowed {
		e.LimitedBy = RoleID(m.nodes[by].id)
	}
	larger := true
	for id := range m.agents {
		a := &m.agents[id]
		if !a.live {
			continue
		}
		e.Agents++
		larger = larger && !g.shape.Fits(a.total)
		why := m.whyNot(at, head, AgentID(id))
		if g.gang {
			if why == ReasonNone {
				fits += a.free.Times(g.shape)
				why = WaitsWhole
			}
			if a.away&draining == 0 && !g.excludes(AgentID(id)) && !(g.strict && m.locality(g, a) > Rack) {
				most += a.total.Times(g.shape)
			}
		}
		if (why == ReasonNone || why == WaitsWhole) && !allowed {
			why = RoleLimit
		}
		if why == ReasonNone {
			e.CanServe++
		} else {
			e.Now[why]++
		}
	}
	if g.gang {
		now, ever := m.underLimits(g)
		e.Fits = uint32(min(fits, now, int64(g.missing)))
		e.Most = uint32(min(most, ever, int64(g.missing)))
	}
	e.Unblock = m.unblock(g, &e, larger, allowed)
	return e, true
}

// head is the waiting group that comes first in the framework of a group, if it is of higher priority; or none.
func (m *Machine) head(at int32) int32 {
	best := at
	m.fws[m.groups[at].fw].groups.each(func(k int32) {
		g, b := &m.groups[k], &m.groups[best]
		if g.left > 0 && !g.gang && (g.prio > b.prio || best != at && g.prio == b.prio && g.seq < b.seq) {
			best = k
		}
	})
	if best == at {
		return none
	}
	return best
}

// whyNot is the first reason why an agent does not serve one more task of a group now; head is the group of the same
// framework that what becomes free there goes to first, or none.
func (m *Machine) whyNot(at, head int32, id AgentID) Reason {
	g := &m.groups[at]
	a := &m.agents[id]
	switch {
	case m.halted:
		return OffersPaused
	case m.fws[g.fw].suppressed:
		return FrameworkSuppressed
	case m.fws[g.fw].asked:
		return GivingBack
	case a.away&cutOff != 0:
		return AgentPaused
	case a.away != 0:
		return AgentDraining
	}
	if g.excludes(id) {
		return Excluded
	}
	loc := m.locality(g, a)
	if g.strict && loc > Rack {
		return StrictPlace
	}
	if why := lacking(&g.shape, &a.free); why != ReasonNone {
		if head >= 0 && g.shape.Fits(a.total) && m.waitsFor(head, id) {
			return HigherPriority
		}
		return why
	}
	switch {
	case m.filtered(at, id):
		return Filtered
	case loc > g.reach() && g.level == atNode:
		return WaitingForNode
	case loc > g.reach():
		return WaitingForRack
	case a.kept >= 0 && a.kept != at:
		return FairShare
	}
	return ReasonNone
}

// waitsFor says whether a group would take what becomes free on an agent.
func (m *Machine) waitsFor(at int32, id AgentID) bool {
	g := &m.groups[at]
	return m.could(g, id) && !(g.strict && m.locality(g, &m.agents[id]) > Rack)
}

// unblock picks what would help most.
func (m *Machine) unblock(g *group, e *Explanation, larger, allowed bool) Reason {
	switch {
	case g.left <= 0:
		return ReasonNone
	case e.Agents == 0:
		return NoAgents
	case m.halted:
		return OffersPaused
	case m.fws[g.fw].suppressed:
		return FrameworkSuppressed
	case m.fws[g.fw].asked:
		return GivingBack
	case larger:
		return LargerThanAny
	case !allowed:
		return RoleLimit
	case e.Most < e.Minimum:
		return TooManyAtOnce
	case e.Minimum > 0 && g.timer < 0:
		return WaitsWhole
	}
	best := ReasonNone
	for why := ReasonNone + 1; why < NumReasons; why++ {
		if n := e.Now[why]; n > 0 && (best == ReasonNone || n > e.Now[best]) {
			best = why
		}
	}
	return best
}
