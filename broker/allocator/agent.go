package allocator

import (
	"math/bits"

	"fairway/broker/resource"
)

// agent is what the machine knows of one agent. free = total - used - offered; what tasks use is in Machine.holdings.
// It is three cache lines, and what is hot is in the first two.
type agent struct {
	live   bool
	away   away
	dirty  bool // in Machine.dirty
	shrunk bool // its total was lowered, or tasks were found on it, below what was offered
	gen    uint32
	host   HostID
	rack   RackID
	slot   uint32 // its bit in the bitmaps
	next   int32  // further agent on the host
	offers int32  // newest live offer
	kept   int32  // group that it is reserved for, or none
	_      [32]byte
	free   resource.Vector
	total  resource.Vector
}

// away is why nothing is offered of an agent, in bits; 0: it is there.
type away uint8

const (
	cutOff away = 1 << iota
	draining
)

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
	if a.live && a.away == 0 {
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

// offered is what live offers hold of an agent.
func (m *Machine) offered(a *agent) resource.Vector {
	var sum resource.Vector
	for o := a.offers; o >= 0; o = m.offers[o].next {
		sum = sum.Add(m.offers[o].res)
	}
	return sum
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
