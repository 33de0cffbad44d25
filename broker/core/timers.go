package core

import "container/heap"

// timers is the heap of what the machine does at a later time. An entry cannot be taken back: what runs checks whether
// it still applies.
type timers struct {
	heap  timerHeap
	count uint64
}

type timer struct {
	at    int64
	order uint64 // ties go by age
	run   func()
}

type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return t
}

// after runs a function in the first turn at or after at.
func (t *timers) after(at int64, run func()) {
	t.count++
	heap.Push(&t.heap, timer{at, t.count, run})
}

// due returns the next function whose time has come, or nil.
func (t *timers) due(now int64) func() {
	if len(t.heap) == 0 || t.heap[0].at > now {
		return nil
	}
	return heap.Pop(&t.heap).(timer).run
}

// next is when the next function is due; ok is false when there is none.
func (t *timers) next() (at int64, ok bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].at, true
}
