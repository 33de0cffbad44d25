package allocator

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"fairway/broker/resource"
)

// ErrInvariant is what Check's errors wrap.
var ErrInvariant = errors.New("allocator: invariant broken")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvariant, fmt.Sprintf(format, args...))
}

// Check verifies every invariant from scratch; an error is a bug of this package. It costs the product of groups and
// agents and is meant for tests, after a Step.
func (m *Machine) Check() error {
	for _, check := range []func() error{m.checkAgents, m.checkOffers, m.checkTree, m.checkGroups, m.checkTimers, m.checkReclaims, m.checkServed, m.checkGangs} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) checkAgents() error {
	var total resource.Vector
	live := 0
	held := make([]resource.Vector, len(m.fws))
	holders := 0
	for id := range m.agents {
		a := &m.agents[id]
		if !a.live {
			if m.fits[id].now != 0 || m.fits[id].shown != 0 || a.offers >= 0 {
				return broken("agent %d is gone and left something", id)
			}
			continue
		}
		live++
		total = total.Add(a.total)
		var used, offered resource.Vector
		for fw := range m.fws {
			at := m.holdings.find(holdKey(AgentID(id), uint32(fw)))
			if at < 0 {
				continue
			}
			v := m.holdings.at(at)
			if v.Negative() || v.IsZero() {
				return broken("agent %d: framework %d uses %v", id, fw, v)
			}
			holders++
			used = used.Add(v)
			held[fw] = held[fw].Add(v)
		}
		for o := a.offers; o >= 0; o = m.offers[o].next {
			if m.offers[o].agent != AgentID(id) {
				return broken("offer %d is in the list of agent %d", m.offers[o].id, id)
			}
			offered = offered.Add(m.offers[o].res)
		}
		if got := used.Add(offered).Add(a.free); got != a.total {
			return broken("agent %d: used + offered + free = %v, total %v", id, got, a.total)
		}
		if a.free.Negative() && !offered.IsZero() {
			for i := range offered {
				if a.free[i] < 0 && offered[i] > 0 && used[i] <= a.total[i] && !a.shrunk {
					return broken("agent %d: offered more than it has: %v", id, a.free)
				}
			}
		}
		var fit uint64
		if a.away == 0 {
			fit = m.classes.fit(&a.free)
			for k := m.classes.known; k != 0; k &= k - 1 {
				b := bits.TrailingZeros64(k)
				if want := m.classes.shapes[b].Fits(a.free); want != (fit>>b&1 != 0) {
					return broken("agent %d: class %d of %v: fits %v", id, b, m.classes.shapes[b], want)
				}
			}
		}
		if m.fits[id].now != fit {
			return broken("agent %d: fit %x, is %x", id, m.fits[id].now, fit)
		}
		if a.kept >= 0 {
			fit = 0
			if g := &m.groups[a.kept]; !g.live || g.kept < 0 || !slices.Contains(m.reserved, int32(id)) {
				return broken("agent %d is kept for a group that does not know", id)
			}
		}
		if !m.halted && m.fits[id].shown != fit&^classicBit {
			return broken("agent %d: published %x, is %x", id, m.fits[id].shown, fit)
		}
		for b := range m.fitting {
			if bm := &m.fitting[b]; bm.levels != nil && (bm.levels[0][a.slot>>6]>>(a.slot&63)&1 != 0) != (m.fits[id].shown>>b&1 != 0) {
				return broken("agent %d: bitmap of class %d", id, b)
			}
		}
		if m.slotAgent[a.slot] != AgentID(id) || !slices.Contains(m.racks[a.rack].words, a.slot>>6) {
			return broken("agent %d: slot %d", id, a.slot)
		}
	}
	if holders != m.holdings.n {
		return broken("%d holdings, %d in the table", holders, m.holdings.n)
	}
	if total != m.total || live != m.live {
		return broken("total %v of %d agents, is %v of %d", m.total, m.live, total, live)
	}
	for f := range m.fws {
		fw := &m.fws[f]
		if fw.node < 0 {
			if !held[f].IsZero() {
				return broken("framework %d is not known and uses %v", f, held[f])
			}
			continue
		}
		if got := held[f].Add(fw.offered); got != m.nodes[fw.node].alloc {
			return broken("framework %d: holds %v, used + offered %v", f, m.nodes[fw.node].alloc, got)
		}
	}
	for b := range m.fitting {
		n := 0
		for l, level := range m.fitting[b].levels {
			for i, w := range level {
				if l == 0 {
					n += bits.OnesCount64(w)
				} else {
					for k := range 64 {
						below := m.fitting[b].levels[l-1]
						if j := i<<6 + k; (j < len(below) && below[j] != 0) != (w>>k&1 != 0) {
							return broken("class %d: level %d of the bitmap, word %d", b, l, i)
						}
					}
				}
			}
		}
		if n != m.fitting[b].n || (n > 0) != (m.anyFit>>b&1 != 0) {
			return broken("class %d: %d agents in the bitmap, counted %d", b, n, m.fitting[b].n)
		}
	}
	return nil
}

