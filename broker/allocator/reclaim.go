package allocator

import (
	"math"

	"fairway/broker/resource"
)

// A role below its fair share may wait for long where another holds more than its own and its tasks do not end. Then a
// framework of the other is asked to give resources back. Groups that wait stand in a line; each is looked at twice within
// ReclaimAfter, and again as long as it waits. So a look costs nothing that grows with agents or with groups, and a role
// that is below its share for a moment only takes nothing from anybody.

const (
	maxReclaims   = 64   // under way at a time
	reclaimLooks  = 16   // groups looked at in one pass
	reclaimPause  = 10e6 // ns until the next pass that looks, if there are more
	reclaimProbes = 256  // agents looked at for room that a framework could make
	maxVictims    = 4    // frameworks tried for one group in one pass
	vainRest      = 4    // times ReclaimAfter that a framework is left alone which gave nothing back
)

// reclaiming is the state of all this.
type reclaiming struct {
	oldest, newest int32 // the line of groups that wait
	last           uint64
	live           []reclaimed
	over           bool // maybe one of them is, or is smaller than before
	said           []Reclaim
	agents         []AgentID // of the reclaims made in this pass
	path           []int32
	fixed          []bool
	tried          []int32 // frameworks that could not make room for the group that is looked at
	cursor         uint32
}

// waiting is a group's place in the line.
type waiting struct {
	listed     bool
	below      uint8 // how often in turn its role was found below its share
	prev, next int32
	at         int64 // when it was put there
}

// reclaimed is a reclaim under way.
type reclaimed struct {
	id       uint64
	fw       int32
	group    groupRef
	owner    int32 // framework of the group
	name     GroupID
	first    uint32
	asked    uint32 // what is left of first because the group wants less by now
	served   uint32 // tasks of the group that were offered room since
	said     uint32 // count that was said last
	deadline int64
	held     resource.Vector // by fw when it was asked
	shape    resource.Vector
	most     resource.Vector
}

func (r *reclaimed) count() uint32 { return r.asked - r.served }

// reclaimable takes a framework's word that it gives resources back, or does not.
func (m *Machine) reclaimable(id FrameworkID, yields bool) error {
	fw, err := m.frameworkOf(id)
	if err != nil {
		return err
	}
	if fw.yields = yields; !yields {
		m.stopReclaim(int32(id))
	}
	m.showGiving(fw, yields && !fw.asked)
	return nil
}

// showGiving tells the roles above whether a framework could be asked.
func (m *Machine) showGiving(fw *framework, giving bool) {
	if fw.giving == giving {
		return
	}
	fw.giving = giving
	d := int32(1)
	if !giving {
		d = -1
	}
	for at := m.nodes[fw.node].parent; at >= 0; at = m.nodes[at].parent {
		m.nodes[at].giving += d
	}
}

// startWaiting puts a group at the end of the line, unless it is there.
func (m *Machine) startWaiting(at int32) {
	g := &m.groups[at]
	if g.wait.listed || m.config.ReclaimAfter < 0 {
		return
	}
	x := &m.reclaiming
	g.wait.listed, g.wait.at, g.wait.prev, g.wait.next = true, m.now, x.newest, none
	if x.newest >= 0 {
		m.groups[x.newest].wait.next = at
	} else {
		x.oldest = at
	}
	x.newest = at
}

// leaveLine takes a group out of the line; what was found of it stays.
func (m *Machine) leaveLine(at int32) {
	w := &m.groups[at].wait
	if !w.listed {
		return
	}
	x := &m.reclaiming
	if w.prev >= 0 {
		m.groups[w.prev].wait.next = w.next
	} else {
		x.oldest = w.next
	}
	if w.next >= 0 {
		m.groups[w.next].wait.prev = w.prev
	} else {
		x.newest = w.prev
	}
	w.listed = false
}

// stopWaiting forgets that a group waited.
func (m *Machine) stopWaiting(at int32) {
	m.leaveLine(at)
	g := &m.groups[at]
	g.wait.below = 0
	if g.claims > 0 {
		m.reclaiming.over = true
	}
}

