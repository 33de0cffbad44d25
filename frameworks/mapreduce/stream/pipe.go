package stream

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe to or from a program holds, if the system allows that much.
	pipeSize  = 256 << 10
	shortRest = 250 * time.Microsecond
	longRest  = 8 * time.Millisecond
)

// pipeEnd is our end of a pipe. It knows whether we wait for the program there, and counts what moves.
//
// A program writes and reads some kilobytes at once, and each time the kernel would wake whoever waits at the other end:
// that costs more than moving the bytes. So our end rests a while when little has moved, and then moves more at once.
type pipeEnd struct {
	f       *os.File
	raw     syscall.RawConn
	moved   *atomic.Int64
	waiting atomic.Bool
	bytes   int64
	used    bool // there was something to write
	rest    time.Duration
	little  int // moves in a row of little
}

func newPipeEnd(f *os.File, moved *atomic.Int64) (*pipeEnd, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	err = raw.Control(func(fd uintptr) {
		// The system may refuse a larger pipe, which is no harm.
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize)
	})
	return &pipeEnd{f: f, raw: raw, moved: moved}, err
}

// pace sets how long to rest after n bytes moved at once.
func (e *pipeEnd) pace(n int) {
	switch {
	case n < pipeSize/8:
		if e.little++; e.little >= 4 { // a fast program is not kept waiting for one small piece
			e.rest = min(max(2*e.rest, shortRest), longRest)
		}
	case n >= pipeSize/4:
		e.little = 0
		if e.rest /= 2; e.rest < shortRest {
			e.rest = 0
		}
	}
}

func (e *pipeEnd) Write(p []byte) (int, error) {
	e.used = e.used || len(p) > 0
	e.waiting.Store(true)
	defer e.waiting.Store(false)
	done, rested := 0, false
	for done < len(p) {
		n := 0
		var failed error
		err := e.raw.Write(func(fd uintptr) bool {
			for {
				n, failed = unix.Write(int(fd), p[done:])
				if failed != unix.EINTR {
					break
				}
			}
			n = max(n, 0)
			// A full pipe is waited for if resting did not help: the program has other things to do.
			return failed != unix.EAGAIN || e.rest > 0 && !rested
		})
		if err == nil {
			err = failed
		}
		done += n
		e.bytes += int64(n)
		e.moved.Add(int64(n))
		switch {
		case errors.Is(err, unix.EAGAIN):
			time.Sleep(e.rest)
			rested = true
		case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.EPIPE):
			return done, errProgramGone
		case err != nil:
			return done, os.NewSyscallError("write", err)
		case done < len(p): // the pipe is full now
			e.pace(n)
			rested = false
		}
	}
	return done, nil
}

func (e *pipeEnd) Read(p []byte) (int, error) {
	e.waiting.Store(true)
	if e.rest > 0 {
		time.Sleep(e.rest)
	}
	n, err := e.f.Read(p)
	e.waiting.Store(false)
	e.moved.Add(int64(n))
	if n < len(p) {
		e.pace(n)
	}
	return n, err
}
