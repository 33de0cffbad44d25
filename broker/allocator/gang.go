package allocator

import (
	"math"
	"math/bits"
	"slices"
)

// A gang is a group with a minimum: none of it is offered unless as many tasks as are missing can be, in one step. It holds
// nothing while it waits, but for the agents that are kept for one that starves (reservegang.go says until when). When its
// turn comes all of it is planned, which changes nothing, and then offered or not. One that was planned in vain sleeps outside
// of the tree until so much room has come free that what lacked may fit by now; what frees is counted by class, so a gang that
// sleeps costs a comparison.

const (
	never = math.MaxInt64 // more room than can come free
	// A plan costs its number of tasks. A large one is not made again within the pause, in ns for each task, however much comes
	// free meanwhile: so a gang that waits takes less than a hundredth of a processor.
	largePlan = 64
	planPause = 10e3
)

// gangs is the state of all this.
type gangs struct {
	waiting int     // groups of which tasks are missing that are to be offered at once
	asleep  []int32 // groups
	gained  [64]int64
	later   int64 // when gangs are to be looked at that would be now but for the pause
	starves int64 // when agents may be kept for one, or have been for too long
	keeper  int32 // the group that agents are kept for, or none
	plan    []planned
	taken   []int32 // by agent: tasks of the plan; zero but while one is made
	agents  []AgentID
	racks   []RackID
	hosts   []int32 // what the group wanted on hosts and in racks before the plan
	wants   []int32
}

// planned is a place for one task.
type planned struct {
	agent AgentID
	loc   Locality
}

// setMissing changes how many tasks of a group are to be offered at once.
func (m *Machine) setMissing(g *group, n int64) {
	n = max(n, 0)
	if (n > 0) != (g.missing > 0) {
		if n > 0 {
			m.gangs.waiting++
		} else {
			m.gangs.waiting--
		}
	}
	g.missing, g.gang = int32(n), n > 0
}

// regather works out what is missing of a group's minimum: what was offered since its framework stated it, and has not come
// back, is not.
func (m *Machine) regather(at int32) {
	g := &m.groups[at]
	n, was := int64(g.minimum), g.gang
	for i := range g.history {
		n -= int64(g.history[i].count)
	}
	m.setMissing(g, min(n, g.left))
	if was != g.gang { // what was kept for it, it needs no more, or it is not enough
		m.unreserve(at)
		g.blocked = 0
	}
}

// sleep takes a gang that could not be placed out of the tree until there may be room for as many tasks more as lacked.
func (m *Machine) sleep(at int32, lacks int64) {
	m.dequeue(at)
	x, g := &m.gangs, &m.groups[at]
	g.planned, g.after = m.now, never
	if lacks < never {
		g.after = x.gained[g.class] + lacks
	}
	if !g.asleep {
		g.asleep, g.bed = true, int32(len(x.asleep))
		x.asleep = append(x.asleep, at)
	}
}

// rouse takes a gang off those that sleep.
func (m *Machine) rouse(at int32) {
	x, g := &m.gangs, &m.groups[at]
	last := len(x.asleep) - 1
	x.asleep[g.bed] = x.asleep[last]
	m.groups[x.asleep[last]].bed = g.bed
	x.asleep = x.asleep[:last]
	g.asleep = false
}

// wakeGangs has gangs looked at again for which enough may have come free with what some agents have more. It shows all of
// that, so that a gang whose turn comes while the first of the agents is filled finds the others' room.
func (m *Machine) wakeGangs(agents []AgentID) {
	x := &m.gangs
	var sleeping uint64
	for _, at := range x.asleep {
		sleeping |= 1 << m.groups[at].class
	}
	for _, id := range agents {
		m.agents[id].dirty = false // what it has more from now on, as when it is kept no longer, counts by itself
		m.publish(id)
		if at := m.agents[id].kept; at >= 0 && at == x.keeper {
			x.gained[m.groups[at].class] += m.agents[id].free.Times(m.groups[at].shape)
		}
		for fit := m.fits[id].shown & sleeping; fit != 0; fit &= fit - 1 {
			b := bits.TrailingZeros64(fit)
			if b == mixedClass {
				x.gained[b] += maxCount // there is no one shape to count
			} else {
				x.gained[b] += m.agents[id].free.Times(m.classes.shapes[b])
			}
		}
	}
	m.wakeAll()
}

// wakeAll puts the gangs into the tree for which enough has come free.
func (m *Machine) wakeAll() {
	x := &m.gangs
	x.later = never
	for i := len(x.asleep) - 1; i >= 0; i-- {
		at := x.asleep[i]
		g := &m.groups[at]
		switch {
		case g.after > x.gained[g.class]:
		case g.pauses(m.now):
			x.later = min(x.later, g.pausesUntil())
		default:
			m.enqueue(at)
			m.refresh(at)
		}
	}
}

