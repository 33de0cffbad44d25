package coordinator

import (
	"container/heap"
	"slices"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/locality"
	"fairway/frameworks/mapreduce/spec"
)

// slowStartProperty holds back reduces until that share of the maps is done.
const slowStartProperty = "mapreduce.job.reduce.slowstart.completedmaps"

// want makes a task wait for a place, unless it does already.
func (m *Machine) want(t *task) {
	if t.waiting || t.done || m.phase != running {
		return
	}
	t.waiting, t.since = true, m.now
	if len(t.bad) > 0 && len(m.solos) < maxSolos {
		t.solo = m.addSolo(t, t.bad, false)
		return
	}
	m.wantPlain(t)
}

// wantPlain makes a waiting task wait without conditions.
func (m *Machine) wantPlain(t *task) {
	t.solo = 0
	if t.kind == spec.Reduce {
		m.waitingReduces.push(t.index)
		m.dirty[reduceGroup] = true
		return
	}
	item := locality.Item{ID: t.index}
	if !m.job.NoLocality {
		item.Places = places(t.split)
	}
	m.waitingMaps.Add(item)
	m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
}

// unwant ends a task's wait.
func (m *Machine) unwant(t *task) {
	if !t.waiting {
		return
	}
	t.waiting = false
	switch {
	case t.solo != 0:
		m.dropSolo(t.solo)
		t.solo = 0
	case t.kind == spec.Reduce:
		m.waitingReduces.remove(t.index)
	default:
		m.waitingMaps.Remove(t.index)
	}
	m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
}

func (m *Machine) addSolo(t *task, exclude []string, isCopy bool) uint64 {
	s := &solo{id: m.nextSolo, task: t, exclude: slices.Clone(exclude), copyOnly: isCopy, until: m.now + m.relaxFor(exclude)}
	m.nextSolo++
	m.solos[s.id] = s
	m.dirty[s.id] = true
	return s.id
}

func (m *Machine) dropSolo(id uint64) {
	if s := m.solos[id]; s != nil {
		delete(m.solos, id)
		m.dirty[id] = true
		m.dirty[reduceGroup] = true
	}
}

// relaxFor is how long to insist on other agents than these: shortly if none is known, as there may be no other.
func (m *Machine) relaxFor(exclude []string) int64 {
	for id, a := range m.agents {
		if !a.lost && !slices.Contains(exclude, id) {
			return int64(m.tuning.Relax)
		}
	}
	return int64(m.tuning.Relax) / 8
}

// relax drops conditions that were held long enough.
func (m *Machine) relax() {
	for _, id := range m.soloIDs() {
		s := m.solos[id]
		if s.copyOnly || s.until > m.now {
			continue
		}
		m.dropSolo(id)
		m.wantPlain(s.task)
	}
}

