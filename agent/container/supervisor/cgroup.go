package supervisor

import "syscall"

// watchOOM returns an eventfd that is signalled when the container's v1 memory cgroup runs out; -1: there is none. (On
// v2 memory.oom.group makes the kernel end the whole container by itself.)
func watchOOM(s *Spec) int {
	dir := s.v1("memory")
	if dir == "" {
		return -1
	}
	control, err := syscall.Open(dir+"/memory.oom_control", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer syscall.Close(control)
	fd, _, e := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if e != 0 {
		return -1
	}
	line := appendInt(nil, int64(fd))
	line = append(line, ' ')
	line = appendInt(line, int64(control))
	if writeFile(dir+"/cgroup.event_control", string(line)) != nil {
		syscall.Close(int(fd))
		return -1
	}
	return int(fd)
}

func (s *Spec) v1(name string) string {
	for _, c := range s.V1 {
		if c.Name == name {
			return c.Dir
		}
	}
	return ""
}

// account replaces the sums over processes by what the cgroups counted, where there are any.
func account(s *Spec, x *Exit) {
	if dir := s.v1("memory"); dir != "" {
		if n, ok := parseInt(trim(readFile(dir + "/memory.max_usage_in_bytes"))); ok {
			x.PeakBytes = n
		}
		x.OOM = field(readFile(dir+"/memory.oom_control"), "oom_kill") > 0
	}
	if dir := s.v1("cpuacct"); dir != "" {
		if n, ok := parseInt(trim(readFile(dir + "/cpuacct.usage"))); ok && n > 0 {
			x.CPUNanos = n
		}
	}
	if s.V2 != "" {
		if n, ok := parseInt(trim(readFile(s.V2 + "/memory.peak"))); ok {
			x.PeakBytes = n
		}
		x.OOM = field(readFile(s.V2+"/memory.events"), "oom_kill") > 0
		if n := field(readFile(s.V2+"/cpu.stat"), "usage_usec"); n > 0 {
			x.CPUNanos = n * 1000
		}
	}
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// field returns the number in the line "name number" of b, or 0.
func field(b []byte, name string) int64 {
	for at := 0; at < len(b); {
		end := at
		for end < len(b) && b[end] != '\n' {
			end++
		}
		line := b[at:end]
		if len(line) > len(name)+1 && string(line[:len(name)]) == name && line[len(name)] == ' ' {
			n, _ := parseInt(line[len(name)+1:])
			return n
		}
		at = end + 1
	}
	return 0
}

// removeCgroups removes the container's cgroups, which are empty now. What is still busy the agent removes later.
func removeCgroups(s *Spec) {
	for _, c := range s.V1 {
		syscall.Rmdir(c.Dir)
	}
	if s.V2 != "" {
		syscall.Rmdir(s.V2)
	}
}
