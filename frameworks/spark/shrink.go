package spark

import "cmp"

// Executor is one that may be ended when resources are wanted back.
type Executor struct {
	Known  bool   // its driver knows of it
	Begun  bool   // it was started
	Number uint64 // grows from one that was granted to the next
}

// Sooner orders executors by who is ended first: those that their driver does not know of, those that were not begun, and then
// the newest, which have the least work to lose. With the external shuffle service their map output stays. Spark's priorities
// say which profile of resources an executor is of, and nothing about its worth.
func Sooner(x, y Executor) int {
	return cmp.Or(cmp.Compare(x.stage(), y.stage()), cmp.Compare(y.Number, x.Number))
}

func (x Executor) stage() int {
	switch {
	case !x.Known:
		return 0
	case !x.Begun:
		return 1
	}
	return 2
}
