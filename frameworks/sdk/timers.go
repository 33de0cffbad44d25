package sdk

import (
	"container/heap"
	"time"
)

// timerHeap holds the functions of After, earliest first. One clock wakes for all of them.
type timerHeap struct{ q timerQueue }

type timer struct {
	at    time.Time
	f     func() // nil: cancelled
	index int
}

func (h *timerHeap) add(at time.Time, f func()) (cancel func()) {
	t := &timer{at: at, f: f}
	heap.Push(&h.q, t)
	return func() {
		if t.f != nil {
			t.f = nil
			heap.Remove(&h.q, t.index)
		}
	}
}

// next is when the earliest is due, zero if there is none.
func (h *timerHeap) next() time.Time {
	if len(h.q) == 0 {
		return time.Time{}
	}
	return h.q[0].at
}

// run calls all that are due.
func (h *timerHeap) run(now time.Time) {
	for len(h.q) > 0 && !h.q[0].at.After(now) {
		t := heap.Pop(&h.q).(*timer)
		f := t.f
		t.f = nil
		f()
	}
}

type timerQueue []*timer

func (q timerQueue) Len() int           { return len(q) }
func (q timerQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q timerQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *timerQueue) Push(x any) {
	t := x.(*timer)
	t.index = len(*q)
	*q = append(*q, t)
}
func (q *timerQueue) Pop() any {
	old := *q
	t := old[len(old)-1]
	*q = old[:len(old)-1]
	return t
}
