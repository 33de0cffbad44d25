package allocator

import "fairway/broker/resource"

// holdings is what tasks use, by agent and framework. It is one table and not a list for each agent, because the end of
// a task then costs one cache miss that is known from the event alone. Few tasks use more than cpu, memory and disk; the
// other kinds are kept apart.
type holdings struct {
	slots []holding // open addressing as in table, at most two thirds full
	n     int
	shift uint
	rest  table // key -> index in more
	more  []resource.Vector
	free  []int32 // of more
}

const common = 3 // kinds in a holding: cpu, memory, disk

type holding struct {
	key uint64 // 0: empty
	res [common]int64
}

func holdKey(id AgentID, fw uint32) uint64 { return uint64(id+1)<<32 | uint64(fw) }

func (h *holdings) home(key uint64) int { return int((key * 0x9E3779B97F4A7C15) >> (h.shift & 63)) }

// find returns where a key is, or -1.
func (h *holdings) find(key uint64) int {
	if h.n == 0 {
		return -1
	}
	mask := len(h.slots) - 1
	for i := h.home(key) & mask; h.slots[i].key != 0; i = (i + 1) & mask {
		if h.slots[i].key == key {
			return i
		}
	}
	return -1
}

// at is the amount in slot i.
func (h *holdings) at(i int) resource.Vector {
	var v resource.Vector
	if at := h.rest.get(h.slots[i].key); at >= 0 {
		v = h.more[at]
	}
	copy(v[:common], h.slots[i].res[:])
	return v
}

// holds says whether slot i has at least v.
func (h *holdings) holds(i int, v *resource.Vector) bool {
	res := &h.slots[i].res
	if v[0] > res[0] || v[1] > res[1] || v[2] > res[2] {
		return false
	}
	if isCommon(v) {
		return true
	}
	all := h.at(i)
	return fits(v, &all)
}

func isCommon(v *resource.Vector) bool { return v[3]|v[4]|v[5]|v[6]|v[7] == 0 }

func (h *holdings) add(key uint64, v *resource.Vector) {
	if 3*(h.n+1) > 2*len(h.slots) {
		h.grow()
	}
	mask := len(h.slots) - 1
	i := h.home(key) & mask
	for ; h.slots[i].key != key; i = (i + 1) & mask {
		if h.slots[i].key == 0 {
			h.slots[i].key = key
			h.n++
			break
		}
	}
	res := &h.slots[i].res
	res[0] += v[0]
	res[1] += v[1]
	res[2] += v[2]
	if isCommon(v) {
		return
	}
	at := h.rest.get(key)
	if at < 0 {
		if k := len(h.free); k > 0 {
			at = h.free[k-1]
			h.free = h.free[:k-1]
		} else {
			at = int32(len(h.more))
			h.more = append(h.more, resource.Vector{})
		}
		h.rest.put(key, at)
	}
	for k := common; k < len(v); k++ {
		h.more[at][k] += v[k]
	}
}

// sub takes v, which is there, from slot i.
func (h *holdings) sub(i int, v *resource.Vector) {
	s := &h.slots[i]
	s.res[0] -= v[0]
	s.res[1] -= v[1]
	s.res[2] -= v[2]
	rest := none
	if h.rest.n > 0 {
		rest = h.rest.get(s.key)
	}
	if rest >= 0 {
		for k := common; k < len(v); k++ {
			h.more[rest][k] -= v[k]
		}
		if isZero(&h.more[rest]) {
			h.rest.del(s.key)
			h.free = append(h.free, rest)
			rest = none
		}
	}
	if rest < 0 && s.res[0]|s.res[1]|s.res[2] == 0 {
		h.clear(i)
	}
}

// clear empties slot i, of which nothing is left, and moves back what had to give way to it.
func (h *holdings) clear(i int) {
	h.n--
	mask := len(h.slots) - 1
	for j := i; ; {
		j = (j + 1) & mask
		if h.slots[j].key == 0 {
			break
		}
		if home := h.home(h.slots[j].key) & mask; (j-home)&mask >= (j-i)&mask {
			h.slots[i] = h.slots[j]
			i = j
		}
	}
	h.slots[i] = holding{}
}

func (h *holdings) grow() {
	size := max(64, 2*len(h.slots))
	old := h.slots
	h.slots, h.shift = make([]holding, size), 64
	for s := size; s > 1; s >>= 1 {
		h.shift--
	}
	for _, s := range old {
		if s.key == 0 {
			continue
		}
		i := h.home(s.key)
		for h.slots[i].key != 0 {
			i = (i + 1) & (size - 1)
		}
		h.slots[i] = s
	}
}
