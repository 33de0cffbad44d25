package task

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// MapArgs is what a map needs.
type MapArgs struct {
	Job      *spec.Job
	Split    spec.Split // Split.Index is the map's index
	Attempt  int
	Mux      *storage.Mux
	Dir      string // the job's folder on this agent: the map's output goes there
	Sandbox  string // the task's own folder, for spills
	Memory   int64  // bytes of the container; 0: 512 MiB
	Registry *mapreduce.Registry
	Programs mapreduce.Programs // nil: this binary runs no programs
	Reporter spec.Reporter
	// Commit asks for the grant to commit (map-only jobs); an error means that another attempt has it. Nil: granted.
	Commit func(ctx context.Context) error
	Log    *zap.Logger // nil: none
}

// MapResult tells where a map's output lies.
type MapResult struct {
	File string // name in the job's folder; "" for a map-only job
	// Partitions has one entry for each reduce, all but Address filled in.
	Partitions []spec.MapOutput
}

// ReduceArgs is what a reduce needs.
type ReduceArgs struct {
	Job       *spec.Job
	Partition int // the reduce's index
	Attempt   int
	Maps      int // of the job: the reduce waits for so many outputs, of different maps
	Mux       *storage.Mux
	Dir       string // the job's folder on this agent
	Sandbox   string // the task's own folder, for what does not fit into memory
	Memory    int64  // bytes of the container; 0: 512 MiB
	Registry  *mapreduce.Registry
	Programs  mapreduce.Programs
	Reporter  spec.Reporter
	// Outputs brings this partition's map outputs as maps finish. An output of a newer attempt replaces an older one
	// that could not be fetched. It may stay open; if it is closed before an output of each map has been fetched and
	// one fetch has failed for good, the reduce fails.
	Outputs <-chan spec.MapOutput
	Fetch   *shuffle.Client
	// FetchFailed is told of an output that could not be had after all retries; the reduce then waits for another
	// attempt of that map. It is called from several goroutines.
	FetchFailed func(spec.MapOutput, error)
	// Commit asks for the grant to commit; an error means that another attempt has it. Nil: granted.
	Commit func(ctx context.Context) error
	Log    *zap.Logger // nil: none
}

// RecordError names the record that a mapper failed on.
type RecordError struct {
	URL    string
	Offset int64 // of the record in the file, in bytes (of uncompressed data, for a compressed file)
	Err    error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("record at byte %d of %s: %v", e.Offset, e.URL, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }
