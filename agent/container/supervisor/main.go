package supervisor

import (
	"syscall"
	"unsafe"
)

func init() {
	if argv0() == Argv0 {
		supervise()
		syscall.Exit(0)
	}
}

// argv0 asks the kernel, since os, which would know, must not be imported. Every process that links this package pays
// some 10 µs for it.
func argv0() string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	var b [len(Argv0) + 1]byte
	n, _ := syscall.Read(fd, b[:])
	syscall.Close(fd)
	if n != len(b) || b[n-1] != 0 {
		return ""
	}
	return string(b[:n-1])
}

// holder is the supervisor's state, owned by the goroutine that runs loop.
type holder struct {
	spec *Spec
	keep keeper

	exit   []byte // the record; nil: the task runs
	acked  bool
	killed bool // asked for by an agent
	oom    bool

	conns []*conn
	timer int    // timerfd: the end of a kill's grace, later the end of the wait for an acknowledgement
	note  [2]int // pipe: the keeper says that everything has ended
	oomFD int    // eventfd of the memory cgroup; -1: none
}

const (
	prSetName           = 15
	prSetChildSubreaper = 36
	sysCloseRange       = 436 // on every architecture
	closeRangeCloexec   = 4
)

func supervise() {
	name := []byte("fw-supervisor\x00")
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetName, uintptr(unsafe.Pointer(&name[0])), 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	// Whatever else the agent has inherited from its own parent is not the task's business. The kernels before 5.9, which
	// lack close_range, get at least our own.
	syscall.RawSyscall(sysCloseRange, ControlFD, 1<<32-1, closeRangeCloexec)
	for _, fd := range []int{ControlFD, ListenFD, StdoutFD, StderrFD} {
		syscall.CloseOnExec(fd)
	}

	h := &holder{oomFD: -1}
	first := &conn{fd: ControlFD}
	// The agent writes the spec at once after the fork; if it dies before that there is nothing to hold.
	for h.spec == nil {
		kind, body, ok := first.next()
		if ok {
			spec, good := DecodeSpec(body)
			if kind != MsgSpec || !good {
				die("no spec")
			}
			h.spec = spec
			break
		}
		if !first.fill() {
			syscall.Exit(1)
		}
	}
	h.conns = append(h.conns, first)
	if err := syscall.Chdir(h.spec.StateDir); err != nil {
		die("state folder: " + err.Error())
	}
	reserve()
	syscall.Pipe2(h.note[:], syscall.O_CLOEXEC)
	fd, _, _ := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, 1 /* CLOCK_MONOTONIC */, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	h.timer = int(fd)
	h.oomFD = watchOOM(h.spec)

	h.keep = keeper{spec: h.spec, note: h.note[1]}
	h.keep.exit.StartNanos = now()
	if failure := h.keep.start(); failure != "" {
		h.keep.exit.StartFailure = failure
		h.ended()
	} else {
		h.send(MsgStarted, Number8(int64(h.keep.pid)))
		go h.keep.reap()
	}
	h.loop()
}

func die(why string) {
	syscall.Write(2, []byte(why+"\n"))
	syscall.Exit(1)
}

// now is the wall clock, for display only.
func now() int64 {
	var tv syscall.Timeval
	syscall.Gettimeofday(&tv)
	return int64(tv.Sec)*1e9 + int64(tv.Usec)*1e3
}

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

const (
	pollIn  = 1
	pollErr = 8 | 16 | 32
)

// loop serves the control connections, the task's end and the timers, and returns when an agent has the exit record or
// none came for it.
func (h *holder) loop() {
	var fds []pollFD
	for !h.acked {
		ends := int32(h.note[0])
		if h.exit != nil {
			ends = -1 // poll passes over it
		}
		fds = append(fds[:0], pollFD{fd: ends, events: pollIn}, pollFD{fd: int32(h.timer), events: pollIn},
			pollFD{fd: ListenFD, events: pollIn}, pollFD{fd: int32(h.oomFD), events: pollIn})
		for _, c := range h.conns {
			fds = append(fds, pollFD{fd: int32(c.fd), events: pollIn})
		}
		_, _, e := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), 0, 0, 0, 0)
		if e != 0 {
			if e == syscall.EINTR {
				continue
			}
			die("poll: " + e.Error())
		}
		if fds[0].revents != 0 {
			h.ended()
		}
		if fds[1].revents != 0 {
			var b [8]byte
			syscall.Read(h.timer, b[:])
			if h.exit != nil {
				return // nobody came; the record is on disk
			}
			h.keep.killAll()
		}
		if fds[3].revents != 0 {
			h.outOfMemory()
		}
		h.serve(fds[4:])
		if fds[2].revents&pollIn != 0 {
			h.accept()
		}
	}
}