// claimServed counts a task of a group that resources are reclaimed for: as the gift of one who has given, if any has.
func (m *Machine) claimServed(at int32) {
	best := -1
	for i := range m.reclaiming.live {
		r := &m.reclaiming.live[i]
		if r.group.at != at || r.served >= r.asked {
			continue
		}
		gave := r.held
		sub(&gave, &m.nodes[m.fws[r.fw].node].alloc)
		given := gave.Floor()
		if best < 0 || given.Times(r.shape) > int64(r.served) || r.served == 0 && !isZero(&given) {
			best = i
			if !isZero(&given) {
				break
			}
		}
	}
	if best >= 0 {
		m.reclaiming.live[best].served++
	}
}

// reclaimDeadline is when the line, or a reclaim, is to be looked at next.
func (m *Machine) reclaimDeadline() int64 {
	x := &m.reclaiming
	at := int64(math.MaxInt64)
	if m.halted {
		return at
	}
	for i := range x.live {
		at = min(at, x.live[i].deadline)
	}
	if x.oldest >= 0 && m.nodes[0].giving > 0 {
		at = min(at, max(m.groups[x.oldest].wait.at+m.config.ReclaimAfter/2, m.now+reclaimPause))
	}
	return max(at, m.now+1)
}

// settleReclaims ends what is over and says what is left of the rest. It tells whether somebody may be offered something
// again.
func (m *Machine) settleReclaims() (again bool) {
	x := &m.reclaiming
	for i := 0; i < len(x.live); i++ {
		r := &x.live[i]
		late := r.deadline <= m.now
		if !x.over && !late {
			continue
		}
		if g := m.groupOf(r.group); g == nil || g.left <= 0 || m.fws[g.fw].suppressed {
			r.asked = r.served
		} else {
			r.asked = min(r.asked, r.served+uint32(min(g.left, maxCount)))
		}
		if !late && r.count() > 0 {
			if r.said != r.count() {
				r.said = r.count()
				m.sayReclaim(r, r.said)
			}
			continue
		}
		m.sayReclaim(r, 0)
		fw := &m.fws[r.fw]
		gave := m.nodes[fw.node].alloc
		sub(&gave, &r.held)
		switch {
		case gave.Negative():
			fw.rest = r.deadline
		case late:
			fw.rest = m.now + vainRest*m.config.ReclaimAfter
		}
		m.endReclaim(i)
		again = true
		i--
	}
	x.over = false
	return again
}

func (m *Machine) sayReclaim(r *reclaimed, count uint32) {
	m.reclaiming.said = append(m.reclaiming.said, Reclaim{
		ID: r.id, Framework: FrameworkID(r.fw), For: FrameworkID(r.owner), Group: r.name, Asked: r.first, Count: count, Shape: r.shape,
		Most: resource.None(), Deadline: r.deadline,
	})
}

// endReclaim forgets a reclaim; its framework is offered things again.
func (m *Machine) endReclaim(i int) {
	x := &m.reclaiming
	r := x.live[i]
	last := len(x.live) - 1
	copy(x.live[i:], x.live[i+1:])
	x.live = x.live[:last]
	if g := m.groupOf(r.group); g != nil {
		g.claims--
	}
	fw := &m.fws[r.fw]
	fw.asked = false
	m.showDemand(fw)
	m.showGiving(fw, fw.yields && fw.live)
	fw.groups.each(func(at int32) { m.consider(at) })
	if fw.classic {
		m.touchFree()
	}
}

// stopReclaim forgets a framework's reclaim without a word: it would not hear it.
func (m *Machine) stopReclaim(id int32) {
	for i := range m.reclaiming.live {
		if m.reclaiming.live[i].fw == id {
			m.endReclaim(i)
			return
		}
	}
}

// reclaim looks at the groups that have waited longest.
func (m *Machine) reclaim() {
	x := &m.reclaiming
	x.agents = x.agents[:0]
	if m.nodes[0].giving == 0 {
		return
	}
	for range reclaimLooks {
		at := x.oldest
		if at < 0 || m.groups[at].wait.at+m.config.ReclaimAfter/2 > m.now {
			return
		}
		m.leaveLine(at)
		m.startWaiting(at)
		m.lookAt(at)
	}
}

