package allocator

import (
	"math"
	"math/bits"
	"slices"

	"fairway/broker/resource"
)

// What a role is entitled to: its part by weight of what its parent is entitled to (or holds, if that is more), among the
// children that hold or want something; or its guarantee, if that is more. What a child leaves that wants nothing more goes
// to the others. All of it is in units of a share, 2^-shareBits of the cluster.

const (
	wholeCluster = uint64(1) << shareBits
	// slack is what divisions that round down may lose of a share on the way down the tree.
	slack = 16
)

// division is how a parent's entitlement is divided: rest goes by weight to whose weights are in sum.
type division struct {
	rest uint64
	sum  int64
}

// claim is what a group's role may have from others.
type claim struct {
	count int64           // tasks of the group
	fw    int32           // who is to give
	most  resource.Vector // so much at most; -1: any amount
}

// portion is e * w / sum, at most the whole; w may be larger, as of a child whose weight is not in the sum because it is
// content with less than its part.
func portion(e uint64, w, sum int64) uint64 {
	hi, lo := bits.Mul64(e, uint64(w))
	if sum <= 0 || hi >= uint64(sum) {
		return wholeCluster
	}
	q, _ := bits.Div64(hi, lo, uint64(sum))
	return min(q, wholeCluster)
}

// ofTotal is the amount that a share of a total is, to the nearest.
func ofTotal(e uint64, total int64) int64 {
	hi, lo := bits.Mul64(e, uint64(total))
	lo, carry := bits.Add64(lo, 1<<(shareBits-1), 0)
	hi += carry
	if hi>>(shareBits-1) != 0 {
		return math.MaxInt64
	}
	return int64(hi<<(64-shareBits) | lo>>shareBits)
}

// dominant is the largest share of an amount, and of which kind it is; -1 if there is none.
func (m *Machine) dominant(v *resource.Vector) (share uint64, slot int) {
	slot = -1
	for i := range m.scales {
		s := &m.scales[i]
		if of := s.shareOfMuch(uint64(max(v[s.slot], 0))); slot < 0 || of > share {
			share, slot = of, s.slot
		}
	}
	return share, slot
}

// promised is the share of a role's guarantee.
func (m *Machine) promised(n *node) (share uint64) {
	if !n.guaranteed {
		return 0
	}
	for i := range m.scales {
		if g := n.guarantee[m.scales[i].slot]; g > 0 {
			share = max(share, m.scales[i].shareOfMuch(uint64(g)))
		}
	}
	return min(share, wholeCluster)
}

// wantsMore tells whether a child would take more: it has something outstanding, and no limit of its own is in the way.
func (m *Machine) wantsMore(n *node, at int32) bool {
	return m.wants(at) && !(n.limited && n.kidsMask != 0 && n.kidsMask&n.limitMask == 0)
}

// divide divides what a role is entitled to among its children.
func (m *Machine) divide(at int32, entitled uint64) division {
	p := &m.nodes[at]
	l := division{rest: entitled}
	fixed := append(m.reclaiming.fixed[:0], make([]bool, len(p.kids))...)
	m.reclaiming.fixed = fixed
	for i, kid := range p.kids {
		n := &m.nodes[kid]
		if fixed[i] = isZero(&n.alloc) && !m.wants(kid); !fixed[i] {
			l.sum += n.weight
		}
	}
	fix := func(i int, share uint64) {
		fixed[i] = true
		l.rest -= min(share, l.rest)
		l.sum -= m.nodes[p.kids[i]].weight
	}
	// Guarantees first, then who wants less than his part. Each round but the last fixes somebody.
	for more := true; more; {
		more = false
		for i, kid := range p.kids {
			n := &m.nodes[kid]
			if fixed[i] || !n.guaranteed {
				continue
			}
			if g := m.promised(n); g > portion(l.rest, n.weight, l.sum) {
				if !m.wantsMore(n, kid) {
					held, _ := m.dominant(&n.alloc)
					g = min(g, held)
				}
				fix(i, g)
				more = true
			}
		}
	}
	for more := true; more; {
		more = false
		for i, kid := range p.kids {
			n := &m.nodes[kid]
			if fixed[i] || m.wantsMore(n, kid) {
				continue
			}
			if held, _ := m.dominant(&n.alloc); held < portion(l.rest, n.weight, l.sum) {
				fix(i, held)
				more = true
			}
		}
	}
	return l
}

