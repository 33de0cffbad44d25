package allocator

import (
	"math"
	"sort"

	"fairway/broker/resource"
)

// offer is resources held for a framework until it answers.
type offer struct {
	live     bool
	locality Locality
	agent    AgentID
	fw       int32
	group    groupRef // at is none: classic
	count    uint32
	host     HostID // wanted host of a node-local offer
	id       OfferID
	made     int64
	pass     uint64
	action   int32 // in Machine.actions, during its pass
	older    int32 // by age, of all offers
	newer    int32
	prev     int32 // of its agent, newer ones
	next     int32
	res      resource.Vector
}

// grant offers one task's shape of an agent to a group, in the offer of this pass if there is one.
func (m *Machine) grant(at int32, id AgentID, loc Locality) {
	g := &m.groups[at]
	a := &m.agents[id]
	fw := &m.fws[g.fw]
	var host HostID
	if loc == Node {
		host = a.host
	}
	o := none
	for i := a.offers; i >= 0 && m.offers[i].pass == m.pass; i = m.offers[i].next {
		if p := &m.offers[i]; p.group.at == at && p.locality == loc {
			o = i
			break
		}
	}
	if o < 0 {
		o = m.newOffer(id, g.fw)
		p := &m.offers[o]
		p.group, p.locality, p.host = groupRef{at, g.gen}, loc, host
		g.open++
		m.actions = append(m.actions, Action{
			Kind: MakeOffer, Locality: loc, Agent: id, Framework: FrameworkID(g.fw), Host: host, Offer: p.id,
			Group: g.id, Version: g.version,
		})
		p.action = int32(len(m.actions) - 1)
		g.history = append(g.history, given{offer: p.id, host: host, rack: a.rack})
	}
	if fw.ranked && fw.sole != at {
		if fit := m.fits[id].now; fw.mask&fit != 0 {
			m.outrank(fw, at, fit)
		}
	}
	p := &m.offers[o]
	p.count++
	act := &m.actions[p.action]
	act.Count++
	add(&p.res, &g.shape)
	add(&act.Resources, &g.shape)
	add(&fw.offered, &g.shape)
	sub(&a.free, &g.shape)
	m.charge(fw.node, &g.shape, 1)
	m.refit(id)
	m.given(g, p.id).count++
	m.countPlace(at, host, a.rack, -1)
	g.blocked = 0
	m.unreserve(at)
	if g.claims > 0 {
		m.claimServed(at)
	}
	m.setLeft(g, g.left-1)
	if g.gang {
		m.setMissing(g, int64(g.missing)-1)
	}
	switch {
	case g.left <= 0:
		m.unindex(at)
	case loc == Node && g.settled && !g.strict && g.level == atNode && g.wantOf(host).left <= 0 && !m.someHost(at):
		m.consider(at) // nothing is left to wait for
	}
}

// grantClassic offers all that is free of an agent to a classic framework, merged with what it is offered there
// already. It is false if a limit leaves too little to be worth an offer.
func (m *Machine) grantClassic(f int32, id AgentID) bool {
	res := m.classicRoom(f, id)
	if least := &m.config.MinOffer; res[resource.CPU] < least[resource.CPU] && res[resource.Memory] < least[resource.Memory] {
		return false
	}
	for i := m.agents[id].offers; i >= 0; i = m.offers[i].next {
		if p := &m.offers[i]; p.fw == f && p.group.at < 0 {
			m.end(i, OfferRescinded)
			res = m.classicRoom(f, id)
			break
		}
	}
	fw := &m.fws[f]
	o := m.newOffer(id, f)
	p := &m.offers[o]
	p.group.at, p.res = none, res
	m.actions = append(m.actions, Action{
		Kind: MakeOffer, Agent: id, Framework: FrameworkID(f), Offer: p.id, Resources: res, Host: m.agents[id].host,
	})
	p.action = int32(len(m.actions) - 1)
	a := &m.agents[id]
	add(&fw.offered, &res)
	sub(&a.free, &res)
	m.charge(fw.node, &res, 1)
	m.refit(id)
	return true
}

// classicRoom is what is free of an agent within the limits on a framework's path.
func (m *Machine) classicRoom(f int32, id AgentID) resource.Vector {
	res := m.agents[id].free.Floor()
	for at := m.nodes[m.fws[f].node].parent; at >= 0; at = m.nodes[at].parent {
		if n := &m.nodes[at]; n.limited {
			res = res.Min(headroom(n).Floor())
		}
	}
	return res
}