// lookAt reclaims resources for a group if its role has been below its share for long enough.
func (m *Machine) lookAt(at int32) {
	g := &m.groups[at]
	allowed, _ := m.allowed(g)
	open := !g.strict && len(g.excluded) == 0
	room := open && g.class != mixedClass && m.anyFit>>g.class&1 != 0
	if g.gang {
		allowed, _ = m.allowsGang(g)
		room = g.timer >= 0 // what room there is is not enough, or not where it wants to be
	}
	if !allowed || room || m.fws[g.fw].silent() || !m.trace(g.fw) {
		g.wait.below = 0 // it waits for something else
		return
	}
	m.reclaiming.tried = m.reclaiming.tried[:0]
	for range maxVictims {
		c, below := m.claim(at)
		if !below {
			g.wait.below = 0
			return
		}
		if g.wait.below == 0 {
			g.wait.below = 1
			return
		}
		if c.count <= 0 || len(m.reclaiming.live) >= maxReclaims {
			return
		}
		m.ask(at, &c)
	}
}

// ask makes a reclaim of what was found, if the framework could make room on an agent.
func (m *Machine) ask(at int32, c *claim) {
	x := &m.reclaiming
	g := &m.groups[at]
	from := len(x.agents)
	n := m.roomOn(at, c.fw, c.count)
	if n <= 0 {
		x.agents = x.agents[:from]
		x.tried = append(x.tried, c.fw)
		return
	}
	if !g.strict && len(g.excluded) == 0 {
		x.agents = x.agents[:from]
	}
	x.last++
	r := reclaimed{
		id: x.last, fw: c.fw, group: groupRef{at, g.gen}, owner: g.fw, name: g.id, first: uint32(n), asked: uint32(n), said: uint32(n),
		deadline: m.now + m.config.ReclaimDeadline, held: m.nodes[m.fws[c.fw].node].alloc, shape: g.shape, most: c.most,
	}
	x.live = append(x.live, r)
	m.sayReclaim(&r, r.said)
	said := &x.said[len(x.said)-1]
	said.Most, said.Agents = c.most, x.agents[from:len(x.agents):len(x.agents)]
	g.claims++
	if !g.strict && g.level != atAny && m.anyFit>>g.class&1 == 0 {
		// What is given back is not left to others because it is not where the group would like to be.
		g.level, g.deadline = atAny, 0
		m.consider(at)
	}
	fw := &m.fws[c.fw]
	fw.asked = true
	m.showGiving(fw, false)
	m.showDemand(fw)
}

// roomOn is for how many tasks of a group, of some, a framework could make room, on agents that are added to those of this
// pass. Not all agents are looked at.
func (m *Machine) roomOn(at, fw int32, most int64) (n int64) {
	g := &m.groups[at]
	x := &m.reclaiming
	probes := reclaimProbes
	try := func(id AgentID) bool {
		probes--
		a := &m.agents[id]
		// One that is kept for a group of the framework that is asked is so no longer.
		open := a.kept < 0 || a.kept == at || m.groups[a.kept].fw == fw
		if a.live && open && m.could(g, id) && !(g.strict && m.locality(g, a) > Rack) {
			if h := m.holdings.find(holdKey(id, uint32(fw))); h >= 0 {
				if k := a.free.Add(m.holdings.at(h)).Times(g.shape) - max(a.free.Times(g.shape), 0); k > 0 {
					x.agents = append(x.agents, id)
					n += k
				}
			}
		}
		return n < most && probes > 0
	}
	switch {
	case g.strict:
		for i := range g.hosts {
			for id := m.hostAgent[g.hosts[i].host]; id >= 0; id = m.agents[id].next {
				if g.hosts[i].left > 0 && !try(AgentID(id)) {
					return min(n, most)
				}
			}
		}
		for i := range g.racks {
			if g.racks[i].left <= 0 || int(g.racks[i].rack) >= len(m.racks) || g.racks[i].rack == 0 {
				continue
			}
			for _, w := range m.racks[g.racks[i].rack].words {
				for bit := uint32(0); bit < 64; bit++ {
					if m.slotUsed[w]>>bit&1 != 0 && !try(m.slotAgent[w<<6|bit]) {
						return min(n, most)
					}
				}
			}
		}
	default:
		for range len(m.agents) {
			x.cursor = (x.cursor + 1) % uint32(len(m.agents))
			if !try(AgentID(x.cursor)) {
				break
			}
		}
	}
	return min(n, most)
}
