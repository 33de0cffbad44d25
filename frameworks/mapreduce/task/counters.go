package task

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"fairway/frameworks/mapreduce/sorter"
	"fairway/frameworks/mapreduce/spec"
)

// taskCounter returns a counter of Hadoop's TaskCounter group.
func taskCounter(r spec.Reporter, name string) *atomic.Int64 {
	return r.Counters().Get(spec.TaskCounters, name)
}

func sorterCounts(r spec.Reporter) sorter.Counts {
	return sorter.Counts{
		Records:      taskCounter(r, "MAP_OUTPUT_RECORDS"),
		Bytes:        taskCounter(r, "MAP_OUTPUT_BYTES"),
		Spilled:      taskCounter(r, "SPILLED_RECORDS"),
		CombineInput: taskCounter(r, "COMBINE_INPUT_RECORDS"),
		CombineDone:  taskCounter(r, "COMBINE_OUTPUT_RECORDS"),
	}
}

// usage measures what this process and its children used of the machine since it was taken.
type usage struct {
	cpu time.Duration
	gc  uint64
}

func measure() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{cpu: cpuTime(), gc: m.PauseTotalNs}
}

func cpuTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// report adds what was used since to the counters.
func (u usage) report(r spec.Reporter) {
	now := measure()
	taskCounter(r, "CPU_MILLISECONDS").Add((now.cpu - u.cpu).Milliseconds())
	taskCounter(r, "GC_TIME_MILLIS").Add(int64((now.gc - u.gc) / 1e6))
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		taskCounter(r, "PHYSICAL_MEMORY_BYTES").Store(self.Maxrss << 10)
	}
}

// noReporter is used where the caller gave none.
type noReporter struct{ counters spec.Counters }

func (*noReporter) Progress(float64)           {}
func (*noReporter) Status(string)              {}
func (r *noReporter) Counters() *spec.Counters { return &r.counters }
