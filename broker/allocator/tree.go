package allocator

import (
	"math"
	"math/bits"
	"slices"

	"fairway/broker/resource"
)

const none = int32(-1)

// node is a role or a framework in the tree of shares. A role keeps its children's keys and demands side by side, in
// order of (roles by id, then frameworks by id), so that the choice of a child is one scan and ties fall the same way.
// What every placement changes on its way up the tree is in the first two of six cache lines.
type node struct {
	parent     int32
	pos        int32 // among the parent's children
	depth      int32
	isRole     bool
	limited    bool
	guaranteed bool
	forced     bool            // over its limit by something other than an offer
	cost       uint64          // 2^costBits * 1000 / weight
	kidsMask   uint64          // classes that any child waits for
	limitMask  uint64          // classes that still fit below the limit
	alloc      resource.Vector // used and offered, of all below

	// Of roles.
	keys      []uint64   // least is due first
	effs      []uint64   // classes that could be served in the child
	busy      []uint64   // a bit for each child that could be served
	count     *[64]int32 // by class: children that could be served
	kids      []int32
	limitHits []groupRef // groups outside the tree that the limit refused
	weight    int64
	guarantee resource.Vector
	limit     resource.Vector
	id        uint32 // RoleID or FrameworkID
	wanting   int32  // children that have something outstanding
	giving    int32  // frameworks below that could be asked to give resources back
	gangs     bool   // of limitHits some are gangs: the limit may have room for one task and not for all
	_         [3]byte
}

const (
	costBits  = 20
	shareBits = 40
	// met is the bit of a key that says that the guarantee, if any, is met: who lacks his guarantee comes first.
	met = uint64(1) << 63
)

// scale turns an amount into a share of the cluster in units of 2^-shareBits, without division.
type scale struct {
	factor uint64 // 2^(63+p) / total, where 2^p <= total
	shift  uint   // of the 128-bit product
	left   uint   // shift in two parts: of the amount, and of the upper word of the product
	right  uint
	much   uint64 // larger amounts do not bear the shift to the left
	slot   int
}

func newScale(slot int, total int64) scale {
	p := uint(bits.Len64(uint64(total)) - 1)
	// 2^(63+p)/total is in (2^62, 2^63].
	hi, lo := uint64(0), uint64(0)
	if 63+p >= 64 {
		hi = 1 << (p - 1)
	} else {
		lo = 1 << 63
	}
	q, _ := bits.Div64(hi, lo, uint64(total))
	s := scale{slot: slot, factor: q, shift: 63 + p - shareBits}
	s.left, s.right = 64-min(s.shift, 64), max(s.shift, 64)-64
	s.much = math.MaxUint64 >> s.left
	return s
}

// shareOfMuch is the share of any amount; key has a quicker way for those that are not far above the total.
func (s *scale) shareOfMuch(amount uint64) uint64 {
	hi, lo := bits.Mul64(amount, s.factor)
	if s.shift >= 64 {
		return hi >> (s.shift - 64)
	}
	if hi>>s.shift != 0 {
		return math.MaxUint64
	}
	return hi<<(64-s.shift) | lo>>s.shift
}

// key is a node's place among its siblings: dominant share by weight, behind who lacks his guarantee.
func (m *Machine) key(n *node) uint64 {
	var share uint64
	for i := range m.scales {
		s := &m.scales[i]
		amount := uint64(max(n.alloc[s.slot&(resource.Slots-1)], 0))
		if amount > s.much {
			share = max(share, s.shareOfMuch(amount))
			continue
		}
		hi, _ := bits.Mul64(amount<<(s.left&63), s.factor)
		share = max(share, hi>>(s.right&63))
	}
	hi, lo := bits.Mul64(share, n.cost)
	k := hi<<(64-costBits) | lo>>costBits
	if hi>>costBits != 0 || k >= met {
		k = met - 1
	}
	if !n.guaranteed || guaranteeMet(n) {
		k |= met
	}
	return k
}

// guaranteeMet says whether the share of the guarantee that dominates is reached, as for the fair share itself: a
// lopsided user of one kind cannot claim forever because of another.
func guaranteeMet(n *node) bool {
	for i, g := range n.guarantee {
		if g > 0 && n.alloc[i] >= g {
			return true
		}
	}
	return false
}

// rescale computes all keys anew after the cluster's total has changed.
func (m *Machine) rescale() {
	m.scales = m.scales[:0]
	for slot, total := range m.total {
		if slot == resource.Ports {
			continue // names of doors, not a quantity that anybody runs short of by fairness
		}
		if total > 0 {
			m.scales = append(m.scales, newScale(slot, total))
		}
	}
	for i := range m.nodes {
		n := &m.nodes[i]
		if n.parent >= 0 {
			m.nodes[n.parent].keys[n.pos] = m.key(n)
		}
	}
	m.totalChanged = false
}

