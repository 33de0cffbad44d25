package allocator

import (
	"fmt"
	"slices"
)

func (m *Machine) requestSet(e *Event) error {
	fw, err := m.frameworkOf(e.Framework)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	r := e.Request
	if r == nil {
		return fmt.Errorf("request of framework %d: missing: %w", e.Framework, ErrInvalid)
	}
	if err := checkRequest(r); err != nil {
		return fmt.Errorf("request %d of framework %d: %w", r.Group, e.Framework, err)
	}
	at := fw.groups.get(uint64(r.Group))
	if at < 0 {
		at = m.addGroup(e.Framework, r)
	} else if g := &m.groups[at]; r.Version <= g.version {
		return fmt.Errorf("request %d of framework %d: version %d after %d: %w", r.Group, e.Framework, r.Version, g.version, ErrStale)
	} else if g.shape != r.Shape || g.prio != r.Priority {
		m.reshape(at, r)
	}
	if fw.groups.n == 1 {
		fw.prio, fw.ranked = r.Priority, false
	}
	fw.ranked = fw.ranked || r.Priority != fw.prio
	g := &m.groups[at]
	g.version, g.strict = r.Version, r.Strict
	g.nodeWait, g.rackWait = r.NodeWait, r.RackWait
	setDefault(&g.nodeWait, m.config.NodeWait)
	setDefault(&g.rackWait, m.config.RackWait)
	if g.left <= 0 {
		g.level = atNode // what it wants now is new
	}
	m.unlistRacks(at)
	m.unlistHosts(at)
	g.hosts, g.racks, g.cursor = g.hosts[:0], g.racks[:0], 0
	for _, h := range r.Hosts {
		if h.Count > 0 && h.Host != 0 {
			m.hostList(h.Host)
			g.hosts = append(g.hosts, want{host: h.Host, rack: h.Rack, left: int32(h.Count)})
		}
	}
	for _, rk := range r.Racks {
		if rk.Rack != 0 {
			g.racks = append(g.racks, rackWant{rk.Rack, int32(rk.Count)})
		}
	}
	g.excluded = append(g.excluded[:0], r.Excluded...)
	slices.Sort(g.excluded)

	// Offers that the framework had not seen count against the totals that it states.
	left := int64(r.Total)
	kept := g.history[:0]
	for _, gv := range g.history {
		if gv.offer <= r.LastOffer {
			continue
		}
		left -= int64(gv.count)
		m.countPlace(at, gv.host, gv.rack, -gv.count)
		kept = append(kept, gv)
	}
	g.history = kept
	m.setLeft(g, left)
	if g.minimum = int32(r.Minimum); g.minimum > 0 || g.gang {
		m.regather(at)
	}
	m.consider(at)
	return nil
}

func checkRequest(r *Request) error {
	if err := checkAmount(&r.Shape); err != nil {
		return err
	}
	if isZero(&r.Shape) {
		return fmt.Errorf("a shape of nothing: %w", ErrInvalid)
	}
	if r.Total > maxCount {
		return fmt.Errorf("%d tasks: %w", r.Total, ErrInvalid)
	}
	if r.Minimum > r.Total {
		return fmt.Errorf("%d tasks at once, of %d in all: %w", r.Minimum, r.Total, ErrInvalid)
	}
	for _, h := range r.Hosts {
		if h.Host >= maxHostID || h.Rack >= maxID || h.Count > maxCount {
			return fmt.Errorf("wanted host %d: %w", h.Host, ErrInvalid)
		}
	}
	for _, rk := range r.Racks {
		if rk.Rack >= maxID || rk.Count > maxCount {
			return fmt.Errorf("wanted rack %d: %w", rk.Rack, ErrInvalid)
		}
	}
	return nil
}

func (m *Machine) addGroup(f FrameworkID, r *Request) int32 {
	at := m.newGroup()
	g := &m.groups[at]
	m.groupSeq++
	g.live, g.fw, g.id, g.prio, g.shape, g.seq = true, int32(f), r.Group, r.Priority, r.Shape, m.groupSeq
	g.timer, g.kept, g.filters, g.since = none, none, none, -1
	m.classify(at)
	m.fws[f].groups.put(uint64(r.Group), at)
	return at
}

// reshape gives a group another shape or priority; it keeps its age.
func (m *Machine) reshape(at int32, r *Request) {
	m.unindex(at)
	g := &m.groups[at]
	m.classes.release(g.class)
	g.shape, g.prio = r.Shape, r.Priority
	m.clearFilters(&g.filters)
	m.classify(at)
}

