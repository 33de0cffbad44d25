package stream

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
)

// Values of Job.IO.
const (
	TextIO  = "text"
	ArrowIO = "arrow"
)

// Properties that programs honour, by Hadoop's names.
const (
	mapOutputSeparator    = "stream.map.output.field.separator"
	mapOutputKeyFields    = "stream.num.map.output.key.fields"
	mapInputSeparator     = "stream.map.input.field.separator"
	reduceOutputSeparator = "stream.reduce.output.field.separator"
	reduceOutputKeyFields = "stream.num.reduce.output.key.fields"
	reduceInputSeparator  = "stream.reduce.input.field.separator"
	ignoreKeyProperty     = "stream.map.input.ignoreKey"
	exitCodeProperty      = "stream.non.zero.exit.is.failure"
	reporterPrefix        = "stream.stderr.reporter.prefix"
	reporterEnabled       = "stream.stderr.reporter.enabled"
	addEnvironment        = "stream.addenvironment"
	timeoutProperty       = "mapreduce.task.timeout" // milliseconds; 0: none

	// UnreadProperty set to true lets a program that reads nothing at all of its input succeed.
	UnreadProperty = "fairway.stream.unread.input.is.fine"
)

const (
	defaultTimeout = 10 * time.Minute
	killGrace      = 500 * time.Millisecond // for output pipes that a program's own children hold open after it was killed
)

// Programs runs stages that are programs. The zero value is ready. It is safe for concurrent use.
type Programs struct {
	// CacheDir is where to keep, for later tasks, which interpreter a python shim stands for; "": in this process only.
	CacheDir string
	// Env is what the environment of programs starts from; nil: the process's own. What would slow programs down or is
	// none of their business is taken out (see environment).
	Env []string
	// Stderr gets what programs say, but for reporter lines; nil: os.Stderr.
	Stderr io.Writer
}

var _ mapreduce.Programs = (*Programs)(nil)

// ProgramError is the failure of a program.
type ProgramError struct {
	Stage  string   // mapper, combiner or reducer
	Argv   []string // as the job has it
	Err    error    // what happened
	Input  string   // the file that it was reading, "" if none
	Offset int64    // how far it had been fed, in bytes of that file
	Stderr []string // the last lines that it wrote there, at most 20
}

// Error says what happened in its first line; the lines of stderr follow, indented.
func (e *ProgramError) Error() string {
	s := fmt.Sprintf("%s %q %v", e.Stage, commandLine(e.Argv), e.Err)
	if e.Input != "" {
		s += fmt.Sprintf(" (had been given %s up to byte %d)", e.Input, e.Offset)
	}
	if len(e.Stderr) == 0 {
		return s + "; it wrote nothing on stderr"
	}
	s += "; the last of its stderr:"
	for _, line := range e.Stderr {
		s += "\n  " + line
	}
	return s
}

// Unwrap returns Err.
func (e *ProgramError) Unwrap() error { return e.Err }

// Map runs the stage's program over in and emits what it writes. With text input the program gets the lines alone,
// otherwise key TAB value (stream.map.input.ignoreKey decides, as in Hadoop). in is read by another goroutine than the
// caller's, which emits. A *ProgramError tells that the program is to blame; other errors come from in, out or the
// context.
func (p *Programs) Map(ctx *mapreduce.Context, stage spec.Stage, in mapreduce.Records, out mapreduce.Emitter) error {
	r := p.newRun(ctx, "mapper", stage)
	cut, err := newCutter(ctx.Job.Conf, mapOutputSeparator, mapOutputKeyFields)
	if err != nil {
		return err
	}
	if pos, ok := in.(interface{ Pos() int64 }); ok && ctx.Split != nil {
		r.position = pos.Pos
	}
	if ctx.Job.IO == ArrowIO {
		return r.run(arrowMapFeed(ctx, in), arrowDrain(out))
	}
	return r.run(mapFeed(ctx, in), cut.drain(out))
}

// Reduce runs the stage's program over records sorted by key, one "key TAB value" line each, and emits what it writes;
// also for combiners (ctx.Combining).
func (p *Programs) Reduce(ctx *mapreduce.Context, stage spec.Stage, in mapreduce.Records, out mapreduce.Emitter) error {
	name, separator, fields := "reducer", reduceOutputSeparator, reduceOutputKeyFields
	if ctx.Combining {
		name, separator, fields = "combiner", mapOutputSeparator, mapOutputKeyFields
	}
	r := p.newRun(ctx, name, stage)
	cut, err := newCutter(ctx.Job.Conf, separator, fields)
	if err != nil {
		return err
	}
	if ctx.Job.IO == ArrowIO {
		return r.run(arrowReduceFeed(ctx, in), arrowDrain(out))
	}
	return r.run(recordFeed(in, property(ctx.Job.Conf, reduceInputSeparator, "\t")), cut.drain(out))
}

func (p *Programs) newRun(ctx *mapreduce.Context, name string, stage spec.Stage) *run {
	return &run{p: p, cx: ctx, name: name, argv: stage.Program, timeout: timeout(ctx.Job)}
}

// timeout is how long a program may be silent: a little less than the coordinator waits, so that the program's last
// words reach the user.
func timeout(job *spec.Job) time.Duration {
	d := time.Duration(job.TaskTimeout)
	if d <= 0 {
		d = defaultTimeout
		if ms, err := strconv.ParseInt(job.Conf[timeoutProperty], 10, 64); err == nil && ms >= 0 {
			d = time.Duration(min(ms, int64(1<<40))) * time.Millisecond
		}
	}
	return d - d/10
}

func property(conf map[string]string, name, def string) string {
	if s, ok := conf[name]; ok {
		return s
	}
	return def
}

// Check tells at submission what is wrong with a job's programs and their properties, as far as that can be known
// without the machines that will run them. Paths of shipped files are the targets of Job.Files.
func Check(job *spec.Job) error {
	switch job.IO {
	case "", TextIO, ArrowIO:
	default:
		return fmt.Errorf("io %q: use text or arrow", job.IO)
	}
	for _, names := range [][2]string{{mapOutputSeparator, mapOutputKeyFields}, {reduceOutputSeparator, reduceOutputKeyFields}} {
		if _, err := newCutter(job.Conf, names[0], names[1]); err != nil {
			return err
		}
	}
	return checkColumns(job.Conf)
}

// plainReader finds the reader beneath wrappers that have a Base method.
func plainReader(in mapreduce.Records) mapreduce.Records {
	for {
		w, ok := in.(interface{ Base() input.Reader })
		if !ok {
			return in
		}
		in = w.Base()
	}
}
