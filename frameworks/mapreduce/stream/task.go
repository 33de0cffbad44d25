package stream

import (
	"context"
	"errors"
	"io"

	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
)

// Collector takes the records that a program writes. The slices are valid during the call only.
type Collector interface {
	Collect(key, value []byte) error
}

// Source gives sorted records to a reducer or combiner: io.EOF at the end, slices valid until the next call.
type Source interface {
	Next() (key, value []byte, err error)
}

// Task is the attempt that a program works for.
type Task struct {
	Job     *spec.Job
	Kind    string // spec.Map or spec.Reduce
	Index   int
	Attempt int
	Split   *spec.Split // of a map

	Sandbox  string        // the program's working folder; its program is looked for there first, then in PATH
	CacheDir string        // where to remember the real interpreter behind a shim, for other tasks; "" for nowhere
	Env      []string      // what the environment starts from; nil: a clean part of the process's own
	Stderr   io.Writer     // gets what the program says on stderr; nil: os.Stderr
	Reporter spec.Reporter // nil: none
	// Progress is asked for the fraction of the work done whenever bytes have moved; nil: for a map what the reader
	// consumed of the split, else not reported. It is called by one goroutine at a time.
	Progress func() float64
}

// ProgramError is the failure of a program: exit code or signal, silence for too long, output that is no stream.
type ProgramError struct {
	Stage  string   // mapper, combiner, reducer
	Argv   []string // as started
	Err    error    // what happened
	Stderr []string // the last 20 lines
}

// Error is one line that says what happened; the stderr lines follow it, each on its own line.
func (e *ProgramError) Error() string { return e.Stage + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *ProgramError) Unwrap() error { return e.Err }

// Map runs argv as the mapper over a split. Of formats text the program gets the lines, of others key TAB value lines
// (property stream.map.input.ignoreKey as in Hadoop). A *ProgramError tells that the program is to blame; other errors
// come from in, out or the context.
func (t *Task) Map(ctx context.Context, argv []string, in input.Reader, out Collector) error {
	return errors.ErrUnsupported
}

// Reduce runs argv as the reducer over sorted records.
func (t *Task) Reduce(ctx context.Context, argv []string, in Source, out Collector) error {
	return errors.ErrUnsupported
}

// Combine runs argv as the combiner over the sorted records of one partition of one spill.
func (t *Task) Combine(ctx context.Context, argv []string, in Source, out Collector) error {
	return errors.ErrUnsupported
}

// SplitCommand cuts a command line into arguments as Hadoop Streaming does: at white space, with ' and " quoting and
// \ escapes, and without a shell.
func SplitCommand(line string) ([]string, error) { return nil, errors.ErrUnsupported }

// Check tells at submission whether argv can be a program: it is not empty, and if it is a path on this machine or a
// shipped file (targets) it is executable.
func Check(argv []string) error { return nil }