// entitled is a child's part.
func (m *Machine) entitled(l division, n *node) uint64 {
	return max(portion(l.rest, n.weight, l.sum), m.promised(n))
}

// trace finds the roles on the way to a framework, from the root; false if it is in none but the root, or too deep.
func (m *Machine) trace(fw int32) bool {
	x := &m.reclaiming
	x.path = x.path[:0]
	for at := m.nodes[m.fws[fw].node].parent; at >= 0; at = m.nodes[at].parent {
		x.path = append(x.path, at)
	}
	for i, j := 0, len(x.path)-1; i < j; i, j = i+1, j-1 {
		x.path[i], x.path[j] = x.path[j], x.path[i]
	}
	return len(x.path) > 1 && len(x.path) <= 32
}

// below tells whether a node is at or below another.
func (m *Machine) below(at, top int32) bool {
	for m.nodes[at].depth > m.nodes[top].depth {
		at = m.nodes[at].parent
	}
	return at == top
}

// claim finds what is due to a group whose roles trace has found, and who is to give it; below is false if its role is not
// below its share, or no other is above. Count is 0 if nobody above his share can be asked now.
func (m *Machine) claim(at int32) (c claim, below bool) {
	x := &m.reclaiming
	g := &m.groups[at]
	var rooms [32]int64
	var levels [32]division
	entitled := wholeCluster
	left := g.left
	for i := range x.live {
		if r := &x.live[i]; r.group.at == at && r.group.gen == g.gen {
			left -= int64(r.count())
		}
	}
	last := len(x.path) - 1
	for i := range last {
		levels[i] = m.divide(x.path[i], entitled)
		child := x.path[i+1]
		n := &m.nodes[child]
		own := m.entitled(levels[i], n)
		rooms[i] = m.roomBelow(child, own, &g.shape)
		held, _ := m.dominant(&n.alloc)
		entitled = max(own, held)
	}
	claimed, fits := g.left-left, int64(0)
	if g.gang {
		fits = m.roomFor(at, int64(g.missing))
	}
	room := int64(maxCount)
	for i := last - 1; i >= 0; i-- {
		room = min(room, rooms[i])
		rooms[i] = min(room, left) - fits
		if room+claimed < int64(g.missing) {
			rooms[i] = 0 // what is given back would not do for a gang
		}
	}
	for i := range last {
		if rooms[i] <= 0 && left > 0 {
			continue
		}
		above := false
		c.most = resource.None()
		if c.fw, above = m.victim(x.path[i], x.path[i+1], levels[i], &c.most); above {
			below = true
		}
		if !above || c.fw < 0 {
			continue
		}
		c.count = rooms[i]
		for slot, most := range c.most {
			if most >= 0 && g.shape[slot] > 0 {
				c.count = min(c.count, most/g.shape[slot])
			}
		}
		if c.count > 0 {
			return c, true
		}
	}
	return claim{}, below
}

// roomBelow is how many tasks of a shape a role may have more within what it is entitled to, with what is being reclaimed
// for it.
func (m *Machine) roomBelow(at int32, entitled uint64, shape *resource.Vector) int64 {
	have := m.nodes[at].alloc
	for i := range m.reclaiming.live {
		if r := &m.reclaiming.live[i]; m.groupOf(r.group) != nil && m.below(m.fws[r.owner].node, at) {
			have = have.Add(r.shape.Scale(int64(r.count())))
		}
	}
	room := int64(maxCount)
	if n := &m.nodes[at]; n.limited {
		for slot, limit := range n.limit {
			if limit >= 0 && shape[slot] > 0 {
				room = min(room, max(limit-have[slot], 0)/shape[slot])
			}
		}
	}
	for i := range m.scales {
		slot := m.scales[i].slot
		rest := ofTotal(entitled+slack, m.total[slot]) - have[slot]
		switch {
		case rest < 0:
			return 0
		case shape[slot] > 0:
			room = min(room, rest/shape[slot])
		}
	}
	return room
}