func (m *Machine) soloIDs() []uint64 {
	ids := make([]uint64, 0, len(m.solos))
	for id := range m.solos {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// dropWaits ends all waiting.
func (m *Machine) dropWaits() {
	for _, t := range slices.Concat(m.maps, m.reduces) {
		m.unwant(t)
		m.cancelCopy(t)
	}
}

func (m *Machine) cancelCopy(t *task) {
	if t.copying != 0 {
		m.dropSolo(t.copying)
		t.copying = 0
	}
}

// mapsWaiting is the number of maps that wait for a place, copies left out.
func (m *Machine) mapsWaiting() int {
	n := m.waitingMaps.Waiting()
	for _, s := range m.solos {
		if s.task.kind == spec.Map && !s.copyOnly {
			n++
		}
	}
	return n
}

// askReduces reports whether reduces may be asked for: only when no map waits, as a reduce that waits for maps would
// hold the place that a map needs.
func (m *Machine) askReduces() bool {
	return m.mapsWaiting() == 0 && float64(m.mapsDone) >= m.tuning.SlowStart*float64(len(m.maps))
}

// stateAll has every group stated again.
func (m *Machine) stateAll() {
	clear(m.stated)
	m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
	for id := range m.solos {
		m.dirty[id] = true
	}
}

// state says what is wanted of the groups that changed.
func (m *Machine) state() {
	if len(m.dirty) == 0 || m.sequence == 0 {
		return
	}
	if m.dirty[reduceGroup] {
		for id, s := range m.solos {
			if s.task.kind == spec.Reduce {
				m.dirty[id] = true
			}
		}
	}
	ids := make([]uint64, 0, len(m.dirty))
	for id := range m.dirty {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	clear(m.dirty)
	avoided := m.avoided()
	for _, id := range ids {
		g := m.group(id, avoided)
		old, known := m.stated[id]
		switch {
		case g.Total == 0 && !known:
			continue
		case g.Total == 0:
			delete(m.stated, id)
		default:
			print := fingerprint(g)
			if print == old {
				continue
			}
			m.stated[id] = print
		}
		m.act(Request{Group: g})
	}
}

// fingerprint tells statements of one group apart (FNV-1a); never 0. Shape and priority of a group do not change.
func fingerprint(g *v1.RequestGroup) uint64 {
	h := uint64(14695981039346656037)
	number := func(n uint64) {
		for range 4 {
			h = (h ^ n&0xff) * 1099511628211
			n >>= 8
		}
	}
	text := func(s string) {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	number(uint64(g.Total))
	for _, w := range g.Hosts {
		text(w.Host)
		number(uint64(w.Count))
	}
	for _, a := range g.ExcludedAgents {
		text(a)
	}
	return max(h, 1)
}

func (m *Machine) group(id uint64, avoided []string) *v1.RequestGroup {
	g := &v1.RequestGroup{Id: id, ExcludedAgents: avoided}
	switch id {
	case mapGroup:
		g.Shape, g.Priority = m.mapSize, mapPriority
		g.Total = uint32(m.waitingMaps.Waiting())
		g.Hosts = m.waitingMaps.Wants()
	case reduceGroup:
		g.Shape, g.Priority = m.redSize, reducePriority
		if m.askReduces() {
			g.Total = uint32(len(m.waitingReduces))
		}
	default:
		s := m.solos[id]
		if s == nil {
			break
		}
		g.Total, g.Priority = 1, repeatPriority
		g.Shape = m.redSize
		if s.task.kind == spec.Map {
			g.Shape = m.mapSize
			if !m.job.NoLocality {
				g.Hosts = m.data.Of(s.task.index)
			}
		} else {
			g.Priority = reducePriority
			if !s.copyOnly && m.mapsWaiting() > 0 {
				g.Total = 0 // stated when no map waits
			}
		}
		if s.copyOnly {
			g.Priority = copyPriority
		}
		g.ExcludedAgents = slices.Clone(s.exclude)
		for _, a := range avoided {
			if !slices.Contains(g.ExcludedAgents, a) {
				g.ExcludedAgents = append(g.ExcludedAgents, a)
			}
		}
	}
	return g
}

// avoided are the agents where too many tasks failed, unless they are more than a third of those that are there: then
// the fault is likely the job's.
func (m *Machine) avoided() []string {
	var ids []string
	there := 0
	for id, a := range m.agents {
		if a.lost {
			continue
		}
		there++
		if len(a.faults) >= m.tuning.AgentFaults {
			ids = append(ids, id)
		}
	}
	if 3*len(ids) > there {
		return nil
	}
	slices.Sort(ids)
	return ids
}

// offer uses an offer, or gives it back.
func (m *Machine) offer(o *v1.Offer) {
	if _, known := m.stated[o.Group]; known {
		m.stated[o.Group] = 0
	}
	ag := m.agent(o.AgentId, o.Host)
	if ag.lost {
		m.agentBack(o.AgentId)
	}
	if m.phase != running {
		m.act(Decline{Offer: o.Id})
		return
	}
	if slices.Contains(m.avoided(), o.AgentId) {
		m.act(Decline{Offer: o.Id, Filter: true})
		return
	}
	l := Launch{Offer: o.Id}
	for range max(o.Count, 1) {
		t, isCopy := m.pick(o)
		if t == nil {
			break
		}
		l.Attempts = append(l.Attempts, m.launch(t, o, isCopy))
	}
	if len(l.Attempts) == 0 {
		s := m.solos[o.Group]
		m.act(Decline{Offer: o.Id, Filter: s != nil && slices.Contains(s.exclude, o.AgentId)})
		return
	}
	m.act(l)
}

// pick chooses the task for one place of an offer and ends its wait.
func (m *Machine) pick(o *v1.Offer) (t *task, isCopy bool) {
	switch o.Group {
	case mapGroup:
		if id, _, ok := m.waitingMaps.Pick(offerHost(o)); ok {
			t = m.maps[id]
			t.waiting = false
			m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
		}
	case reduceGroup:
		if len(m.waitingReduces) > 0 && m.mapsWaiting() == 0 {
			t = m.reduces[m.waitingReduces.pop()]
			t.waiting = false
			m.dirty[reduceGroup] = true
		}
	default:
		s := m.solos[o.Group]
		switch {
		case s == nil || slices.Contains(s.exclude, o.AgentId):
		case s.copyOnly:
			t, isCopy = s.task, true
			m.cancelCopy(t)
		case s.task.kind == spec.Reduce && m.mapsWaiting() > 0:
		default:
			t = s.task
			m.unwant(t)
		}
	}
	return t, isCopy
}

// launch makes an attempt.
func (m *Machine) launch(t *task, o *v1.Offer, isCopy bool) Launched {
	a := &attempt{task: t, sequence: m.sequence, number: m.base + t.tried, agent: o.AgentId, host: o.Host,
		dataAddress: o.DataAddress, copy: isCopy, launched: m.now}
	m.sequence++
	t.tried++
	t.live = append(t.live, a)
	m.attempts[a.sequence] = a
	shape := m.redSize
	if t.kind == spec.Map {
		shape = m.mapSize
		a.level = m.data.Level(t.index, offerHost(o))
	}
	m.counts.launched(a)
	return Launched{Sequence: a.sequence, Kind: t.kind, Index: t.index, Attempt: a.number, Shape: shape, Level: a.level}
}

func (m *Machine) agent(id, host string) *agent {
	a := m.agents[id]
	if a == nil {
		a = &agent{host: host, faults: make(map[*task]bool)}
		m.agents[id] = a
	}
	if a.host == "" {
		a.host = host
	}
	return a
}

// intQueue is a min-heap of task numbers.
type intQueue []int

func (q *intQueue) push(v int) { heap.Push((*intHeap)(q), v) }
func (q *intQueue) pop() int   { return heap.Pop((*intHeap)(q)).(int) }
func (q *intQueue) remove(v int) {
	if i := slices.Index(*q, v); i >= 0 {
		heap.Remove((*intHeap)(q), i)
	}
}

type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *intHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *intHeap) Pop() any {
	old := *h
	v := old[len(old)-1]
	*h = old[:len(old)-1]
	return v
}

// requestRefused fails the job if nothing of its kind ever ran; later it may be that the agents that could serve it are
// away, and the request stands until they are back.
func (m *Machine) requestRefused(e RequestRefused) {
	switch {
	case e.Group == mapGroup && m.counts.launchedMaps == 0:
		m.fail("the broker refused the maps: " + e.Message)
	case e.Group == reduceGroup && m.counts.launchedReduces == 0:
		m.fail("the broker refused the reduces: " + e.Message)
	}
}
