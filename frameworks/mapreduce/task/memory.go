package task

import (
	"math"
	"runtime/debug"
	"strconv"

	"fairway/frameworks/mapreduce/spec"
)

const (
	defaultMemory = 512 << 20
	// overhead is what a task needs beside its buffers: the program itself, readers, connections, the heap's slack.
	overhead = 48 << 20

	sortProperty = "mapreduce.task.io.sort.mb"
)

// budget returns the bytes that sorting (of a map) or the shuffle (of a reduce) may take of a container's memory. Of
// the default container of 256 MiB that is 176 MiB, in which a block of 128 MiB of TeraSort's records is sorted at once
// (100 bytes, their framing, and two entries of 16 bytes each). Programs get half of the container.
func budget(memory int64, stages ...spec.Stage) int64 {
	if memory <= 0 {
		memory = defaultMemory
	}
	for _, s := range stages {
		if len(s.Program) > 0 {
			memory /= 2
			break
		}
	}
	return max((memory-overhead)/20*17, 4<<20)
}

// sortBudget is the budget of a map, or what the job's mapreduce.task.io.sort.mb says if that is less.
func sortBudget(job *spec.Job, memory int64) int64 {
	b := budget(memory, job.Mapper, job.Combiner)
	if mb, err := strconv.ParseInt(job.Conf[sortProperty], 10, 64); err == nil && mb > 0 && mb < math.MaxInt64>>20 {
		b = min(b, mb<<20)
	}
	return b
}

// LimitProcess tells the Go runtime of this process, which runs one task of a kind, how much of the container's memory
// its heap may take, so that it collects earlier rather than be killed. The arena in which a map sorts lies outside
// the heap. The pace of collection stays Go's default: a task's live heap is small or long-lived, and neither 50, 400
// nor no collection at all changed the cpu time of wordcount and terasort by more than the noise of 10 %.
func LimitProcess(kind string, job *spec.Job, memory int64) {
	if memory > 0 {
		debug.SetMemoryLimit(heapLimit(kind, job, memory))
	}
}

func heapLimit(kind string, job *spec.Job, memory int64) int64 {
	limit := memory / 10 * 9
	if kind == spec.Map {
		limit -= sortBudget(job, memory)
	}
	return max(limit, overhead/2)
}
