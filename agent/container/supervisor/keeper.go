package supervisor

import (
	"sync/atomic"
	"syscall"
)

// keeper starts the task and waits for every process of the container.
type keeper struct {
	spec *Spec
	note int // write end of a pipe to the loop

	pid       int         // the task's first process; 0: it was not started
	exit      Exit        // read by the loop after the note
	firstGone atomic.Bool // the first process was reaped: its number may be another's
}

// start forks and executes the task inside its cgroups, and returns why it could not. It runs on the main thread, to which
// init is bound, for two reasons: that thread joins the container's v1 cgroups for the fork (the child is then born inside),
// and the kernel kills the task when the thread that forked it dies, which must not be before the supervisor does.
func (k *keeper) start() (failure string) {
	defer func() {
		syscall.Close(StdoutFD)
		syscall.Close(StderrFD)
		k.firstGone.Store(k.pid == 0)
	}()
	s := k.spec
	null, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "open /dev/null: " + err.Error()
	}
	defer syscall.Close(null)
	attr := &syscall.ProcAttr{
		Dir: s.Dir, Env: s.Env, Files: []uintptr{uintptr(null), StdoutFD, StderrFD},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if s.UID >= 0 {
		c := &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.GID)}
		for _, g := range s.Groups {
			c.Groups = append(c.Groups, uint32(g))
		}
		attr.Sys.Credential = c
	}
	if s.V2 != "" {
		fd, err := syscall.Open(s.V2, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return "open cgroup " + s.V2 + ": " + err.Error()
		}
		defer syscall.Close(fd)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, fd
	}
	for i, c := range s.V1 {
		// "0" is the writing thread. Through tasks (not cgroup.procs) the kernel moves it without its global lock.
		if err := writeFile(c.Dir+"/tasks", "0"); err != nil {
			k.leave(i)
			return "join cgroup " + c.Dir + ": " + err.Error()
		}
	}
	pid, err := syscall.ForkExec(s.Path, s.Argv, attr)
	k.leave(len(s.V1))
	if err != nil {
		return "execute " + s.Path + ": " + err.Error()
	}
	k.pid = pid
	return ""
}

func (k *keeper) leave(n int) {
	for _, c := range k.spec.V1[:n] {
		writeFile(c.Leave+"/tasks", "0")
	}
}

// reap has a goroutine of its own, because wait4 blocks. It waits until no process of the container is left. As the
// supervisor is the subreaper of all that the task has forked, nothing escapes it by a double fork or a session of its
// own. When the first process ends, the rest is killed.
func (k *keeper) reap() {
	k.reapAll()
	syscall.Write(k.note, []byte{'e'})
}

func (k *keeper) reapAll() {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		options := syscall.WALL
		if k.firstGone.Load() {
			// Whoever was orphaned since the last look became a child of ours; look, kill, wait.
			pid, err := syscall.Wait4(-1, &status, options|syscall.WNOHANG, &usage)
			if err == syscall.ECHILD {
				return
			}
			if err != nil || pid == 0 {
				k.killAll()
				if pid, err = syscall.Wait4(-1, &status, options, &usage); err == syscall.ECHILD {
					return
				}
			}
			k.reaped(pid, err, status, usage)
			continue
		}
		pid, err := syscall.Wait4(-1, &status, options, &usage)
		if err == syscall.ECHILD {
			return
		}
		k.reaped(pid, err, status, usage)
	}
}

func (k *keeper) reaped(pid int, err error, status syscall.WaitStatus, usage syscall.Rusage) {
	if err != nil || pid <= 0 {
		return
	}
	// A process's usage holds that of the children it waited for, so the sum counts each process once.
	k.exit.CPUNanos += usage.Utime.Nano() + usage.Stime.Nano()
	if peak := usage.Maxrss * 1024; peak > k.exit.PeakBytes {
		k.exit.PeakBytes = peak
	}
	if pid == k.pid {
		k.firstGone.Store(true)
		if status.Signaled() {
			k.exit.Signal = int(status.Signal())
		} else {
			k.exit.Code = status.ExitStatus()
		}
	}
}

// killAll sends SIGKILL to every process of the container. Both goroutines call it.
func (k *keeper) killAll() {
	if k.spec.V2 != "" && writeFile(k.spec.V2+"/cgroup.kill", "1") == nil {
		return
	}
	procs := ""
	for _, c := range k.spec.V1 {
		if c.Name == "freezer" {
			procs = c.Dir
		}
	}
	if procs != "" {
		// Frozen, they cannot fork faster than they are found.
		writeFile(procs+"/freezer.state", "FROZEN")
		killList(readFile(procs + "/cgroup.procs"))
		writeFile(procs+"/freezer.state", "THAWED")
	}
	if !k.firstGone.Load() && k.pid != 0 {
		syscall.Kill(-k.pid, syscall.SIGKILL)
	}
	killChildren()
}

// killList kills the processes whose numbers stand in b, separated by white space.
func killList(b []byte) {
	for at := 0; at < len(b); {
		end := at
		for end < len(b) && b[end] > ' ' {
			end++
		}
		if n, ok := parseInt(b[at:end]); ok && n > 1 {
			syscall.Kill(int(n), syscall.SIGKILL)
		}
		at = end + 1
	}
}

// killChildren kills all direct children of this process. Their own children become ours as they die.
func killChildren() {
	fd, err := syscall.Open("/proc/self/task", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	var b [4096]byte
	for {
		n, err := syscall.ReadDirent(fd, b[:])
		if n <= 0 || err != nil {
			return
		}
		var names []string
		_, _, names = syscall.ParseDirent(b[:n], -1, names)
		for _, tid := range names {
			killList(readFile("/proc/self/task/" + tid + "/children"))
		}
	}
}
