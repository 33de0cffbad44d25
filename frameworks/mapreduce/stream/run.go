package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// feed writes the program's input to w until all of it is written or w fails; its error is the input's.
type feed func(w io.Writer, moved func()) error

// drain reads the program's output from r to its end; its error is the emitter's, or an outputError.
type drain func(r io.Reader) error

// outputError marks output of a program that cannot be read.
type outputError struct{ error }

func (e outputError) Unwrap() error { return e.error }

var (
	errProgramGone = errors.New("the program takes no more input")
	errSilent      = errors.New("program is silent")
)

// run is one program's life.
type run struct {
	p        *Programs
	cx       *mapreduce.Context
	name     string
	argv     []string
	timeout  time.Duration
	position func() int64 // of the input, called by the feeding goroutine

	in, out *pipeEnd
	fed     atomic.Int64 // position when last asked
	tail    tail
}

// run starts the program, feeds it, drains it, and judges how it ended.
func (r *run) run(feed feed, drain drain) error {
	env := r.p.environment(r.cx)
	argv, env, err := r.p.find(r.cx, r.argv, env)
	if err != nil {
		return r.blame(err)
	}
	ctx, cancel := context.WithCancelCause(r.cx)
	defer cancel(nil)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Args[0] = r.argv[0]
	cmd.Dir, cmd.Env = r.cx.Sandbox, env

	var files closers
	defer func() { files.close() }()
	var pipes [3][2]*os.File
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return fmt.Errorf("start %s: %w", r.name, err)
		}
		files = append(files, pipes[i][0], pipes[i][1])
	}
	var moved atomic.Int64
	if r.in, err = newPipeEnd(pipes[0][1], &moved); err != nil {
		return fmt.Errorf("start %s: %w", r.name, err)
	}
	if r.out, err = newPipeEnd(pipes[1][0], &moved); err != nil {
		return fmt.Errorf("start %s: %w", r.name, err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pipes[0][0], pipes[1][1], pipes[2][1]
	if err := cmd.Start(); err != nil {
		return r.blame(startError(argv, err))
	}
	// The program alone holds the writing ends, or its output would never end. Its stdin stays open here too: what it
	// left unread is counted when it is gone.
	pipes[1][1].Close()
	pipes[2][1].Close()

	stop := context.AfterFunc(ctx, func() {
		cmd.Process.Kill()
		// Children of the program may hold its pipes open; they are the container's to end.
		pipes[1][0].SetReadDeadline(time.Now().Add(killGrace))
		pipes[2][0].SetReadDeadline(time.Now().Add(killGrace))
		pipes[0][1].SetWriteDeadline(time.Now())
	})
	defer stop()

	var background errgroup.Group
	feedDone := make(chan struct{})
	var feedErr error
	background.Go(func() error {
		defer close(feedDone)
		feedErr = feed(r.in, r.report)
		if feedErr != nil && !errors.Is(feedErr, errProgramGone) {
			cancel(feedErr)
		}
		return r.in.f.Close()
	})
	background.Go(func() error { return r.readStderr(pipes[2][0], &moved) })
	watched, unwatch := context.WithCancel(ctx)
	background.Go(func() error { r.watch(watched, cancel, feedDone, &moved); return nil })

	drainErr := drain(r.out)
	if drainErr != nil {
		cancel(drainErr) // the program's further output is of no use
	}
	waitErr := cmd.Wait()
	// The program is gone: whoever still feeds it is to stop. Its stderr may be held open by children.
	pipes[0][1].SetWriteDeadline(time.Now())
	if ctx.Err() == nil {
		pipes[2][0].SetReadDeadline(time.Now().Add(killGrace))
	}
	<-feedDone
	unwatch()
	background.Wait() // its errors have been looked at or are those of closing a pipe
	unread, uerr := unix.IoctlGetInt(int(pipes[0][0].Fd()), unix.TIOCINQ)
	if uerr != nil {
		unread = 0
	}
	return r.judge(ctx, feedErr, drainErr, waitErr, int64(unread))
}

// judge turns what happened into one error: the first cause wins.
func (r *run) judge(ctx context.Context, feedErr, drainErr, waitErr error, unread int64) error {
	var bad outputError
	cause := context.Cause(ctx)
	switch {
	case r.cx.Err() != nil:
		return r.blame(fmt.Errorf("was stopped: %w", context.Cause(r.cx.Context)))
	case errors.Is(cause, errSilent):
		return r.blame(fmt.Errorf("was killed: it neither read its input nor wrote output for %v", r.timeout.Round(time.Millisecond)))
	case feedErr != nil && !errors.Is(feedErr, errProgramGone) && (drainErr == nil || errors.Is(cause, feedErr)):
		return feedErr
	case errors.As(drainErr, &bad):
		// A program that failed has often broken off its output: its exit tells more, unless we killed it.
		var exit *exec.ExitError
		if errors.As(waitErr, &exit) && exit.Exited() && exit.ExitCode() != 0 && r.exitCounts() {
			return r.blame(exitError(waitErr))
		}
		return r.blame(fmt.Errorf("wrote bad output: %w", bad.error))
	case drainErr != nil:
		return drainErr
	case waitErr != nil && (r.exitCounts() || !exited(waitErr)):
		return r.blame(exitError(waitErr))
	case r.in.used && unread == r.in.bytes && waitErr == nil && r.cx.Job.Conf[UnreadProperty] != "true":
		return r.blame(fmt.Errorf("exited without reading its input (set %s=true if that is meant)", UnreadProperty))
	}
	return nil
}

func (r *run) exitCounts() bool { return r.cx.Job.Conf[exitCodeProperty] != "false" }

func exited(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited()
}

// exitError words the end of a process.
func exitError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Errorf("was killed by signal %d (%v)", ws.Signal(), ws.Signal())
	}
	return fmt.Errorf("exited with code %d", exit.ExitCode())
}

func (r *run) blame(err error) error {
	e := &ProgramError{Stage: r.name, Argv: r.argv, Err: err, Stderr: r.tail.lines()}
	if r.cx.Kind == spec.Map && r.cx.Split != nil && r.cx.Split.URL != "" && r.position != nil {
		e.Input, e.Offset = r.cx.Split.URL, r.cx.Split.Offset+r.fed.Load()
	}
	return e
}

// report tells of progress; the feed calls it after each piece of a map's input.
func (r *run) report() {
	if r.position == nil {
		return
	}
	pos := r.position()
	r.fed.Store(pos)
	if r.cx.Reporter != nil && r.cx.Split.Length > 0 {
		r.cx.Reporter.Progress(0.95 * min(1, float64(pos)/float64(r.cx.Split.Length)))
	}
}

// watch cancels the run when we have been waiting for the program, at both pipes, for the whole timeout and not a byte
// has moved. Time that the input or the emitter takes is not the program's fault.
func (r *run) watch(ctx context.Context, cancel context.CancelCauseFunc, feedDone <-chan struct{}, moved *atomic.Int64) {
	if r.timeout <= 0 {
		return
	}
	const looks = 10
	tick := time.NewTicker(max(r.timeout/looks, time.Millisecond))
	defer tick.Stop()
	last, idle := int64(-1), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		fed := r.in.waiting.Load()
		select {
		case <-feedDone:
			fed = true
		default:
		}
		now := moved.Load()
		if now != last || !fed || !r.out.waiting.Load() {
			last, idle = now, 0
			continue
		}
		if idle++; idle >= looks {
			cancel(errSilent)
			return
		}
	}
}

// closers are files to close at the end, in whatever state.
type closers []*os.File

func (c closers) close() {
	for _, f := range c {
		f.Close()
	}
}