func (m *Machine) checkOffers() error {
	offered := make([]resource.Vector, len(m.fws))
	open := map[int32]int32{}
	n := 0
	for o, last := m.oldest, OfferID(0); o >= 0; o = m.offers[o].newer {
		p := &m.offers[o]
		n++
		switch {
		case !p.live || p.id <= last:
			return broken("offers are out of order at %d", p.id)
		case m.offerIDs.get(uint64(p.id)) != o:
			return broken("offer %d is not found", p.id)
		case p.res.Negative():
			return broken("offer %d of %v", p.id, p.res)
		case m.config.OfferTimeout >= 0 && m.now-p.made >= m.config.OfferTimeout:
			return broken("offer %d is too old", p.id)
		case !m.agents[p.agent].live || m.agents[p.agent].away != 0:
			return broken("offer %d is of an agent that is away", p.id)
		case !m.fws[p.fw].live:
			return broken("offer %d is for a framework that is gone", p.id)
		}
		last = p.id
		if g := m.groupOf(p.group); g != nil {
			open[p.group.at]++
			if p.res != g.shape.Scale(int64(p.count)) && g.version == 1 {
				return broken("offer %d: %d times %v is not %v", p.id, p.count, g.shape, p.res)
			}
		}
		offered[p.fw] = offered[p.fw].Add(p.res)
	}
	if n != m.offerIDs.n {
		return broken("%d offers, %d in the table", n, m.offerIDs.n)
	}
	for f := range m.fws {
		if m.fws[f].offered != offered[f] {
			return broken("framework %d: offered %v, is %v", f, m.fws[f].offered, offered[f])
		}
	}
	for at := range m.groups {
		if g := &m.groups[at]; g.live && g.open != open[int32(at)] {
			return broken("group %d: %d open offers, is %d", g.id, g.open, open[int32(at)])
		}
	}
	return nil
}

func (m *Machine) checkTree() error {
	for at := range m.nodes {
		n := &m.nodes[at]
		if at > 0 && n.parent < 0 {
			continue
		}
		if n.parent >= 0 {
			p := &m.nodes[n.parent]
			if p.kids[n.pos] != int32(at) || p.keys[n.pos] != m.key(n) || n.depth != p.depth+1 {
				return broken("node %d: position, key or depth", at)
			}
		}
		if !n.isRole {
			fw := &m.fws[n.id]
			eff := uint64(0)
			for i := range fw.queues {
				if len(fw.queues[i].heap) > 0 {
					eff |= 1 << fw.queues[i].class
				}
			}
			if fw.sole >= 0 {
				if eff != 0 {
					return broken("framework %d: group %d is not the only one", n.id, fw.sole)
				}
				eff = 1 << m.groups[fw.sole].class
			}
			if fw.mask != eff {
				return broken("framework %d: mask %x, is %x", n.id, fw.mask, eff)
			}
			if fw.classic {
				eff |= classicBit
			}
			if fw.silent() || !fw.live {
				eff = 0
			}
			if got := m.nodes[n.parent].effs[n.pos]; got != eff {
				return broken("framework %d: demand %x, is %x", n.id, got, eff)
			}
			continue
		}
		var alloc resource.Vector
		var kids uint64
		var count [64]int32
		for i, kid := range n.kids {
			k := &m.nodes[kid]
			alloc = alloc.Add(k.alloc)
			kids |= n.effs[i]
			if n.busy[i>>6]>>(i&63)&1 != 0 != (n.effs[i] != 0) {
				return broken("role %d: child %d: demand %x is not shown", n.id, kid, n.effs[i])
			}
			for e := n.effs[i]; e != 0; e &= e - 1 {
				count[bits.TrailingZeros64(e)]++
			}
			if k.parent != int32(at) || int(k.pos) != i || i > 0 && m.compareIDs(&m.nodes[n.kids[i-1]], k) >= 0 {
				return broken("role %d: child %d", n.id, kid)
			}
		}
		limit := ^uint64(0)
		if n.limited {
			room := headroom(n)
			limit = m.classes.fit(&room)
		}
		switch {
		case alloc != n.alloc:
			return broken("role %d: holds %v, its children %v", n.id, n.alloc, alloc)
		case n.alloc.Negative():
			return broken("role %d: holds %v", n.id, n.alloc)
		case kids != n.kidsMask || count != *n.count:
			return broken("role %d: demand %x, is %x", n.id, n.kidsMask, kids)
		case limit != n.limitMask:
			return broken("role %d: below its limit fit %x, is %x", n.id, n.limitMask, limit)
		case !n.alloc.Within(n.limit) && !n.forced:
			return broken("role %d: holds %v, limit %v", n.id, n.alloc, n.limit)
		case n.parent >= 0 && m.nodes[n.parent].effs[n.pos] != limit&kids:
			return broken("role %d: shows %x, is %x", n.id, m.nodes[n.parent].effs[n.pos], limit&kids)
		}
	}
	return nil
}