// classify finds the class of a group's shape. A shape that is new to the machine is looked for on all agents once.
func (m *Machine) classify(at int32) {
	class, changed := m.classes.acquire(m.groups[at].shape)
	m.groups[at].class = class
	if !changed {
		return
	}
	m.refitAll()
	for i := range m.nodes {
		if m.nodes[i].isRole && m.nodes[i].limited {
			m.relimit(int32(i))
		}
	}
}

func (m *Machine) requestRemove(e *Event) error {
	fw, err := m.frameworkOf(e.Framework)
	if err != nil {
		return fmt.Errorf("remove request: %w", err)
	}
	at := fw.groups.get(uint64(e.Group))
	if at < 0 {
		return fmt.Errorf("remove request %d of framework %d: %w", e.Group, e.Framework, ErrUnknown)
	}
	g := &m.groups[at]
	for i := len(g.history) - 1; i >= 0; i-- {
		if o := m.offerIDs.get(uint64(g.history[i].offer)); o >= 0 {
			m.end(o, OfferRescinded)
		}
	}
	// Offers that an update has acknowledged are no longer in the history.
	for o := m.oldest; o >= 0 && g.open > 0; {
		newer := m.offers[o].newer
		if m.groupOf(m.offers[o].group) == g {
			m.end(o, OfferRescinded)
		}
		o = newer
	}
	m.forget(at)
	return nil
}

func (m *Machine) accept(e *Event) error {
	o := m.offerIDs.get(uint64(e.Offer))
	if o < 0 {
		return fmt.Errorf("accept offer %d: %w", e.Offer, ErrUnknown)
	}
	p := &m.offers[o]
	if err := checkAmount(&e.Resources); err != nil {
		return fmt.Errorf("accept offer %d: %w", e.Offer, err)
	}
	if !fits(&e.Resources, &p.res) {
		return fmt.Errorf("accept offer %d: its %s cannot hold %s: %w", e.Offer, p.res, e.Resources, ErrTooLarge)
	}
	if p.group.at >= 0 && e.Count > p.count {
		return fmt.Errorf("accept offer %d: %d tasks of %d: %w", e.Offer, e.Count, p.count, ErrTooLarge)
	}
	fw := &m.fws[p.fw]
	sub(&fw.offered, &p.res)
	if !isZero(&e.Resources) {
		m.holdings.add(holdKey(p.agent, uint32(p.fw)), &e.Resources)
	}
	rest, back := p.res, uint32(0)
	sub(&rest, &e.Resources)
	if p.group.at >= 0 {
		back = p.count - e.Count
	}
	if back > 0 || p.group.at < 0 && !isZero(&rest) {
		m.filterOffer(o, &rest, e.Filter)
	}
	if g := m.groupOf(p.group); g != nil && e.Count > 0 {
		m.launched(p.group.at, p.locality)
	}
	m.unused(o, &rest, back)
	m.dropOffer(o)
	return nil
}

// launched resets the locality wait of a group: after a local launch it is worth waiting for the next.
func (m *Machine) launched(at int32, loc Locality) {
	g := &m.groups[at]
	var to level
	switch {
	case g.claims > 0:
		return // what is given back for it is not left to others while it waits for a better place
	case loc == Node:
		to = atNode
	case loc == Rack && g.level == atAny:
		to = atRack
	case loc == Rack && g.level == atRack:
		to = atRack
	default:
		return
	}
	g.level, g.deadline = to, 0
	if g.left <= 0 || g.strict {
		return
	}
	// Its places are full as far as it knows: what frees there has found it in their lists.
	search := g.queued && m.searches(g)
	m.stopTimer(at)
	m.unlistRacks(at)
	g.settled = false
	m.enqueue(at)
	g.search, g.sure = search, m.pass
	if g.gang {
		m.refresh(at)
	}
}

func (m *Machine) decline(e *Event) error {
	o := m.offerIDs.get(uint64(e.Offer))
	if o < 0 {
		return fmt.Errorf("decline offer %d: %w", e.Offer, ErrUnknown)
	}
	m.filterOffer(o, &m.offers[o].res, e.Filter)
	if g := m.groupOf(m.offers[o].group); g != nil {
		g.refused[Filtered]++
	}
	m.giveBack(o)
	return nil
}