// keeps is what a node holds less all that may be given back below it, by what has been asked for.
func (m *Machine) keeps(at int32) resource.Vector {
	have := m.nodes[at].alloc
	for i := range m.reclaiming.live {
		r := &m.reclaiming.live[i]
		if node := m.fws[r.fw].node; m.below(node, at) {
			for slot, holds := range m.nodes[node].alloc {
				gives := holds
				if r.most[slot] >= 0 {
					gives = min(holds, max(r.most[slot]-max(r.held[slot]-holds, 0), 0))
				}
				have[slot] -= gives
			}
		}
	}
	return have
}

// victim finds, among the children of a role but one, the framework below the child furthest above its share that can be
// asked, or none. above is false if no child is above its share.
func (m *Machine) victim(at, but int32, l division, most *resource.Vector) (fw int32, above bool) {
	p := &m.nodes[at]
	bound := *most
	ceiling, after := uint64(math.MaxUint64), -1
	for range len(p.kids) {
		best, surplus := -1, uint64(0)
		for i, kid := range p.kids {
			n := &m.nodes[kid]
			if kid == but || isZero(&n.alloc) {
				continue
			}
			have := m.keeps(kid)
			share, _ := m.dominant(&have)
			own := m.entitled(l, n)
			if share <= own {
				continue
			}
			above = true
			if s := share - own; (s < ceiling || s == ceiling && i > after) && (best < 0 || s > surplus) && m.gives(kid) {
				best, surplus = i, s
			}
		}
		if best < 0 {
			return none, above
		}
		*most = bound
		if fw = m.descend(p.kids[best], m.entitled(l, &m.nodes[p.kids[best]]), most); fw >= 0 {
			return fw, true
		}
		ceiling, after = surplus, best
	}
	return none, above
}

// gives tells whether a node is or has a framework that could be asked.
func (m *Machine) gives(at int32) bool {
	n := &m.nodes[at]
	if n.isRole {
		return n.giving > 0
	}
	fw := &m.fws[n.id]
	return fw.giving && fw.rest <= m.now && !slices.Contains(m.reclaiming.tried, int32(n.id))
}

// descend finds the framework below a node to ask, and bounds what may be taken by each role on the way.
func (m *Machine) descend(at int32, entitled uint64, most *resource.Vector) int32 {
	n := &m.nodes[at]
	have := m.keeps(at)
	if _, slot := m.dominant(&have); slot >= 0 {
		// As long as it keeps its part of this kind it is not below its share, whatever it keeps of others.
		rest := have[slot] - ofTotal(entitled, m.total[slot])
		if rest <= 0 {
			return none
		}
		if most[slot] < 0 || rest < most[slot] {
			most[slot] = rest
		}
	}
	if !n.isRole {
		m.boundBy(n, most)
		return int32(n.id)
	}
	roles := false
	for _, kid := range n.kids {
		roles = roles || m.nodes[kid].isRole && !isZero(&m.nodes[kid].alloc)
	}
	if roles {
		fw, _ := m.victim(at, none, m.divide(at, entitled), most)
		return fw
	}
	best, key := none, uint64(0)
	for i, kid := range n.kids {
		if k := n.keys[i]; (best < 0 || k > key) && !isZero(&m.nodes[kid].alloc) && m.gives(kid) {
			best, key = kid, k
		}
	}
	if best < 0 {
		return none
	}
	m.boundBy(&m.nodes[best], most)
	return int32(m.nodes[best].id)
}

// boundBy lowers bounds to what a framework has at all, so that others may be asked for the rest.
func (m *Machine) boundBy(n *node, most *resource.Vector) {
	for slot := range most {
		most[slot] = min(most[slot], n.alloc[slot]) // none stays none
	}
}