// pauses tells whether a gang was planned too short ago to be planned again.
func (g *group) pauses(now int64) bool { return g.missing > largePlan && now < g.pausesUntil() }

func (g *group) pausesUntil() int64 { return g.planned + planPause*int64(g.missing) }

// gangDeadline is when a gang is to be looked at.
func (m *Machine) gangDeadline() int64 {
	at := min(m.gangs.later, m.gangs.starves)
	if m.halted || at == never {
		return never
	}
	return max(at, m.now+1)
}

// placeGang offers all that is missing of a group, or nothing; then the group sleeps.
func (m *Machine) placeGang(at int32) bool {
	x, g := &m.gangs, &m.groups[at]
	if ok, by := m.allowsGang(g); !ok {
		g.refused[RoleLimit]++
		m.hitLimit(at, by)
		m.sleep(at, never)
		return false
	}
	lacks := int64(0)
	if !g.wanting() || g.level == atAny && !g.strict { // it takes any place: they are counted by agents, which are fewer than tasks
		lacks = int64(g.missing) - m.roomFor(at, int64(g.missing))
	}
	if lacks == 0 {
		lacks = int64(m.planGang(at))
	}
	if lacks > 0 {
		if g.timer < 0 {
			g.refused[WaitsWhole]++
		}
		m.sleep(at, lacks)
		return false
	}
	m.stopTimer(at)
	for _, p := range x.plan {
		m.grant(at, p.agent, p.loc)
	}
	for _, p := range x.plan {
		m.publish(p.agent)
	}
	if g.left > 0 { // from now on they come one by one
		g.search = true
		m.listHosts(at)
	}
	return true
}

// allowsGang says whether no limit on the path forbids all that is missing of a group; if one does, by is its node.
func (m *Machine) allowsGang(g *group) (ok bool, by int32) {
	if m.limits == 0 {
		return true, none
	}
	for at := m.nodes[m.fws[g.fw].node].parent; at >= 0; at = m.nodes[at].parent {
		if n := &m.nodes[at]; n.limited && headroom(n).Times(g.shape) < int64(g.missing) {
			return false, at
		}
	}
	return true, none
}

// underLimits is how many tasks of a group the limits on its path leave room for, and would if nothing was held there.
func (m *Machine) underLimits(g *group) (now, ever int64) {
	now, ever = maxCount, maxCount
	for at := m.nodes[m.fws[g.fw].node].parent; at >= 0; at = m.nodes[at].parent {
		n := &m.nodes[at]
		if !n.limited {
			continue
		}
		now = min(now, headroom(n).Times(g.shape))
		for slot, limit := range n.limit {
			if limit >= 0 && g.shape[slot] > 0 {
				ever = min(ever, limit/g.shape[slot])
			}
		}
	}
	return now, ever
}

// planGang finds places for all that is missing of a group, the nearest that it may go to by now, and says for how many
// tasks it found none. It costs no more than that number, beside agents that the group may not have.
func (m *Machine) planGang(at int32) (lacks int32) {
	x, g := &m.gangs, &m.groups[at]
	for len(x.taken) < len(m.agents) {
		x.taken = append(x.taken, 0)
	}
	x.plan, x.hosts, x.wants = x.plan[:0], x.hosts[:0], x.wants[:0]
	for i := range g.hosts {
		x.hosts = append(x.hosts, g.hosts[i].left)
	}
	for i := range g.racks {
		x.wants = append(x.wants, g.racks[i].left)
	}
	lacks = m.planNear(at, g.missing)
	for _, p := range x.plan {
		x.taken[p.agent] = 0
	}
	for i := range g.hosts {
		g.hosts[i].left = x.hosts[i]
	}
	for i := range g.racks {
		g.racks[i].left = x.wants[i]
	}
	return lacks
}

// planNear is place for many tasks: nearest first, and a group whose wanted places lack room waits for them for a while.
func (m *Machine) planNear(at, need int32) (lacks int32) {
	g := &m.groups[at]
	if !g.wanting() {
		return m.planAny(at, need, Unspecified)
	}
	if need = m.planHosts(at, need); need == 0 {
		return 0
	}
	if g.level == atNode && !g.strict {
		if m.waitsForHost(at) {
			g.refused[WaitingForNode]++
			m.startTimer(at, g.nodeWait)
			return need
		}
		m.stopTimer(at)
		g.level, g.deadline = atRack, 0
	}
	if need = m.planRacks(at, need); need == 0 || g.strict {
		return need
	}
	if g.level == atRack {
		if m.waitsForRack(at) {
			g.refused[WaitingForRack]++
			m.startTimer(at, g.rackWait)
			return need
		}
		m.stopTimer(at)
		g.level, g.deadline = atAny, 0
	}
	return m.planAny(at, need, Any)
}

