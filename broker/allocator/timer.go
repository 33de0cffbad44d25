package allocator

import "fairway/broker/resource"

// timer is a deadline of a group's locality wait (filter < 0) or of a filter.
type timer struct {
	at     int64
	seq    uint64
	group  int32
	filter int32
}

func (t *timer) before(u *timer) bool { return t.at < u.at || t.at == u.at && t.seq < u.seq }

func (m *Machine) pushTimer(t timer) {
	m.timerSeq++
	t.seq = m.timerSeq
	m.timers = append(m.timers, t)
	m.timerUp(len(m.timers) - 1)
}

func (m *Machine) dropTimer(i int) {
	last := len(m.timers) - 1
	m.placed(i, none)
	m.timers[i] = m.timers[last]
	m.timers = m.timers[:last]
	if i < last {
		m.placed(i, int32(i))
		m.timerDown(i)
		m.timerUp(i)
	}
}

// placed tells the owner of timer i where it is.
func (m *Machine) placed(i int, pos int32) {
	if t := &m.timers[i]; t.filter >= 0 {
		m.filters[t.filter].timer = pos
	} else {
		m.groups[t.group].timer = pos
	}
}

func (m *Machine) timerUp(i int) {
	e := m.timers[i]
	for i > 0 {
		p := (i - 1) / 2
		if m.timers[p].before(&e) {
			break
		}
		m.timers[i] = m.timers[p]
		m.placed(i, int32(i))
		i = p
	}
	m.timers[i] = e
	m.placed(i, int32(i))
}

func (m *Machine) timerDown(i int) {
	e := m.timers[i]
	for {
		c := 2*i + 1
		if c >= len(m.timers) {
			break
		}
		if c+1 < len(m.timers) && m.timers[c+1].before(&m.timers[c]) {
			c++
		}
		if e.before(&m.timers[c]) {
			break
		}
		m.timers[i] = m.timers[c]
		m.placed(i, int32(i))
		i = c
	}
	m.timers[i] = e
	m.placed(i, int32(i))
}

// startTimer begins a group's wait, or goes on with it.
func (m *Machine) startTimer(at int32, wait int64) {
	m.stopTimer(at)
	g := &m.groups[at]
	if g.deadline == 0 {
		g.deadline = m.now + wait
	}
	m.pushTimer(timer{at: g.deadline, group: at, filter: none})
}

func (m *Machine) stopTimer(at int32) {
	if i := m.groups[at].timer; i >= 0 {
		m.dropTimer(int(i))
	}
}

// fire handles all deadlines that have passed.
func (m *Machine) fire() {
	for len(m.timers) > 0 && m.timers[0].at <= m.now {
		t := m.timers[0]
		m.dropTimer(0)
		if t.filter >= 0 {
			agent := m.filters[t.filter].agent
			m.dropFilter(t.filter)
			m.touch(agent)
			continue
		}
		m.groups[t.group].level++
		m.groups[t.group].deadline = 0
		m.consider(t.group)
	}
}

// filter keeps an agent from being offered to a group or a classic framework that has declined it.
type filter struct {
	fw    int32 // of a classic framework, else none
	group int32 // of a group, else none
	agent AgentID
	gen   uint32 // of the agent
	timer int32
	prev  int32 // of the same owner
	next  int32
	res   resource.Vector
}

func groupKey(at int32, id AgentID) uint64   { return uint64(at)<<32 | uint64(id) }
func classicKey(fw int32, id AgentID) uint64 { return 1<<63 | uint64(fw)<<32 | uint64(id) }

// filterOffer sets the filter that the refusal of res, part or all of an offer, asks for.
func (m *Machine) filterOffer(o int32, res *resource.Vector, wait int64) {
	if wait == 0 {
		wait = m.config.Filter
	}
	if wait < 0 {
		return
	}
	p := &m.offers[o]
	f := filter{fw: none, group: none, agent: p.agent, gen: m.agents[p.agent].gen, timer: none}
	var key uint64
	var head *int32
	if g := m.groupOf(p.group); g != nil {
		f.group, key, head = p.group.at, groupKey(p.group.at, p.agent), &g.filters
	} else if p.group.at < 0 {
		f.fw, f.res = p.fw, *res
		key, head = classicKey(p.fw, p.agent), &m.fws[p.fw].filters
	} else {
		return
	}
	if old := m.filterIDs.get(key); old >= 0 {
		m.dropFilter(old)
	}
	var at int32
	if k := len(m.freeFilters); k > 0 {
		at = m.freeFilters[k-1]
		m.freeFilters = m.freeFilters[:k-1]
	} else {
		at = int32(len(m.filters))
		m.filters = append(m.filters, filter{})
	}
	f.prev, f.next = none, *head
	if *head >= 0 {
		m.filters[*head].prev = at
	}
	*head = at
	m.filters[at] = f
	m.filterIDs.put(key, at)
	m.pushTimer(timer{at: m.now + wait, group: none, filter: at})
}

func (f *filter) key() uint64 {
	if f.group >= 0 {
		return groupKey(f.group, f.agent)
	}
	return classicKey(f.fw, f.agent)
}

func (m *Machine) dropFilter(at int32) {
	f := &m.filters[at]
	if f.timer >= 0 {
		m.dropTimer(int(f.timer))
	}
	switch {
	case f.prev >= 0:
		m.filters[f.prev].next = f.next
	case f.group >= 0:
		m.groups[f.group].filters = f.next
	default:
		m.fws[f.fw].filters = f.next
	}
	if f.next >= 0 {
		m.filters[f.next].prev = f.prev
	}
	m.filterIDs.del(f.key())
	m.freeFilters = append(m.freeFilters, at)
}

func (m *Machine) clearFilters(head *int32) {
	for *head >= 0 {
		m.touch(m.filters[*head].agent)
		m.dropFilter(*head)
	}
}

// filtered says whether a group has declined an agent not long ago.
func (m *Machine) filtered(at int32, id AgentID) bool {
	if m.groups[at].filters < 0 {
		return false
	}
	f := m.filterIDs.get(groupKey(at, id))
	return f >= 0 && m.filters[f].gen == m.agents[id].gen
}

// filteredClassic says whether a classic framework has declined as much of an agent as is free now.
func (m *Machine) filteredClassic(fw int32, id AgentID) bool {
	if m.fws[fw].filters < 0 {
		return false
	}
	f := m.filterIDs.get(classicKey(fw, id))
	return f >= 0 && m.filters[f].gen == m.agents[id].gen && m.agents[id].free.Fits(m.filters[f].res)
}
