package allocator

import (
	"math"

	"fairway/broker/resource"
)

// shortages is the number of reasons that name a kind of resource, from NotEnoughCPU on.
const shortages = 6

// Machine is the allocator. It is not safe for concurrent use.
type Machine struct {
	config Config
	now    int64
	pass   uint64 // counts Steps
	halted bool   // Pause

	// The tree of shares. nodes[0] is the root.
	nodes        []node
	freeNodes    []int32
	roles        []int32 // RoleID -> node, or none
	fws          []framework
	total        resource.Vector
	totalChanged bool
	scales       []scale // of the kinds that count for shares: the cluster has some
	regained     []int32
	limits       int // roles with a limit

	// Agents, and which classes of shapes fit where.
	agents    []agent
	live      int
	fits      []fit // per agent
	holdings  holdings
	fitting   [64]bitmap
	anyFit    uint64
	slotAgent []AgentID
	slotUsed  []uint64
	freeWords []uint32
	hostAgent []int32   // HostID -> first agent there, or none
	hostWants [][]entry // HostID -> who would like to run there
	racks     []rack
	cursor    [64]uint32 // where the next search for any agent begins
	dirty     []AgentID

	classes  classes
	shortage [64][shortages]uint32 // refusals by class
	passedBy [64]uint32            // by class: others were due first
	counts   uint32                // times that passedBy was raised

	groups     []group
	freeGroups []int32
	groupSeq   uint64
	fresh      []int32 // groups to look at
	parked     []int32 // groups kept out of the tree for a moment

	offers     []offer
	freeOffers []int32
	offerIDs   table
	nextOffer  OfferID
	oldest     int32
	newest     int32

	timers      []timer
	timerSeq    uint64
	filters     []filter
	freeFilters []int32
	filterIDs   table

	reserved   []int32 // agents that are kept for a group
	starving   int64   // when to look again for a starving group
	keepCursor uint32

	gangs      gangs
	reclaiming reclaiming
	ahead      ahead
	actions    []Action
	rejections []Rejection
}

// New makes an empty machine: no agents, the root role only.
func New(c Config) *Machine {
	setDefault(&c.OfferTimeout, 30e9)
	setDefault(&c.NodeWait, 3e9)
	setDefault(&c.RackWait, 1e9)
	setDefault(&c.Filter, 5e9)
	setDefault(&c.StarveAfter, 10e9)
	setDefault(&c.ReclaimAfter, 30e9)
	setDefault(&c.ReclaimDeadline, 30e9)
	if c.MaxReserved == 0 {
		c.MaxReserved = 4
	}
	if c.FirstOffer == 0 {
		c.FirstOffer = 1
	}
	if c.MinOffer.IsZero() {
		c.MinOffer[resource.CPU], c.MinOffer[resource.Memory] = 10, 32<<20
	}
	m := &Machine{config: c, nextOffer: c.FirstOffer, oldest: none, newest: none, starving: math.MaxInt64}
	m.gangs.later, m.gangs.starves, m.gangs.keeper = never, never, none
	m.reclaiming.oldest, m.reclaiming.newest = none, none
	m.classes.byShape = map[resource.Vector]uint8{}
	m.classes.minOffer = c.MinOffer
	m.newNode(none, true, 0)
	m.roles = []int32{0}
	return m
}

func setDefault(v *int64, d int64) {
	if *v == 0 {
		*v = d
	}
}

// Step applies events at a time (ns, of the machine's clock, never going back; an earlier time counts as the last) and
// decides. A refused event leaves the state as it was; the others count. The decisions are in Ready. The rejections are
// valid until the next Step.
func (m *Machine) Step(now int64, events []Event) []Rejection {
	m.now = max(m.now, now)
	m.pass++
	m.actions = m.actions[:0]
	m.rejections = m.rejections[:0]
	m.reclaiming.said = m.reclaiming.said[:0]
	m.expire()
	m.fire()
	m.warm(events)
	for i := range events {
		if err := m.apply(&events[i]); err != nil {
			m.rejections = append(m.rejections, Rejection{i, err})
		}
	}
	if m.totalChanged {
		m.rescale()
	}
	m.starving = math.MaxInt64
	if !m.halted {
		m.allocate()
	}
	return m.rejections
}

// Ready is what the last Step decided.
func (m *Machine) Ready() Batch {
	wake := min(m.offerDeadline(), m.starveDeadline(), m.reclaimDeadline(), m.gangDeadline())
	if len(m.timers) > 0 {
		wake = min(wake, m.timers[0].at)
	}
	if wake == math.MaxInt64 {
		wake = 0
	}
	return Batch{Actions: m.actions, Reclaims: m.reclaiming.said, WakeAt: wake}
}