func (m *Machine) checkGroups() error {
	waiting := make([]int64, len(m.fws))
	inHost, inRack := map[entry]HostID{}, map[[2]int32]bool{}
	for h, list := range m.hostWants {
		for _, e := range list {
			inHost[e] = HostID(h)
		}
	}
	for r := range m.racks {
		for _, e := range m.racks[r].wants {
			inRack[[2]int32{e.g, int32(r)}] = true
		}
	}
	hosts, racks := 0, 0
	for at := range m.groups {
		g := &m.groups[at]
		if !g.live {
			continue
		}
		fw := &m.fws[g.fw]
		waiting[g.fw] += max(g.left, 0)
		if fw.groups.get(uint64(g.id)) != int32(at) {
			return broken("group %d is not found", g.id)
		}
		if (fw.sole == int32(at)) && !g.queued {
			return broken("group %d: in the tree and not queued", g.id)
		}
		if g.queued && fw.sole != int32(at) {
			q := fw.queue(g.prio, g.class)
			if q == nil || int(g.qpos) >= len(q.heap) || q.heap[g.qpos].seq != g.seq || q.heap[g.qpos].g != int32(at) {
				return broken("group %d: not in its queue", g.id)
			}
			if n := int32(q.outranked - q.heap[g.qpos].mark); n < 0 {
				return broken("group %d: outranked %d times", g.id, n)
			}
		}
		if n := int32(m.passedBy[g.class] - g.passed); g.since >= 0 && n < 0 {
			return broken("group %d: passed by %d times", g.id, n)
		}
		places := 0
		for _, in := range []bool{g.queued, g.settled, g.asleep} {
			if in {
				places++
			}
		}
		if places > 1 || (g.left > 0) != (places == 1) {
			return broken("group %d: %d outstanding, queued %v, settled %v, asleep %v", g.id, g.left, g.queued, g.settled, g.asleep)
		}
		for i := range g.hosts {
			w := &g.hosts[i]
			if w.listed {
				hosts++
				if h, ok := inHost[entry{int32(at), int32(i), fw.node, g.class}]; !ok || h != w.host {
					return broken("group %d: not in the list of host %d", g.id, w.host)
				}
			}
			if want := g.left > 0 && w.left > 0 && !g.gang; w.listed && !want || want && !w.listed && !m.halted {
				return broken("group %d: host %d wants %d, listed %v", g.id, w.host, w.left, w.listed)
			}
		}
		for _, r := range g.listed {
			racks++
			if !inRack[[2]int32{int32(at), int32(r)}] {
				return broken("group %d: not in the list of rack %d", g.id, r)
			}
		}
		if g.settled && !g.strict && (g.timer < 0 || g.level == atAny) {
			return broken("group %d waits for ever", g.id)
		}
		var taken int64
		for _, h := range g.history {
			taken += int64(h.count)
		}
		if g.version == 1 && taken+g.left < 0 {
			return broken("group %d: %d taken, %d outstanding", g.id, taken, g.left)
		}
	}
	if hosts != len(inHost) || racks != len(inRack) {
		return broken("%d and %d entries in lists, %d and %d are right", len(inHost), len(inRack), hosts, racks)
	}
	for f := range m.fws {
		if m.fws[f].waiting != waiting[f] {
			return broken("framework %d: %d waiting, is %d", f, m.fws[f].waiting, waiting[f])
		}
	}
	return nil
}

