package spark

// Host is one that executors may run on.
type Host struct {
	Waiting int64 // executors that would find their data here
	Held    int64 // executors that the application has here
	Room    int64 // executors that there is room for now; what waits may be more
}

// maxSteps bounds the work of Spread, executors by hosts, to some milliseconds: beyond it, hosts are taken as they come.
const maxSteps = 1 << 20

// Spread says how many of n new executors should be on each host: in proportion to what waits there, what is held there counted
// in, so that they come to lie over the data as evenly as it lies itself. Each one goes to the host with the most waiting for
// each executor that it then has, the first of them where several are equal (the method of D'Hondt). No host gets more than
// waits there, nor more than there is room for unless no host has any. Spark names the same hosts in each of its asks, so to take
// them one by one would fill the first host.
func Spread(n int64, hosts []Host) []int64 {
	got := make([]int64, len(hosts))
	var sum int64
	full := true
	for _, h := range hosts {
		sum += max(h.Waiting, 0)
		full = full && h.Room <= 0
	}
	if len(hosts) == 0 || n >= sum || n > maxSteps/int64(len(hosts)) {
		for i, h := range hosts {
			got[i] = max(h.Waiting, 0)
		}
		return got
	}
	for range n {
		best := -1
		for i, h := range hosts {
			if got[i] >= h.Waiting || got[i] >= h.Room && !full {
				continue
			}
			// Waiting / (held + got + 1) is compared without dividing.
			if best < 0 || h.Waiting*(hosts[best].Held+got[best]+1) > hosts[best].Waiting*(h.Held+got[i]+1) {
				best = i
			}
		}
		if best < 0 { // all that there is room for is served
			break
		}
		got[best]++
	}
	return got
}
