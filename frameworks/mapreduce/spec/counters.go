package spec

import (
	"sync"
	"sync/atomic"
)

// Groups of counters, as Hadoop names them.
const (
	TaskCounters  = "org.apache.hadoop.mapreduce.TaskCounter"
	JobCounters   = "org.apache.hadoop.mapreduce.JobCounter"
	FileCounters  = "org.apache.hadoop.mapreduce.FileSystemCounter"
	ShuffleErrors = "Shuffle Errors"
)

// CounterKey names a counter.
type CounterKey struct{ Group, Name string }

// Counters of a task or a job. The zero value is ready; it is safe for concurrent use.
type Counters struct {
	mu sync.Mutex
	m  map[CounterKey]*atomic.Int64
}

// Get returns the counter, made when first asked for; keep it and Add to it on hot paths.
func (c *Counters) Get(group, name string) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[CounterKey]*atomic.Int64)
	}
	k := CounterKey{group, name}
	v := c.m[k]
	if v == nil {
		v = new(atomic.Int64)
		c.m[k] = v
	}
	return v
}

// Snapshot returns all counters now.
func (c *Counters) Snapshot() map[CounterKey]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[CounterKey]int64, len(c.m))
	for k, v := range c.m {
		out[k] = v.Load()
	}
	return out
}

// Reporter is how a running task tells of itself. It is safe for concurrent use and never waits for the network.
type Reporter interface {
	Progress(fraction float64) // of this task's work, 0 to 1; also shows that it is alive
	Status(line string)
	Counters() *Counters
}
