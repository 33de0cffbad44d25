package umbilical

import (
	"math"
	"sync/atomic"

	"fairway/frameworks/mapreduce/spec"
	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
)

// reporter is a running task's spec.Reporter. It only notes; the link sends.
type reporter struct {
	fraction atomic.Uint64 // bits
	status   atomic.Pointer[string]
	moves    atomic.Uint64 // how often the task has said that it goes on
	told     atomic.Uint64 // moves at the last report
	dirty    atomic.Bool
	wake     chan struct{} // capacity 1
	counters spec.Counters
	maps     int64 // of the job, for a reduce; 0: a map
}

func newReporter() *reporter { return &reporter{wake: make(chan struct{}, 1)} }

// Progress implements spec.Reporter.
func (r *reporter) Progress(f float64) {
	r.fraction.Store(math.Float64bits(f))
	r.touch()
}

// Status implements spec.Reporter.
func (r *reporter) Status(line string) {
	r.status.Store(&line)
	r.touch()
}

// Counters implements spec.Reporter.
func (r *reporter) Counters() *spec.Counters { return &r.counters }

func (r *reporter) touch() {
	r.moves.Add(1)
	if !r.dirty.Swap(true) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// report is the state now.
func (r *reporter) report() *pb.Report {
	r.dirty.Store(false)
	moves := r.moves.Load()
	out := &pb.Report{Fraction: math.Float64frombits(r.fraction.Load()), Alive: r.told.Swap(moves) != moves}
	if s := r.status.Load(); s != nil {
		out.Status = *s
	}
	counters := r.counters.Snapshot()
	for k, v := range counters {
		if v != 0 {
			out.Counters = append(out.Counters, &pb.Count{Group: k.Group, Name: k.Name, Value: v})
		}
	}
	out.Shuffled = r.maps > 0 && counters[shuffledMaps] >= r.maps
	return out
}

var shuffledMaps = spec.CounterKey{Group: spec.TaskCounters, Name: "SHUFFLED_MAPS"}
