package allocator

import (
	"math/bits"
	"slices"

	"fairway/broker/resource"
)

// agent is what the machine knows of one agent. free = total - used - offered.
type agent struct {
	live   bool
	paused bool
	dirty  bool // in Machine.dirty
	shrunk bool // its total was lowered, or tasks were found on it, below what was offered
	gen    uint32
	host   HostID
	rack   RackID
	slot   uint32 // its bit in the bitmaps
	next   int32  // further agent on the host
	offers int32  // newest live offer
	kept   int32  // group that it is reserved for, or none
	_      [8]byte
	// What tasks use, by framework: holders[i] uses held[i]. Apart, because the search looks at the first only.
	holders []uint32
	free    resource.Vector
	held    []resource.Vector
	total   resource.Vector
	_       [40]byte // 256 bytes: what is hot is in the first two cache lines
}

// fit is the set of classes that fit on an agent, as it is and as the bitmaps show it: they are brought up to it when
// the agent has been filled.
type fit struct{ now, shown uint64 }

// rack has its agents' bits in words of its own, so that one test of a word answers for up to 64 agents.
type rack struct {
	words []uint32
	wants []entry
}

func (m *Machine) growRacks(r RackID) {
	for int(r) >= len(m.racks) {
		m.racks = append(m.racks, rack{})
	}
}

// takeSlot finds a bit for an agent among its rack's words.
func (m *Machine) takeSlot(id AgentID, r RackID) uint32 {
	m.growRacks(r)
	rk := &m.racks[r]
	for _, w := range rk.words {
		if free := ^m.slotUsed[w]; free != 0 {
			return m.fillSlot(id, w, uint32(bits.TrailingZeros64(free)))
		}
	}
	var w uint32
	if k := len(m.freeWords); k > 0 {
		w = m.freeWords[k-1]
		m.freeWords = m.freeWords[:k-1]
	} else {
		w = uint32(len(m.slotUsed))
		m.slotUsed = append(m.slotUsed, 0)
		m.slotAgent = append(m.slotAgent, make([]AgentID, 64)...)
		for i := range m.fitting {
			if m.fitting[i].levels != nil {
				m.fitting[i].grow(len(m.slotUsed))
			}
		}
	}
	rk.words = append(rk.words, w)
	return m.fillSlot(id, w, 0)
}

func (m *Machine) fillSlot(id AgentID, word, bit uint32) uint32 {
	m.slotUsed[word] |= 1 << bit
	slot := word<<6 | bit
	m.slotAgent[slot] = id
	return slot
}

func (m *Machine) dropSlot(a *agent) {
	w := a.slot >> 6
	if m.slotUsed[w] &^= 1 << (a.slot & 63); m.slotUsed[w] != 0 {
		return
	}
	words := m.racks[a.rack].words
	for i := range words {
		if words[i] == w {
			m.racks[a.rack].words = append(words[:i], words[i+1:]...)
			break
		}
	}
	m.freeWords = append(m.freeWords, w)
}

// refit computes what fits on an agent now.
func (m *Machine) refit(id AgentID) {
	a := &m.agents[id]
	var fit uint64
	if a.live && !a.paused {
		fit = m.classes.fit(&a.free)
	}
	m.fits[id].now = fit
}

// publish brings the bitmaps up to an agent's word. An agent that is reserved is in none.
func (m *Machine) publish(id AgentID) {
	a := &m.agents[id]
	fit := m.fits[id].now
	if a.kept >= 0 {
		fit = 0
	}
	fit &^= classicBit
	diff := fit ^ m.fits[id].shown
	if diff == 0 {
		return
	}
	m.fits[id].shown = fit
	for ; diff != 0; diff &= diff - 1 {
		b := bits.TrailingZeros64(diff)
		bm := &m.fitting[b]
		if bm.levels == nil {
			bm.grow(len(m.slotUsed))
		}
		if fit>>b&1 != 0 {
			bm.set(a.slot)
			m.anyFit |= 1 << b
		} else if bm.clear(a.slot); bm.n == 0 {
			m.anyFit &^= 1 << b
		}
	}
}

// touch has the next pass look at an agent that has more room than before.
func (m *Machine) touch(id AgentID) {
	if a := &m.agents[id]; !a.dirty && a.live {
		a.dirty = true
		m.dirty = append(m.dirty, id)
	}
}

// used is what tasks use of an agent.
func (a *agent) used() resource.Vector {
	var sum resource.Vector
	for i := range a.held {
		sum = sum.Add(a.held[i])
	}
	return sum
}

func (a *agent) addHold(fw uint32, v *resource.Vector) {
	i := slices.Index(a.holders, fw)
	if i < 0 {
		a.holders, a.held = append(a.holders, fw), append(a.held, *v)
		return
	}
	for k := range v {
		a.held[i][k] += v[k]
	}
}

// subHold takes back what addHold gave; the caller has checked that it is there.
func (a *agent) subHold(i int, v *resource.Vector) {
	for k := range v {
		a.held[i][k] -= v[k]
	}
	if a.held[i].IsZero() {
		last := len(a.holders) - 1
		a.holders[i], a.held[i] = a.holders[last], a.held[last]
		a.holders, a.held = a.holders[:last], a.held[:last]
	}
}

// refitAll computes the bits of one class on all agents after its shape has changed.
func (m *Machine) refitAll() {
	for id := range m.agents {
		if m.agents[id].live {
			m.refit(AgentID(id))
			m.publish(AgentID(id))
		}
	}
}