func (h *holder) ended() {
	x := h.keep.exit
	x.Killed, x.EndNanos = h.killed, now()
	account(h.spec, &x)
	x.OOM = x.OOM || h.oom
	h.exit = x.Encode()
	store(h.exit)
	h.send(MsgExit, h.exit)
	removeCgroups(h.spec)
	h.arm(int64(h.spec.AckSeconds) * 1e9)
}

// arm sets the timer; below 1 ns it fires at once.
func (h *holder) arm(nanos int64) {
	if nanos < 1 {
		nanos = 1
	}
	spec := [4]int64{0, 0, nanos / 1e9, nanos % 1e9}
	syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(h.timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// kill handles a request of an agent. A later one may shorten the grace.
func (h *holder) kill(graceMillis int64) {
	if h.exit != nil {
		return
	}
	h.killed = true
	if graceMillis > 0 && !h.keep.firstGone.Load() {
		syscall.Kill(-h.keep.pid, syscall.SIGTERM)
	}
	h.arm(graceMillis * 1e6)
}

// outOfMemory ends the whole container: half of one is of no use to anybody, and its status says why.
func (h *holder) outOfMemory() {
	var b [8]byte
	syscall.Read(h.oomFD, b[:])
	if h.exit == nil {
		h.oom = true
		h.keep.killAll()
	}
	syscall.Close(h.oomFD)
	h.oomFD = -1
}

func (h *holder) accept() {
	fd, _, err := syscall.Accept4(ListenFD, syscall.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	peer, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil || (int(peer.Uid) != syscall.Getuid() && peer.Uid != 0) || len(h.conns) > 16 {
		syscall.Close(fd)
		return
	}
	c := &conn{fd: fd}
	h.conns = append(h.conns, c)
	if h.keep.pid != 0 {
		c.send(MsgStarted, Number8(int64(h.keep.pid)))
	}
	if h.exit != nil {
		c.send(MsgExit, h.exit)
	}
}

func (h *holder) send(kind byte, body []byte) {
	for _, c := range h.conns {
		c.send(kind, body)
	}
}

func (h *holder) serve(fds []pollFD) {
	live := h.conns[:0]
	for i, c := range h.conns {
		if fds[i].revents != 0 && !h.read(c) {
			syscall.Close(c.fd)
			continue
		}
		live = append(live, c)
	}
	h.conns = live
}

// read takes what came over one connection; false: it has ended.
func (h *holder) read(c *conn) bool {
	if !c.fill() {
		return false
	}
	for {
		kind, body, ok := c.next()
		if !ok {
			return !c.bad
		}
		switch kind {
		case MsgKill:
			if n, ok := ParseNumber8(body); ok {
				h.kill(n)
			}
		case MsgAck:
			if h.exit != nil {
				h.acked = true
			}
		}
	}
}

// conn is one control connection.
type conn struct {
	fd  int
	buf []byte
	bad bool
}

// fill reads once; false: the connection has ended.
func (c *conn) fill() bool {
	var b [4096]byte
	n, err := syscall.Read(c.fd, b[:])
	for err == syscall.EINTR {
		n, err = syscall.Read(c.fd, b[:])
	}
	if n <= 0 {
		return false
	}
	c.buf = append(c.buf, b[:n]...)
	return true
}

// next takes a whole message from what was read.
func (c *conn) next() (kind byte, body []byte, ok bool) {
	if len(c.buf) < 4 {
		return 0, nil, false
	}
	n := int(c.buf[0]) | int(c.buf[1])<<8 | int(c.buf[2])<<16 | int(c.buf[3])<<24
	if n < 1 || n > MaxMessage {
		c.bad = true
		return 0, nil, false
	}
	if len(c.buf) < 4+n {
		return 0, nil, false
	}
	kind, body = c.buf[4], c.buf[5:4+n]
	c.buf = c.buf[4+n:]
	return kind, body, true
}

// send writes a small message. An agent that does not read loses it and finds the record on disk.
func (c *conn) send(kind byte, body []byte) {
	b := Frame(kind, body)
	for {
		err := syscall.Sendto(c.fd, b, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, nil)
		if err != syscall.EINTR {
			return
		}
	}
}
