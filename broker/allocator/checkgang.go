package allocator

// checkGangs holds what is missing of gangs, and those that sleep, and finds a gang that could begin and does not.
func (m *Machine) checkGangs() error {
	x := &m.gangs
	waiting := 0
	for i, at := range x.asleep {
		if g := &m.groups[at]; !g.live || !g.gang || !g.asleep || g.bed != int32(i) {
			return broken("group %d: asleep at %d, bed %d, %d missing", g.id, i, g.bed, g.missing)
		}
	}
	if at := x.keeper; at >= 0 {
		if g := &m.groups[at]; !g.gang || g.kept < 0 || !g.asleep && g.claims == 0 && !m.halted && !m.fws[g.fw].silent() {
			return broken("agents are kept for group %d, %d missing of it, asleep %v", g.id, g.missing, g.asleep)
		}
	}
	for _, id := range m.reserved {
		if at := m.agents[id].kept; m.groups[at].gang != (at == x.keeper) {
			return broken("agent %d is kept for group %d, %d missing of it, and agents of gangs are kept for %d", id, m.groups[at].id, m.groups[at].missing, x.keeper)
		} else if !m.groups[at].gang && m.groups[at].kept != id {
			return broken("agent %d is kept for group %d, which has another", id, m.groups[at].id)
		}
	}
	for id, n := range x.taken {
		if n != 0 {
			return broken("agent %d: %d tasks are planned for good", id, n)
		}
	}
	for at := range m.groups {
		g := &m.groups[at]
		if g.gang {
			waiting++
		}
		if !g.live {
			continue
		}
		if g.gang && g.queued && g.claims == 0 && !m.halted && !m.fws[g.fw].silent() {
			return broken("group %d: %d missing, and it does not sleep", g.id, g.missing)
		}
		missing := int64(g.minimum)
		for _, h := range g.history {
			missing -= int64(h.count)
		}
		if missing = max(min(missing, g.left), 0); int64(g.missing) != missing || g.gang != (missing > 0) || missing > 0 && (g.settled || len(g.listed) > 0) {
			return broken("group %d: %d missing, is %d; settled %v, kept %d", g.id, g.missing, missing, g.settled, g.kept)
		}
		if n := m.couldBegin(int32(at)); missing > 0 && n >= missing && !m.halted && !(g.asleep && g.pauses(m.now)) {
			return broken("group %d of framework %d waits whole for %d, and there is room for %d: level %d, queued %v, asleep %v, after %d of %d", g.id, g.fw, missing, n, g.level, g.queued,
				g.asleep, g.after, x.gained[g.class])
		}
	}
	if waiting != x.waiting {
		return broken("%d gangs wait, is %d", x.waiting, waiting)
	}
	return nil
}

// couldBegin is for how many tasks of a gang there is room, at least, as far as it may go by now.
func (m *Machine) couldBegin(at int32) (n int64) {
	g := &m.groups[at]
	wanted := map[HostID]int64{}
	for id := range m.agents {
		a := &m.agents[id]
		if !a.live || m.whyNot(at, none, AgentID(id)) != ReasonNone {
			continue
		}
		room := a.free.Times(g.shape)
		switch {
		case !g.wanting() || g.level == atAny && !g.strict:
			n += room
		case m.locality(g, a) == Node && len(g.racks) == 0: // a rack's count may be smaller
			w, known := wanted[a.host]
			if !known {
				w = int64(g.wantOf(a.host).left)
			}
			n += min(room, w)
			wanted[a.host] = w - min(room, w)
		}
	}
	now, _ := m.underLimits(g)
	return min(n, now)
}
