package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// pidFile holds the number of the task's first process, for those that attach later.
const pidFile = "pid"

func (c *Container) keepPID(body []byte) {
	if len(body) != 8 {
		return
	}
	c.pid = int(binary.LittleEndian.Uint64(body))
	// Without it a later agent cannot name the process; nothing else is lost.
	_ = os.WriteFile(filepath.Join(c.dir, pidFile), strconv.AppendInt(nil, int64(c.pid), 10), 0o600)
}

func (c *Container) loadPID() {
	if b, err := os.ReadFile(filepath.Join(c.dir, pidFile)); err == nil {
		c.pid, _ = strconv.Atoi(string(b))
	}
}

// PID is the number of the task's first process; 0: it was not started, or is not known any more.
func (c *Container) PID() int { return c.pid }

// PIDs are the numbers of all processes of the container now: of its cgroup, or without one the first process and its
// descendants.
func (c *Container) PIDs() []int {
	dir := c.groups.V2
	for _, g := range c.groups.V1 {
		if g.Name == "freezer" || dir == "" {
			dir = g.Dir
		}
	}
	if dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err == nil {
			return numbers(string(b))
		}
		return nil
	}
	if c.pid <= 0 {
		return nil
	}
	pids := []int{c.pid}
	if _, err := os.Stat("/proc/" + strconv.Itoa(c.pid) + "/task"); err != nil {
		return nil
	}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children(pids[i])...)
	}
	return pids
}

// standing tells what the threads of a process and of its children wait for in the kernel, as "; PID (NAME): STATE FUNCTION, ...";
// empty: it is gone.
func standing(pid int) string {
	text := ""
	const most = 8 // threads of one process
	for _, p := range append([]int{pid}, children(pid)...) {
		dir := "/proc/" + strconv.Itoa(p)
		name, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue
		}
		var threads []string
		entries, _ := os.ReadDir(dir + "/task") // one that has ended meanwhile has none
		for _, t := range entries[:min(len(entries), most)] {
			stat, _ := os.ReadFile(dir + "/task/" + t.Name() + "/stat")
			_, rest, _ := strings.Cut(string(stat), ") ")
			state, _, _ := strings.Cut(rest, " ")
			where, _ := os.ReadFile(dir + "/task/" + t.Name() + "/wchan")
			threads = append(threads, strings.TrimSpace(state+" "+string(where)))
		}
		text += fmt.Sprintf("; %d (%s): %s", p, strings.TrimSpace(string(name)), strings.Join(threads, ", "))
	}
	return text
}

// children are the numbers of a process's children.
func children(pid int) []int {
	var pids []int
	threads, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task") // none of one that is gone
	for _, t := range threads {
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children"); err == nil {
			pids = append(pids, numbers(string(b))...)
		}
	}
	return pids
}

func numbers(s string) []int {
	var l []int
	for _, f := range strings.Fields(s) {
		if n, err := strconv.Atoi(f); err == nil && n > 0 {
			l = append(l, n)
		}
	}
	return l
}

// Signal sends a signal to the process group of the first process, if that lives: its number cannot be another's then.
func (c *Container) Signal(s syscall.Signal) error {
	if c.pid <= 1 || !slices.Contains(c.PIDs(), c.pid) {
		return os.ErrProcessDone
	}
	err := syscall.Kill(-c.pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