// newNode adds a child; its key and demand are set by the caller.
func (m *Machine) newNode(parent int32, isRole bool, id uint32) int32 {
	var at int32
	if k := len(m.freeNodes); k > 0 {
		at = m.freeNodes[k-1]
		m.freeNodes = m.freeNodes[:k-1]
		m.nodes[at] = node{}
	} else {
		at = int32(len(m.nodes))
		m.nodes = append(m.nodes, node{})
	}
	n := &m.nodes[at]
	n.parent, n.id, n.isRole = parent, id, isRole
	n.cost, n.weight = 1<<costBits, 1000
	n.limitMask = ^uint64(0)
	if isRole {
		n.count = new([64]int32)
		n.limit = resource.None()
	}
	if parent < 0 {
		return at
	}
	p := &m.nodes[parent]
	n.depth = p.depth + 1
	pos, _ := slices.BinarySearchFunc(p.kids, at, func(a, _ int32) int { return m.compareIDs(&m.nodes[a], n) })
	p.kids = slices.Insert(p.kids, pos, at)
	p.keys = slices.Insert(p.keys, pos, m.key(n))
	p.effs = slices.Insert(p.effs, pos, 0)
	m.renumber(p, pos)
	return at
}

// renumber tells a role's children from a position on where they are now.
func (m *Machine) renumber(p *node, from int) {
	for i := from; i < len(p.kids); i++ {
		m.nodes[p.kids[i]].pos = int32(i)
	}
	p.busy = append(p.busy[:0], make([]uint64, (len(p.kids)+63)>>6)...)
	for i, eff := range p.effs {
		if eff != 0 {
			p.busy[i>>6] |= 1 << (i & 63)
		}
	}
}

func (m *Machine) compareIDs(a, b *node) int {
	switch {
	case a.isRole != b.isRole:
		if a.isRole {
			return -1
		}
		return 1
	case a.id < b.id:
		return -1
	case a.id > b.id:
		return 1
	}
	return 0
}

func (m *Machine) freeNode(at int32) {
	m.setEff(at, 0)
	n := &m.nodes[at]
	if n.limited {
		m.limits--
	}
	p := &m.nodes[n.parent]
	pos := int(n.pos)
	p.kids = slices.Delete(p.kids, pos, pos+1)
	p.keys = slices.Delete(p.keys, pos, pos+1)
	p.effs = slices.Delete(p.effs, pos, pos+1)
	m.renumber(p, pos)
	*n = node{parent: none}
	m.freeNodes = append(m.freeNodes, at)
}

// charge adds an amount (or takes it, with sign -1) along the path from a framework's node to the root.
func (m *Machine) charge(at int32, v *resource.Vector, sign int64) {
	cpu, memory, disk := sign*v[resource.CPU], sign*v[resource.Memory], sign*v[resource.Disk]
	rare := !isCommon(v)
	for at >= 0 {
		n := &m.nodes[at]
		n.alloc[resource.CPU] += cpu
		n.alloc[resource.Memory] += memory
		n.alloc[resource.Disk] += disk
		if rare {
			for i := common; i < len(v); i++ {
				n.alloc[i] += sign * v[i]
			}
		}
		if n.parent >= 0 {
			m.nodes[n.parent].keys[n.pos] = m.key(n)
		}
		if n.limited {
			m.relimit(at)
		}
		at = n.parent
	}
}

// relimit computes which classes still fit below a role's limit.
func (m *Machine) relimit(at int32) {
	n := &m.nodes[at]
	old := n.limitMask
	n.limitMask = ^uint64(0)
	if n.limited {
		room := headroom(n)
		n.limitMask = m.classes.fit(&room)
	}
	if n.forced && n.alloc.Within(n.limit) {
		n.forced = false
	}
	// The bit of the mixed class does not say which of its shapes fit.
	if len(n.limitHits) > 0 && (n.limitMask&^old != 0 || n.limitMask&mixedBit != 0 || n.gangs) {
		m.regained = append(m.regained, at)
	}
	if n.limitMask == old {
		return
	}
	if n.parent >= 0 {
		m.setEff(at, n.limitMask&n.kidsMask)
	}
}

// headroom is what a role may still get by its own limit.
func headroom(n *node) resource.Vector {
	var room resource.Vector
	for i, l := range n.limit {
		room[i] = math.MaxInt64
		if l >= 0 {
			room[i] = l - n.alloc[i]
		}
	}
	return room
}

