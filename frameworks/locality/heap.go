package locality

import "container/heap"

// heapInts is a min-heap of ids.
type heapInts []int

func (h *heapInts) push(id int) { heap.Push((*intHeap)(h), id) }
func (h *heapInts) pop() int    { return heap.Pop((*intHeap)(h)).(int) }

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
