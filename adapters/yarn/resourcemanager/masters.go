package resourcemanager

import (
	"slices"
	"sync"
	"time"
)

// masters holds how much of each queue its masters may take, so that a cluster is never full of masters that wait for
// containers: a part of the queue's share, and one at least. Applications wait in the order of their priority, and then in
// that of their coming.
type masters struct {
	mu     sync.Mutex // taken after an application's, never before
	queues map[string]*masterQueue
}

type masterQueue struct {
	used    amount
	running map[*application]amount
	waiting []waitingMaster
}

type waitingMaster struct {
	app      *application
	shape    amount
	priority int32
	since    time.Time
}

func (x *masters) queue(path string) *masterQueue {
	q := x.queues[path]
	if q == nil {
		q = &masterQueue{running: map[*application]amount{}}
		x.queues[path] = q
	}
	return q
}

// hasRoom tells whether one more master stays within the share. Of a cluster that is not known yet the share is nothing:
// all that wait would be let in, and fill the first agents that come.
func (q *masterQueue) hasRoom(m *Manager, path string, shape amount) bool {
	if len(q.running) == 0 {
		return true
	}
	s := m.cluster()
	return s.total != (amount{}) && dominant(q.used.plus(shape), s.total) <= m.masterShare(s, path)+1e-9
}

// masterShare is the part of the cluster that the masters of a queue may take.
func (m *Manager) masterShare(s *snapshot, path string) float64 {
	share := 1.0
	if r := s.role(path); r != nil {
		share = r.absolute
	}
	return m.o.MasterShare * share
}

// want says whether the application's master may be asked for now; if not, the application is poked when it may. With the
// application's mu held.
func (x *masters) want(m *Manager, a *application) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	q := x.queue(a.queue.role)
	if _, ok := q.running[a]; ok {
		return true
	}
	if len(q.waiting) == 0 && q.hasRoom(m, a.queue.role, a.shape) {
		q.admit(a, a.shape)
		return true
	}
	if !slices.ContainsFunc(q.waiting, func(w waitingMaster) bool { return w.app == a }) {
		at, _ := slices.BinarySearchFunc(q.waiting, a.priority, func(w waitingMaster, p int32) int {
			if w.priority >= p {
				return -1
			}
			return 1
		})
		q.waiting = slices.Insert(q.waiting, at, waitingMaster{a, a.shape, a.priority, time.Now()})
	}
	return false
}

func (q *masterQueue) admit(a *application, shape amount) {
	q.running[a] = shape
	q.used = q.used.plus(shape)
}

// hold counts a master that runs already.
func (x *masters) hold(a *application) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if q := x.queue(a.queue.role); q.running[a] == (amount{}) {
		q.admit(a, a.shape)
	}
}

// release takes an application's master off. With the application's mu held.
func (x *masters) release(m *Manager, a *application) {
	a.admitted = false
	x.mu.Lock()
	defer x.mu.Unlock()
	q := x.queue(a.queue.role)
	if shape, ok := q.running[a]; ok {
		delete(q.running, a)
		q.used = q.used.minus(shape)
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(w waitingMaster) bool { return w.app == a })
	q.advance(m, a.queue.role)
}

// advance admits those that wait and fit.
func (q *masterQueue) advance(m *Manager, path string) {
	for len(q.waiting) > 0 && q.hasRoom(m, path, q.waiting[0].shape) {
		w := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.admit(w.app, w.shape)
		w.app.poke() // it asks when it finds that it may
	}
}

// settle looks again at all queues, after the cluster has changed.
func (x *masters) settle(m *Manager) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for path, q := range x.queues {
		if q.advance(m, path); len(q.running) == 0 && len(q.waiting) == 0 {
			delete(x.queues, path)
		}
	}
}