func (m *Machine) newOffer(id AgentID, f int32) int32 {
	var o int32
	if k := len(m.freeOffers); k > 0 {
		o = m.freeOffers[k-1]
		m.freeOffers = m.freeOffers[:k-1]
	} else {
		o = int32(len(m.offers))
		m.offers = append(m.offers, offer{})
	}
	a := &m.agents[id]
	m.offers[o] = offer{
		live: true, agent: id, fw: f, id: m.nextOffer, made: m.now, pass: m.pass, group: groupRef{at: none},
		older: m.newest, newer: none, prev: none, next: a.offers,
	}
	m.nextOffer++
	if a.offers >= 0 {
		m.offers[a.offers].prev = o
	}
	a.offers = o
	if m.newest >= 0 {
		m.offers[m.newest].newer = o
	} else {
		m.oldest = o
	}
	m.newest = o
	m.offerIDs.put(uint64(m.offers[o].id), o)
	m.fws[f].offers++
	return o
}

// dropOffer unlinks an answered offer; its resources have been dealt with.
func (m *Machine) dropOffer(o int32) {
	p := &m.offers[o]
	if p.prev >= 0 {
		m.offers[p.prev].next = p.next
	} else {
		m.agents[p.agent].offers = p.next
	}
	if p.next >= 0 {
		m.offers[p.next].prev = p.prev
	}
	if p.newer >= 0 {
		m.offers[p.newer].older = p.older
	} else {
		m.newest = p.older
	}
	if p.older >= 0 {
		m.offers[p.older].newer = p.newer
	} else {
		m.oldest = p.newer
	}
	m.offerIDs.del(uint64(p.id))
	m.fws[p.fw].offers--
	if g := m.groupOf(p.group); g != nil {
		g.open--
	}
	p.live = false
	m.freeOffers = append(m.freeOffers, o)
}

// unused gives the part of an offer that no task takes back to its agent and its group.
func (m *Machine) unused(o int32, rest *resource.Vector, count uint32) {
	p := &m.offers[o]
	if !isZero(rest) {
		a := &m.agents[p.agent]
		add(&a.free, rest)
		m.charge(m.fws[p.fw].node, rest, -1)
		m.refit(p.agent)
		m.touch(p.agent)
	}
	if g := m.groupOf(p.group); g != nil && count > 0 {
		rack := m.agents[p.agent].rack
		if gv := m.given(g, p.id); gv != nil {
			gv.count -= int32(count)
			rack = gv.rack
		}
		m.countPlace(p.group.at, p.host, rack, int32(count))
		m.setLeft(g, g.left+int64(count))
		if g.minimum > 0 {
			m.regather(p.group.at)
		}
		m.consider(p.group.at)
	}
}

// giveBack ends an offer of which nothing is used.
func (m *Machine) giveBack(o int32) {
	p := &m.offers[o]
	rest, fw := p.res, &m.fws[p.fw]
	sub(&fw.offered, &rest)
	m.unused(o, &rest, p.count)
	m.dropOffer(o)
}

// end takes an offer back by the machine's own decision.
func (m *Machine) end(o int32, why Reason) {
	p := &m.offers[o]
	act := Action{Kind: RescindOffer, Reason: why, Agent: p.agent, Framework: FrameworkID(p.fw), Offer: p.id, Resources: p.res, Count: p.count}
	if g := m.groupOf(p.group); g != nil {
		act.Group, act.Version = g.id, g.version
		g.refused[why]++
	}
	m.actions = append(m.actions, act)
	m.giveBack(o)
}

func (m *Machine) groupOf(r groupRef) *group {
	if r.at < 0 {
		return nil
	}
	if g := &m.groups[r.at]; g.live && g.gen == r.gen {
		return g
	}
	return nil
}

// given finds what a group remembers of an offer; nil after the framework has said that it has seen it.
func (m *Machine) given(g *group, id OfferID) *given {
	n := len(g.history)
	if n > 0 && g.history[n-1].offer == id {
		return &g.history[n-1]
	}
	i := sort.Search(n, func(i int) bool { return g.history[i].offer >= id })
	if i < n && g.history[i].offer == id {
		return &g.history[i]
	}
	return nil
}

// expire takes offers back that nobody answered.
func (m *Machine) expire() {
	if m.config.OfferTimeout < 0 {
		return
	}
	for m.oldest >= 0 && m.offers[m.oldest].made <= m.now-m.config.OfferTimeout {
		o := m.oldest
		m.filterOffer(o, &m.offers[o].res, 0)
		m.end(o, OfferTimeout)
	}
}

func (m *Machine) offerDeadline() int64 {
	if m.config.OfferTimeout < 0 || m.oldest < 0 {
		return math.MaxInt64
	}
	return m.offers[m.oldest].made + m.config.OfferTimeout
}
