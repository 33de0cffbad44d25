package allocator

import (
	"slices"

	"fairway/broker/resource"
)

// level is how far from its wanted places a group may go by now.
type level uint8

const (
	atNode level = iota
	atRack
	atAny
)

// groupRef names a group so that a reference that outlives it is noticed.
type groupRef struct {
	at  int32
	gen uint32
}

// want is a wanted host; left is how many of the group's tasks would still like to run there.
type want struct {
	host   HostID
	rack   RackID
	left   int32
	listed bool // in the host's list
}

type rackWant struct {
	rack RackID
	left int32
}

// given is an offer made for a group since the framework last stated its totals: what a crossing update must count.
type given struct {
	offer OfferID
	count int32
	host  HostID // 0 unless node-local
	rack  RackID
}

// group is a request group. It is looked for in three places: in its framework's queue (and so in the tree) while any
// agent will do or it has yet to be looked at, in the lists of its wanted hosts, and in the lists of its wanted racks.
type group struct {
	live    bool
	queued  bool // in its framework's queue
	settled bool // waits in the lists of hosts and racks only
	fresh   bool // in Machine.fresh
	search  bool // its wanted places are worth a look: something changed; see searches
	strict  bool
	gang    bool  // tasks are missing that are to be offered at once
	asleep  bool  // in Machine.gangs.asleep
	claims  uint8 // reclaims under way for it
	class   uint8
	level   level
	gen     uint32
	fw      int32
	prio    int32
	qpos    int32 // in the queue's heap
	timer   int32 // position in the heap of timers, or none
	kept    int32 // agent reserved for it, or none
	filters int32 // first filter, or none
	open    int32 // live offers
	cursor  int32 // the host after the one that was tried last
	left    int64 // outstanding; negative when more was offered than is now wanted
	seq     uint64

	hosts    []want
	history  []given
	shape    resource.Vector
	id       GroupID
	version  uint64
	excluded []AgentID // in order
	racks    []rackWant
	listed   []RackID // racks in whose lists it is

	nodeWait, rackWait int64
	deadline           int64  // of the wait at this level; 0: it has not begun
	sure               uint64 // the pass that began when it was in the lists of its wanted places
	since              int64  // when it began to wait
	blocked            int64  // since when it is due first and finds no room; 0: it is not

	wait    waiting           // for resources to be reclaimed
	passed  uint32            // passedBy of its class when it came, and what of it since was not against this group
	counted uint32            // Machine.counts when it was last served where others were passed by
	base    [shortages]uint32 // of its class's shortages when it came
	refused [NumReasons]uint32

	limited int32 // 1 + the node in whose limitHits it is; 0: none
	minimum int32 // of a gang, as its framework stated it
	missing int32 // of these
	bed     int32 // where it is among the gangs that sleep
	after   int64 // gained of its class when it wakes
	planned int64 // when it was planned last, in vain
}

// queue holds a framework's waiting groups of one priority and class, oldest first.
type queue struct {
	prio      int32
	class     uint8
	heap      []queued
	outranked uint32 // times that an agent had room for its class and a group of higher priority was served there
}

type queued struct {
	seq  uint64
	g    int32
	mark uint32 // the queue's outranked when the group came
}

// framework is a leaf of the tree.
type framework struct {
	live       bool
	gone       bool // removed, but its tasks still hold something
	classic    bool
	suppressed bool
	asked      bool  // to give resources back: it is offered nothing meanwhile
	yields     bool  // resources may be reclaimed from it
	giving     bool  // counted as such in the roles above
	ranked     bool  // its groups differ in priority
	prio       int32 // of its groups, unless ranked
	node       int32
	role       RoleID
	groups     table  // GroupID -> index in Machine.groups
	sole       int32  // the group that waits in the tree, if it is the only one: it is in no queue then; or none
	mask       uint64 // classes of the groups that wait in the tree
	queues     []queue
	offered    resource.Vector
	waiting    int64 // outstanding of all groups
	filters    int32
	offers     int32 // live offers
	rest       int64 // it is not asked to give anything back before
}

// silent tells whether a framework is offered nothing for now.
func (fw *framework) silent() bool { return fw.suppressed || fw.asked }

// entry is a group in the list of a host or rack.
type entry struct {
	g     int32
	want  int32 // index in the group's hosts; none in a rack's list
	node  int32 // of the group's framework
	class uint8
}

// excludes tells whether a group may not have an agent. It may name thousands, where agents are in partitions.
func (g *group) excludes(id AgentID) bool {
	_, found := slices.BinarySearch(g.excluded, id)
	return found
}