func (m *Machine) checkTimers() error {
	groups := 0
	for i := range m.timers {
		t := &m.timers[i]
		if i > 0 && t.before(&m.timers[(i-1)/2]) {
			return broken("timer %d is out of order", i)
		}
		if t.filter >= 0 {
			if f := &m.filters[t.filter]; f.timer != int32(i) || m.filterIDs.get(f.key()) != t.filter {
				return broken("timer %d: filter", i)
			}
			continue
		}
		groups++
		if g := &m.groups[t.group]; g.timer != int32(i) || !g.live || g.deadline != t.at {
			return broken("timer %d: group", i)
		}
	}
	if len(m.timers)-groups != m.filterIDs.n {
		return broken("%d filters, %d timers of them", m.filterIDs.n, len(m.timers)-groups)
	}
	return nil
}

// checkReclaims holds the line of groups that wait, and who is asked for what.
func (m *Machine) checkReclaims() error {
	x := &m.reclaiming
	inLine, before := 0, none
	for at := x.oldest; at >= 0; before, at = at, m.groups[at].wait.next {
		g := &m.groups[at]
		if inLine++; !g.live || !g.wait.listed || g.wait.prev != before || g.left <= 0 || before >= 0 && m.groups[before].wait.at > g.wait.at {
			return broken("group %d in the line of those that wait", g.id)
		}
	}
	if x.newest != before {
		return broken("the line of groups that wait ends at %d, not %d", x.newest, before)
	}
	claims, asked := map[int32]uint8{}, map[int32]bool{}
	for i := range x.live {
		r := &x.live[i]
		if asked[r.fw] || !m.fws[r.fw].asked || !m.fws[r.fw].yields || !m.fws[r.fw].live {
			return broken("reclaim %d from framework %d", r.id, r.fw)
		}
		asked[r.fw] = true
		if m.groupOf(r.group) != nil {
			claims[r.group.at]++
		}
		if !m.halted && (r.deadline <= m.now || r.served >= r.asked) {
			return broken("reclaim %d is over: %d of %d, deadline %d", r.id, r.served, r.asked, r.deadline)
		}
	}
	for at := range m.groups {
		g := &m.groups[at]
		if g.wait.listed {
			inLine--
		}
		if g.claims != claims[int32(at)] || g.live && g.left > 0 && !g.wait.listed && !m.halted && m.config.ReclaimAfter >= 0 {
			return broken("group %d: %d reclaims, is %d; listed %v", g.id, g.claims, claims[int32(at)], g.wait.listed)
		}
	}
	if inLine != 0 {
		return broken("%d groups too many in the line of those that wait", inLine)
	}
	for at := range m.nodes {
		n := &m.nodes[at]
		if at > 0 && n.parent < 0 {
			continue
		}
		if !n.isRole {
			fw := &m.fws[n.id]
			if fw.giving != (fw.live && fw.yields && !fw.asked) || fw.asked != asked[int32(n.id)] {
				return broken("framework %d: can be asked %v, is asked %v", n.id, fw.giving, fw.asked)
			}
			continue
		}
		var wanting, giving int32
		for _, kid := range n.kids {
			k := &m.nodes[kid]
			if m.wants(kid) {
				wanting++
			}
			giving += k.giving
			if !k.isRole && m.fws[k.id].giving {
				giving++
			}
		}
		if wanting != n.wanting || giving != n.giving {
			return broken("role %d: %d children want and %d give, is %d and %d", n.id, n.wanting, n.giving, wanting, giving)
		}
	}
	return nil
}

// checkServed finds a group that could be served and was not: the pass leaves none.
func (m *Machine) checkServed() error {
	if m.halted {
		return nil
	}
	for at := range m.groups {
		g := &m.groups[at]
		if !g.live || g.left <= 0 || g.gang {
			continue
		}
		if ok, _ := m.allowed(g); !ok {
			continue
		}
		for id := range m.agents {
			if m.agents[id].live && m.whyNot(int32(at), none, AgentID(id)) == ReasonNone {
				return broken("group %d of framework %d waits though agent %d has room: locality %d, level %d, queued %v, hosts %v, racks %v",
					g.id, g.fw, id, m.locality(g, &m.agents[id]), g.level, g.queued, g.hosts, g.racks)
			}
		}
	}
	return nil
}
