package memory

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// procfs reads what the kernel tells of processes.
type procfs struct{ dir string }

// size of a process, in bytes.
type size struct{ virtual, resident int64 }

// tree is the processes of a container by pid.
type tree map[int]size

func (t tree) sum(of map[int]bool) (u Usage) {
	for pid, s := range t {
		if of == nil || of[pid] {
			u.Resident += s.resident
			u.Virtual += s.virtual
		}
	}
	return u
}

var pageSize = int64(os.Getpagesize())

// read reads a file of a process, up to max bytes of it; nil if there is none any more.
func (p procfs) read(pid int, name string, max int64) []byte {
	f, err := os.Open(filepath.Join(p.dir, strconv.Itoa(pid), name))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max))
	if err != nil {
		return nil
	}
	return b
}

// sizes reads one short file of each process; those that have ended meanwhile are left out.
func (p procfs) sizes(pids []int) tree {
	t := make(tree, len(pids))
	for _, pid := range pids {
		f := bytes.Fields(p.read(pid, "statm", 256))
		if len(f) < 2 {
			continue
		}
		v, err1 := strconv.ParseInt(string(f[0]), 10, 48)
		r, err2 := strconv.ParseInt(string(f[1]), 10, 48)
		if err1 == nil && err2 == nil {
			t[pid] = size{v * pageSize, r * pageSize}
		}
	}
	return t
}

// shareOnce replaces resident sizes by the proportional ones, where the kernel tells them.
func (p procfs) shareOnce(t tree) {
	for pid, s := range t {
		for line := range strings.Lines(string(p.read(pid, "smaps_rollup", 4096))) {
			f := strings.Fields(line)
			if len(f) == 3 && f[0] == "Pss:" && f[2] == "kB" {
				if kb, err := strconv.ParseInt(f[1], 10, 48); err == nil {
					s.resident = kb << 10
					t[pid] = s
				}
			}
		}
	}
}

// process is a line of the dump.
type process struct {
	name                            string
	parent, group, session          string
	userTicks, systemTicks, vm, rss string
	commandLine                     string
}

// describe reads what the dump tells of a process; not ok if it has ended.
func (p procfs) describe(pid int) (d process, ok bool) {
	stat := p.read(pid, "stat", 4096)
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return d, false
	}
	f := strings.Fields(clean(stat[end+1:]))
	if len(f) < 22 {
		return d, false
	}
	// Fields are numbered from 3 here, proc(5): 4 parent, 5 group, 6 session, 14 utime, 15 stime, 23 vsize, 24 rss.
	d = process{name: clean(stat[open : end+1]), parent: f[1], group: f[2], session: f[3], userTicks: f[11], systemTicks: f[12], vm: f[20], rss: f[21]}
	command := p.read(pid, "cmdline", maxCommand+1)
	cut := len(command) > maxCommand
	if cut {
		command = command[:maxCommand]
	}
	d.commandLine = clean(bytes.TrimRight(command, "\x00"))
	if d.commandLine == "" {
		d.commandLine = "N/A"
	}
	if cut {
		d.commandLine += "..."
	}
	return d, true
}

// clean makes foreign bytes one line of valid text; zero bytes between arguments become spaces.
func clean(b []byte) string {
	s := strings.ToValidUTF8(string(b), "?")
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0 || r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f:
			return '?'
		}
		return r
	}, s)
}