func (m *Machine) planHosts(at, need int32) int32 {
	x, g := &m.gangs, &m.groups[at]
	x.agents = x.agents[:0]
	for i := range g.hosts {
		if g.hosts[i].left <= 0 {
			continue
		}
		for id := m.hostAgent[g.hosts[i].host]; id >= 0; id = m.agents[id].next {
			m.candidate(at, AgentID(id))
		}
	}
	return m.deal(at, need, Node)
}

func (m *Machine) planRacks(at, need int32) int32 {
	x, g := &m.gangs, &m.groups[at]
	x.agents, x.racks = x.agents[:0], x.racks[:0]
	in := func(r RackID) {
		if r == 0 || int(r) >= len(m.racks) || m.fitting[g.class].n == 0 || g.wantsRack(r) <= 0 || slices.Contains(x.racks, r) {
			return
		}
		x.racks = append(x.racks, r)
		most := len(x.agents) + int(min(g.wantsRack(r), need))
		for _, word := range m.racks[r].words {
			for w := m.fitting[g.class].levels[0][word]; w != 0 && len(x.agents) < most; w &= w - 1 {
				m.candidate(at, m.slotAgent[word<<6|uint32(bits.TrailingZeros64(w))])
			}
		}
	}
	m.keptCandidates(at)
	for i := range g.racks {
		in(g.racks[i].rack)
	}
	for i := range g.hosts {
		if !g.strict && g.hosts[i].left > 0 {
			in(g.hosts[i].rack)
		}
	}
	return m.deal(at, need, Rack)
}

// planAny takes agents in turn, as placeAny does.
func (m *Machine) planAny(at, need int32, loc Locality) int32 {
	x, g := &m.gangs, &m.groups[at]
	x.agents = x.agents[:0]
	m.keptCandidates(at)
	fitting := &m.fitting[g.class]
	from := m.cursor[g.class]
	for tries := fitting.n; tries > 0 && len(x.agents) < int(need); tries-- {
		slot := fitting.nextAround(from)
		m.candidate(at, m.slotAgent[slot])
		from = uint32(slot) + 1
	}
	lacks := m.deal(at, need, loc)
	if lacks == 0 {
		m.cursor[g.class] = from
	}
	return lacks
}

// candidate takes an agent on for what is planned if there is room on it for a task more.
func (m *Machine) candidate(at int32, id AgentID) {
	g, a := &m.groups[at], &m.agents[id]
	if fits := &m.fits[id]; fits.shown>>g.class&1 == 0 && (a.kept != at || fits.now>>g.class&1 == 0) || a.free.Times(g.shape) <= int64(m.gangs.taken[id]) || !m.usable(at, id) {
		return
	}
	m.gangs.agents = append(m.gangs.agents, id)
}

// keptCandidates takes on the agents that are kept for a group: they are not shown.
func (m *Machine) keptCandidates(at int32) {
	if m.gangs.keeper != at {
		return
	}
	for _, id := range m.reserved {
		if m.agents[id].kept == at {
			m.candidate(at, AgentID(id))
		}
	}
}

// deal plans a task on each of the agents in turn until none is missing or no agent can take one more, and says how many
// are missing still.
func (m *Machine) deal(at, need int32, loc Locality) int32 {
	x := &m.gangs
	for need > 0 && len(x.agents) > 0 {
		more := x.agents[:0]
		for _, id := range x.agents {
			if need == 0 {
				break
			}
			if m.planOn(at, id, loc) {
				more = append(more, id)
				need--
			}
		}
		x.agents = more
	}
	return need
}

// planOn plans one task on an agent, if it has room left and the group wants one more of that locality there.
func (m *Machine) planOn(at int32, id AgentID, loc Locality) bool {
	x, g, a := &m.gangs, &m.groups[at], &m.agents[id]
	var host HostID
	switch loc {
	case Node:
		if host = a.host; g.wantOf(host).left <= 0 {
			return false
		}
	case Rack:
		if g.wantsRack(a.rack) <= 0 { // or it is kept for the group, and elsewhere
			return false
		}
	}
	if a.free.Times(g.shape) <= int64(x.taken[id]) {
		return false
	}
	x.taken[id]++
	x.plan = append(x.plan, planned{id, loc})
	m.countPlace(at, host, a.rack, -1)
	return true
}

// roomFor is for how many tasks of a group there is room now, of most, wherever it is.
func (m *Machine) roomFor(at int32, most int64) (n int64) {
	g := &m.groups[at]
	fitting := &m.fitting[g.class]
	for slot := fitting.nextAround(0); slot >= 0 && n < most; slot = fitting.next(uint32(slot) + 1) {
		if id := m.slotAgent[slot]; !g.excludes(id) && !m.filtered(at, id) {
			n += m.agents[id].free.Times(g.shape)
		}
	}
	return min(n+m.keptRoom(at), most)
}
