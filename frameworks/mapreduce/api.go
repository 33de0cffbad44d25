package mapreduce

import (
	"context"
	"iter"

	"fairway/frameworks/mapreduce/spec"
)

// Emitter takes records. Key and value are copied before the call returns, so the caller may reuse them.
// An Emitter is used by one goroutine at a time; the task's own.
type Emitter interface {
	// Emit adds one record. An error ends the task: return it.
	Emit(key, value []byte) error
	// EmitInt adds a record whose value is n in decimal. With an in-place combiner it makes no text at all.
	EmitInt(key []byte, n int64) error
}

// Values are the values of one key. Each is valid until the next one is taken; the sequence can be taken once.
// If the records cannot be read to the end the sequence just ends, and the task fails when Reduce returns.
type Values = iter.Seq[[]byte]

// Records are key-value pairs, read one after another. An input.Reader is one, and so are the sorted records that a
// reducer gets.
type Records interface {
	// Next returns the next record; io.EOF after the last. The slices are valid until the next call.
	Next() (key, value []byte, err error)
}

// Mapper is the map of one task. It may also be a ChunkMapper, a Setup, a Cleanup and an io.Closer, which is closed
// last, also after an error.
type Mapper interface {
	// Map is called for each record of the split. With text input the key is the line's offset in the file in
	// decimal, and the value is the line without its end.
	Map(ctx *Context, key, value []byte, out Emitter) error
}

// ChunkMapper is a Mapper that takes many lines in one call, where the input is text: much faster than a call for
// each line.
type ChunkMapper interface {
	Mapper
	// MapChunk gets whole lines; the last may lack its '\n'. The slice may be scribbled on; it is valid until
	// MapChunk returns.
	MapChunk(ctx *Context, lines []byte, out Emitter) error
}

// Reducer is the reduce (or combine) of one task. It may also be a Setup, a Cleanup and an io.Closer.
type Reducer interface {
	// Reduce is called for each distinct key, in ascending order of bytes.
	Reduce(ctx *Context, key []byte, values Values, out Emitter) error
}

// Setup is called once before the first record.
type Setup interface {
	Setup(ctx *Context) error
}

// Cleanup is called once after the last record, if there was no error.
type Cleanup interface {
	Cleanup(ctx *Context, out Emitter) error
}

// NewMapper and NewReducer make the object that serves one task.
type (
	NewMapper  func() Mapper
	NewReducer func() Reducer
)

// Partitioner says which of n partitions (reduces) a key belongs to, 0 to n-1.
type Partitioner func(key []byte, n int) int

// Combiner shortens what a map sends: either in place, on 8-byte numbers, or by a Reducer over sorted groups, which
// must emit only the key that it was given. The zero value is no combiner.
type Combiner struct {
	InPlace *InPlace
	New     NewReducer
}

// None reports the absence of a combiner.
func (c Combiner) None() bool { return c.InPlace == nil && c.New == nil }

// InPlace combines numbers: each key keeps one accumulator.
type InPlace struct {
	// Merge joins two accumulators; it must be associative and commutative.
	Merge func(acc, v int64) int64
	// Lift makes an accumulator of a mapper's value; nil: the value itself.
	Lift func(v int64) int64
	// Any takes values that are no decimal numbers (as Count does): Lift then gets 0 for each.
	Any bool
}

// Programs runs stages that are programs, by Hadoop Streaming's conventions. The stream package implements it;
// it is a port here so that a task can do without.
type Programs interface {
	// Map runs the stage's program over in (an input.Reader) and emits what it writes. It returns after the program
	// has exited; a failure carries the last lines of its stderr.
	Map(ctx *Context, stage spec.Stage, in Records, out Emitter) error
	// Reduce does so over records sorted by key; also for combiners (ctx.Combining).
	Reduce(ctx *Context, stage spec.Stage, in Records, out Emitter) error
}

// Context tells a task of itself. It is a context.Context that ends when the task is to stop.
type Context struct {
	context.Context
	Job       *spec.Job
	Kind      string // spec.Map or spec.Reduce
	Index     int    // of the task among its kind
	Attempt   int
	Split     *spec.Split // of a map
	Sandbox   string      // the task's own folder
	Combining bool        // a combiner runs, in a map or a reduce
	Reporter  spec.Reporter
}