func (m *Machine) newGroup() int32 {
	if k := len(m.freeGroups); k > 0 {
		at := m.freeGroups[k-1]
		m.freeGroups = m.freeGroups[:k-1]
		return at
	}
	m.groups = append(m.groups, group{})
	return int32(len(m.groups) - 1)
}

func (m *Machine) forget(at int32) {
	g := &m.groups[at]
	m.unindex(at)
	m.clearFilters(&g.filters)
	m.setMissing(g, 0)
	m.setLeft(g, 0)
	m.fws[g.fw].groups.del(uint64(g.id))
	m.classes.release(g.class)
	*g = group{
		gen: g.gen + 1, hosts: g.hosts[:0], racks: g.racks[:0], excluded: g.excluded[:0], history: g.history[:0],
		listed: g.listed[:0], fresh: g.fresh,
	}
	m.freeGroups = append(m.freeGroups, at)
}

// setLeft changes what is outstanding and keeps the framework's sum.
func (m *Machine) setLeft(g *group, left int64) {
	fw := &m.fws[g.fw]
	before := fw.waiting
	fw.waiting += max(left, 0) - max(g.left, 0)
	g.left = left
	if g.claims > 0 {
		m.reclaiming.over = true // or less is
	}
	if (before > 0) != (fw.waiting > 0) {
		m.showWanting(fw)
	}
}

// showWanting tells the roles above that a framework has begun to have something outstanding, or that it has no more.
func (m *Machine) showWanting(fw *framework) {
	d := int32(-1)
	if fw.waiting > 0 {
		d = 1
	}
	for at := m.nodes[fw.node].parent; at >= 0; at = m.nodes[at].parent {
		n := &m.nodes[at]
		if n.wanting += d; n.wanting != max(d, 0) {
			return // it had others, or has others left
		}
	}
}

// consider puts a group that wants something where the next pass will look at it.
func (m *Machine) consider(at int32) {
	g := &m.groups[at]
	if g.left <= 0 {
		m.unindex(at)
		return
	}
	if g.since < 0 {
		g.since, g.passed = m.now, m.passedBy[g.class]
		for i := range g.base {
			g.base[i] = m.shortage[g.class][i]
		}
	}
	m.stopTimer(at)
	m.unlistRacks(at)
	if g.gang { // no agent alone decides about it
		m.unlistHosts(at)
	}
	g.settled, g.search = false, true
	m.enqueue(at)
	m.refresh(at)
}

// refresh has a group looked at once more at the end of the pass.
func (m *Machine) refresh(at int32) {
	if g := &m.groups[at]; !g.fresh {
		g.fresh = true
		m.fresh = append(m.fresh, at)
	}
}

// settle takes a group that was looked at out of the tree: from now on it is found by its hosts and racks only.
func (m *Machine) settle(at int32) {
	g := &m.groups[at]
	m.dequeue(at)
	g.settled = true
	m.listHosts(at)
	if g.level == atRack || g.strict {
		m.listRacks(at)
	}
}

// unindex takes a group that wants nothing more out of everything.
func (m *Machine) unindex(at int32) {
	g := &m.groups[at]
	m.dequeue(at)
	m.stopTimer(at)
	m.unlistRacks(at)
	m.unlistHosts(at)
	if g.asleep {
		m.rouse(at)
	}
	m.unreserve(at)
	m.stopWaiting(at)
	g.settled, g.since, g.blocked, g.deadline = false, -1, 0, 0
}

func (m *Machine) enqueue(at int32) {
	g := &m.groups[at]
	if g.queued {
		return
	}
	if g.asleep {
		m.rouse(at)
	}
	g.queued = true
	fw := &m.fws[g.fw]
	switch {
	case fw.mask == 0:
		fw.sole = at
	case fw.sole >= 0:
		m.push(fw, fw.sole)
		fw.sole = none
		fallthrough
	default:
		m.push(fw, at)
	}
	if bit := uint64(1) << g.class; fw.mask&bit == 0 {
		fw.mask |= bit
		m.showDemand(fw)
	}
}

// push puts a group into the queue of its priority and class.
func (m *Machine) push(fw *framework, at int32) {
	g := &m.groups[at]
	q := fw.queue(g.prio, g.class)
	if q == nil {
		i, _ := slices.BinarySearchFunc(fw.queues, g, func(q queue, g *group) int {
			if q.prio != g.prio {
				return int(min(max(int64(g.prio)-int64(q.prio), -1), 1))
			}
			return int(q.class) - int(g.class)
		})
		fw.queues = slices.Insert(fw.queues, i, queue{prio: g.prio, class: g.class})
		q = &fw.queues[i]
	}
	q.heap = append(q.heap, queued{g.seq, at, q.outranked})
	m.queueUp(q.heap, len(q.heap)-1)
}

