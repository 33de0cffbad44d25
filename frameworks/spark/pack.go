package spark

import (
	"cmp"
	"slices"
)

// Pack says how many of n new executors should be on each host so that few hosts are used: those where data waits before others,
// those that the application is on already before new ones, the most held first, then the roomiest. The last host is the one
// with the least room that takes all the rest, so that roomier ones stay whole. No host gets more than it has room for; for what
// is left nothing is said.
func Pack(n int64, hosts []Host) []int64 {
	got := make([]int64, len(hosts))
	var order []int
	for i, h := range hosts {
		if h.Room > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		x, y := hosts[i], hosts[j]
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), cmp.Compare(y.Held, x.Held), cmp.Compare(y.Room, x.Room))
	})
	for k := 0; k < len(order) && n > 0; k++ {
		at := order[k]
		for _, next := range order[k+1:] {
			if hosts[at].Held > 0 || hosts[next].rank() != hosts[at].rank() || hosts[next].Room < n {
				break
			}
			if hosts[next].Room < hosts[at].Room {
				at = next
			}
		}
		got[at] = min(n, hosts[at].Room)
		n -= got[at]
	}
	return got
}

// rank is lower for a host that is better to be on.
func (h Host) rank() (r int) {
	if h.Waiting <= 0 {
		r += 2
	}
	if h.Held <= 0 {
		r++
	}
	return r
}