// setEff states which classes could be served in a node and carries the change up as far as it shows.
func (m *Machine) setEff(at int32, eff uint64) {
	for {
		n := &m.nodes[at]
		if n.parent < 0 {
			return
		}
		p := &m.nodes[n.parent]
		diff := p.effs[n.pos] ^ eff
		if diff == 0 {
			return
		}
		p.effs[n.pos] = eff
		if bit := uint64(1) << (n.pos & 63); eff != 0 {
			p.busy[n.pos>>6] |= bit
		} else {
			p.busy[n.pos>>6] &^= bit
		}
		kids := p.kidsMask
		for d := diff; d != 0; d &= d - 1 {
			b := bits.TrailingZeros64(d)
			if eff>>b&1 != 0 {
				p.count[b]++
				kids |= 1 << b
			} else if p.count[b]--; p.count[b] == 0 {
				kids &^= 1 << b
			}
		}
		if kids == p.kidsMask {
			return
		}
		p.kidsMask = kids
		at, eff = n.parent, kids&p.limitMask
	}
}

// demand is the set of classes that wait and that no limit forbids.
func (m *Machine) demand() uint64 { return m.nodes[0].kidsMask & m.nodes[0].limitMask }

// due finds the framework that is due first among those that wait for a class in fit, and the classes for which it is.
func (m *Machine) due(fit uint64) (node int32, classes uint64) {
	at := int32(0)
	fit &= m.nodes[0].limitMask
	for {
		n := &m.nodes[at]
		if !n.isRole {
			return at, fit
		}
		best := n.least(fit)
		if best < 0 {
			return none, 0
		}
		fit &= n.effs[best]
		at = n.kids[best]
	}
}

// manyBusy is from how many children of 64 on that could be served it costs less to look at all.
const manyBusy = 8

// least is the child with the least key, and of equal ones the first, among those with a class in fit; -1 if there is none.
func (n *node) least(fit uint64) int {
	best, key := -1, uint64(math.MaxUint64)
	for i, word := range n.busy {
		at := i << 6
		if bits.OnesCount64(word) >= manyBusy {
			end := min(at+64, len(n.effs))
			if i := leastOf(n.effs[at:end], n.keys[at:end], fit); i >= 0 && (best < 0 || n.keys[at+i] < key) {
				best, key = at+i, n.keys[at+i]
			}
			continue
		}
		for ; word != 0; word &= word - 1 {
			i := at + bits.TrailingZeros64(word)
			if k := n.keys[i]; n.effs[i]&fit != 0 && (best < 0 || k < key) {
				best, key = i, k
			}
		}
	}
	return best
}

// leastOf has no branch on what it reads, for none could be foreseen.
func leastOf(effs, keys []uint64, fit uint64) int {
	best, key := -1, uint64(math.MaxUint64)
	keys = keys[:len(effs)]
	for i, eff := range effs {
		k := keys[i]
		if eff&fit == 0 {
			k = math.MaxUint64
		}
		if k < key {
			best = i
		}
		key = min(key, k)
	}
	if best >= 0 {
		return best
	}
	// A key may be that large itself.
	for i, eff := range effs {
		if eff&fit != 0 {
			return i
		}
	}
	return -1
}

// before says whether framework node a is due before b: the comparison of their ancestors where the paths part.
func (m *Machine) before(a, b int32) bool {
	for m.nodes[a].depth > m.nodes[b].depth {
		a = m.nodes[a].parent
	}
	for m.nodes[b].depth > m.nodes[a].depth {
		b = m.nodes[b].parent
	}
	for m.nodes[a].parent != m.nodes[b].parent {
		a, b = m.nodes[a].parent, m.nodes[b].parent
	}
	na, nb := &m.nodes[a], &m.nodes[b]
	keys := m.nodes[na.parent].keys
	if ka, kb := keys[na.pos], keys[nb.pos]; ka != kb {
		return ka < kb
	}
	return na.pos < nb.pos
}

// allowed says whether no limit on the path forbids one more task of a group; if one does, by is its node.
func (m *Machine) allowed(g *group) (ok bool, by int32) {
	if m.limits == 0 {
		return true, none
	}
	bit := uint64(1) << g.class
	for at := m.nodes[m.fws[g.fw].node].parent; at >= 0; at = m.nodes[at].parent {
		n := &m.nodes[at]
		if !n.limited {
			continue
		}
		if n.limitMask&bit == 0 {
			return false, at
		}
		if g.class == mixedClass {
			if room := headroom(n); !g.shape.Fits(room) {
				return false, at
			}
		}
	}
	return true, none
}