func (m *Machine) dequeue(at int32) {
	g := &m.groups[at]
	if !g.queued {
		return
	}
	g.queued = false
	fw := &m.fws[g.fw]
	if fw.sole == at {
		fw.sole, fw.mask = none, 0
		m.showDemand(fw)
		return
	}
	q := fw.queue(g.prio, g.class)
	last := len(q.heap) - 1
	i := int(g.qpos)
	if n := q.outranked - q.heap[i].mark; n != 0 {
		g.refused[HigherPriority] += n
	}
	q.heap[i] = q.heap[last]
	q.heap = q.heap[:last]
	if i < last {
		m.groups[q.heap[i].g].qpos = int32(i)
		m.queueDown(q.heap, i)
		m.queueUp(q.heap, i)
	}
	if last > 0 {
		return
	}
	if len(fw.queues) > 8 {
		i := int(slices.IndexFunc(fw.queues, func(o queue) bool { return o.prio == g.prio && o.class == g.class }))
		fw.queues = slices.Delete(fw.queues, i, i+1)
	}
	var mask uint64
	for i := range fw.queues {
		if len(fw.queues[i].heap) > 0 {
			mask |= 1 << fw.queues[i].class
		}
	}
	if mask != fw.mask {
		fw.mask = mask
		m.showDemand(fw)
	}
}

// showDemand tells the tree what a framework waits for.
func (m *Machine) showDemand(fw *framework) {
	eff := fw.mask
	if fw.classic {
		eff |= classicBit
	}
	if fw.silent() || !fw.live {
		eff = 0
	}
	m.setEff(fw.node, eff)
}

func (fw *framework) queue(prio int32, class uint8) *queue {
	for i := range fw.queues {
		if q := &fw.queues[i]; q.prio == prio && q.class == class {
			return q
		}
	}
	return nil
}

// first is the framework's group that comes first among the classes in fit: highest priority, then oldest; none for a
// classic framework.
func (fw *framework) first(fit uint64) int32 {
	if fw.mask&fit == 0 {
		return none
	}
	if fw.sole >= 0 {
		return fw.sole
	}
	best, seq, prio := none, uint64(0), int32(0)
	for i := range fw.queues {
		q := &fw.queues[i]
		if fit>>q.class&1 == 0 || len(q.heap) == 0 {
			continue
		}
		if best >= 0 && q.prio != prio {
			break
		}
		if h := q.heap[0]; best < 0 || h.seq < seq {
			best, seq, prio = h.g, h.seq, q.prio
		}
	}
	return best
}

// outrank counts, for the groups of lower priority that wait in the tree, that one of their framework is served where
// they would have fitted.
func (m *Machine) outrank(fw *framework, at int32, fit uint64) {
	prio := m.groups[at].prio
	if fw.sole >= 0 {
		if g := &m.groups[fw.sole]; g.prio < prio {
			g.refused[HigherPriority]++
		}
		return
	}
	for i := len(fw.queues) - 1; i >= 0 && fw.queues[i].prio < prio; i-- {
		if q := &fw.queues[i]; fit>>q.class&1 != 0 {
			q.outranked++
		}
	}
}

// outranked is how often groups of higher priority were served where a group would have fitted.
func (m *Machine) outranked(at int32) uint32 {
	g := &m.groups[at]
	n, fw := g.refused[HigherPriority], &m.fws[g.fw]
	if g.queued && fw.sole != at {
		q := fw.queue(g.prio, g.class)
		n += q.outranked - q.heap[g.qpos].mark
	}
	return n
}

func (m *Machine) queueUp(h []queued, i int) {
	e := h[i]
	for i > 0 {
		p := (i - 1) / 2
		if h[p].seq <= e.seq {
			break
		}
		h[i] = h[p]
		m.groups[h[i].g].qpos = int32(i)
		i = p
	}
	h[i] = e
	m.groups[e.g].qpos = int32(i)
}

func (m *Machine) queueDown(h []queued, i int) {
	e := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].seq < h[c].seq {
			c++
		}
		if h[c].seq >= e.seq {
			break
		}
		h[i] = h[c]
		m.groups[h[i].g].qpos = int32(i)
		i = c
	}
	h[i] = e
	m.groups[e.g].qpos = int32(i)
}
