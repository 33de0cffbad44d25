package sorter

import (
	"fmt"
	"sort"
	"sync/atomic"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
)

// Collector takes the records of one map and leaves them as one run. It is used by one goroutine at a time.
type Collector interface {
	mapreduce.Emitter
	// Finish writes the run to a new file at path and returns its index. Nothing may be emitted after it.
	Finish(path string) (run.Index, error)
	// Close frees the memory and removes the spills; always call it.
	Close() error
}

// Combine shortens the sorted records of one partition. What it emits must be in order.
type Combine func(in mapreduce.Records, out mapreduce.Emitter) error

// Options of a Collector.
type Options struct {
	Partitions int
	Partition  mapreduce.Partitioner // nil: HashPartition
	// Cuts are the borders of a total order, Partitions-1 ascending keys: partition i gets the keys k with
	// Cuts[i-1] <= k < Cuts[i]. They replace Partition.
	Cuts   [][]byte
	Memory int64  // bytes for records and their index; at least 64 KiB is taken
	Dir    string // of spills
	Codec  run.Codec
	// InPlace combines numbers in a hash table, Combine sorted records at each spill and merge; at most one is set.
	InPlace *mapreduce.InPlace
	Combine Combine
	Counts  Counts
}

// Counts are counters that a Collector keeps; nil ones are not kept.
type Counts struct {
	Records, Bytes            *atomic.Int64 // as emitted
	Spilled                   *atomic.Int64 // records written to disk
	CombineInput, CombineDone *atomic.Int64
}

func (c *Counts) fill() {
	for _, p := range []**atomic.Int64{&c.Records, &c.Bytes, &c.Spilled, &c.CombineInput, &c.CombineDone} {
		if *p == nil {
			*p = new(atomic.Int64)
		}
	}
}

// New returns a Collector: a hash table if o.InPlace is set, else a sort buffer.
func New(o Options) (Collector, error) {
	if o.Partitions < 1 || o.Partitions > run.MaxPartitions {
		return nil, fmt.Errorf("%d partitions: 1 to %d are possible", o.Partitions, run.MaxPartitions)
	}
	if o.Cuts != nil && len(o.Cuts) != o.Partitions-1 {
		return nil, fmt.Errorf("%d cuts for %d partitions", len(o.Cuts), o.Partitions)
	}
	if o.Partition == nil {
		o.Partition = mapreduce.HashPartition
	}
	o.Memory = max(o.Memory, 64<<10)
	o.Counts.fill()
	if o.InPlace != nil {
		return newTable(o)
	}
	return newBuffer(o)
}

// partition of a key where entries are made; all are 0 in a total order, whose borders are found after sorting.
func (o *Options) partition(key []byte) (uint32, error) {
	if o.Partitions == 1 || o.Cuts != nil {
		return 0, nil
	}
	p := o.Partition(key, o.Partitions)
	if p < 0 || p >= o.Partitions {
		return 0, fmt.Errorf("the partitioner put key %.64q into partition %d of %d", key, p, o.Partitions)
	}
	return uint32(p), nil
}

// ranges calls f with the entries of each partition that has any.
func (o *Options) ranges(a []entry, key func(uint32) []byte, f func(p int, a []entry) error) error {
	for p := 0; len(a) > 0; p++ {
		n := len(a)
		switch {
		case p == o.Partitions-1:
		case o.Cuts != nil:
			cut := string(o.Cuts[p])
			n = sort.Search(len(a), func(i int) bool { return string(key(a[i].off)) >= cut })
		case a[0].partition() != uint32(p):
			n = 0
		case a[len(a)-1].partition() != uint32(p):
			n = sort.Search(len(a), func(i int) bool { return a[i].partition() > uint32(p) })
		}
		if n == 0 {
			continue
		}
		if err := f(p, a[:n]); err != nil {
			return err
		}
		a = a[n:]
	}
	return nil
}
