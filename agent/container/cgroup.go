package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"fairway/agent/container/supervisor"
)

// Limits tells which limits are enforced here, and why others are not.
type Limits struct {
	Memory bool
	CPU    bool
	Pids   bool
	Mode   string // "cgroup v1", "cgroup v2" or "none"
	Why    string // why not all are, for a person; empty if all are
}

// hierarchy makes the cgroups of containers below one place.
type hierarchy interface {
	limits() Limits
	// create makes the container's cgroups with their limits and puts them into spec.
	create(id string, r Resources, spec *supervisor.Spec) error
	// resize changes the limits of memory and cpu in the container's cgroups.
	resize(r Resources, spec *supervisor.Spec) error
	// remove kills what is left in the cgroups and removes them.
	remove(spec *supervisor.Spec) error
	// usage is what all containers use now: bytes, and nanoseconds of cpu since the place was made.
	usage() (memory, cpu int64, ok bool)
	// clear removes the place itself if it holds no container.
	clear()
}

// Resources are the limits of one container.
type Resources struct {
	MemoryBytes int64 // 0: none
	CPUMilli    int64 // share; a quota too if HardCPU. 0: none
	HardCPU     bool
	Pids        int64 // 0: 32,768
}

// leastMemory is the smallest limit that is set, in bytes: the fork itself needs some.
const leastMemory = 4 << 20

// quotaPeriod is the length of a cpu quota's period in microseconds.
const quotaPeriod = 100_000

// detect finds out which cgroups may be used. root is /sys/fs/cgroup, self the content of /proc/self/cgroup, and name tells
// this agent's containers from those of another agent on the machine. The containers of all weigh as much as the processors.
func detect(root, self, name string) hierarchy {
	all := int64(runtime.NumCPU()) * 1000
	own := map[string]string{} // controller -> path; "" -> path in v2
	for line := range strings.Lines(self) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for _, controller := range strings.Split(part[1], ",") {
			own[controller] = part[2]
		}
	}
	if controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil {
		return detectV2(root, own[""], name, strings.Fields(string(controllers)), weight(all))
	}
	h := &v1{name: name, base: map[string]string{}, leave: map[string]string{}}
	var missing []string
	for _, controller := range v1Controllers {
		leave := filepath.Join(root, controller, own[controller])
		if _, err := os.Stat(filepath.Join(leave, "tasks")); err != nil {
			// In a container that sees its own cgroup as the root of the mount.
			leave = filepath.Join(root, controller)
		}
		base := filepath.Join(leave, "fairway", name)
		err := os.MkdirAll(base, 0o755)
		if err == nil {
			_, err = os.Stat(filepath.Join(base, "tasks")) // a folder that is no cgroup is of no use
		}
		if err != nil {
			missing = append(missing, controller+": "+reason(err))
			continue
		}
		h.base[controller], h.leave[controller] = base, leave
		if controller == "cpu" {
			// A new group weighs as much as one process outside of it, however much runs in it.
			set(filepath.Dir(base), "cpu.shares", shares(all))
			h.scale.start(base, "cpu.shares", 1024, maxShares)
		}
	}
	h.why = strings.Join(missing, "; ")
	if len(h.base) == 0 {
		return none{why: h.why}
	}
	return h
}

func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// none is used where no cgroups may be made.
type none struct{ why string }

func (n none) limits() Limits                                 { return Limits{Mode: "none", Why: n.why} }
func (none) create(string, Resources, *supervisor.Spec) error { return nil }
func (none) resize(Resources, *supervisor.Spec) error         { return nil }
func (none) remove(*supervisor.Spec) error                    { return nil }
func (none) clear()                                           {}

var v1Controllers = []string{"memory", "cpu", "cpuacct", "pids", "freezer"}

// v1 uses one hierarchy for each controller; cpu and cpuacct may be two names of one.
type v1 struct {
	name  string
	base  map[string]string
	leave map[string]string
	why   string
	scale scale
}

func (h *v1) limits() Limits {
	return Limits{Memory: h.base["memory"] != "", CPU: h.base["cpu"] != "", Pids: h.base["pids"] != "", Mode: "cgroup v1", Why: h.why}
}

func (h *v1) create(id string, r Resources, spec *supervisor.Spec) error {
	for _, controller := range v1Controllers {
		base := h.base[controller]
		if base == "" {
			continue
		}
		dir := filepath.Join(base, id)
		if err := mkdir(dir); err != nil {
			return err
		}
		spec.V1 = append(spec.V1, supervisor.Controller{Name: controller, Dir: dir, Leave: h.leave[controller]})
		var err error
		switch controller {
		case "memory":
			if r.MemoryBytes > 0 {
				limit := max(r.MemoryBytes, leastMemory)
				err = set(dir, "memory.limit_in_bytes", limit)
				if err == nil { // swap would only hide the limit; the file is missing where swap is not accounted
					err = ignoreMissing(set(dir, "memory.memsw.limit_in_bytes", limit))
				}
			}
		case "cpu":
			w := int64(0)
			if r.CPUMilli > 0 {
				w = shares(r.CPUMilli)
				err = set(dir, "cpu.shares", w)
			}
			h.scale.put(dir, w)
			if err == nil && r.HardCPU && r.CPUMilli > 0 {
				if err = set(dir, "cpu.cfs_period_us", quotaPeriod); err == nil {
					err = set(dir, "cpu.cfs_quota_us", quota(r.CPUMilli))
				}
			}
		case "pids":
			err = set(dir, "pids.max", pids(r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *v1) resize(r Resources, spec *supervisor.Spec) error {
	var problems []error
	for _, c := range spec.V1 {
		switch c.Name {
		case "memory":
			if r.MemoryBytes <= 0 {
				continue
			}
			// The limit with swap is never below the one without, so that more begins there and less ends there.
			limit := max(r.MemoryBytes, leastMemory)
			err := set(c.Dir, "memory.limit_in_bytes", limit)
			swap := ignoreMissing(set(c.Dir, "memory.memsw.limit_in_bytes", limit))
			if err != nil && swap == nil {
				err = set(c.Dir, "memory.limit_in_bytes", limit)
			}
			problems = append(problems, err, swap)
		case "cpu":
			if r.CPUMilli <= 0 {
				continue
			}
			problems = append(problems, set(c.Dir, "cpu.shares", shares(r.CPUMilli)))
			h.scale.put(c.Dir, shares(r.CPUMilli))
			if r.HardCPU {
				problems = append(problems, set(c.Dir, "cpu.cfs_quota_us", quota(r.CPUMilli)))
			}
		}
	}
	return errors.Join(problems...)
}

func (h *v1) remove(spec *supervisor.Spec) error {
	var problems []error
	for _, c := range spec.V1 {
		if c.Name == "freezer" {
			killGroup(c.Dir, func(state string) { os.WriteFile(filepath.Join(c.Dir, "freezer.state"), []byte(state), 0) })
		}
	}
	for _, c := range spec.V1 {
		problems = append(problems, rmdir(c.Dir))
		if c.Name == "cpu" {
			h.scale.drop(c.Dir)
		}
	}
	return errors.Join(problems...)
}

func (h *v1) clear() {
	for _, base := range h.base {
		syscall.Rmdir(base)
		syscall.Rmdir(filepath.Dir(base)) // another agent's containers may be in it
	}
}

// v2 uses the unified hierarchy.
type v2 struct {
	base  string
	has   []string // controllers that were delegated to base
	why   string
	scale scale
}

// detectV2 makes base below the agent's own cgroup. As a cgroup with controlled children may hold no processes itself (the
// root may), the agent first moves into a leaf of its own cgroup, which systemd allows with Delegate=yes.
func detectV2(root, own, name string, controllers []string, weightAll int64) hierarchy {
	place := filepath.Join(root, own)
	if own != "/" && own != "" {
		leaf := filepath.Join(place, "agent")
		if filepath.Base(own) == "agent" { // moved by an agent before this one
			leaf, place = place, filepath.Dir(place)
		} else if err := mkdir(leaf); err != nil {
			return none{why: reason(err)}
		}
		if err := set(leaf, "cgroup.procs", int64(os.Getpid())); err != nil {
			return none{why: reason(err)}
		}
	}
	base := filepath.Join(place, "fairway", name)
	if err := os.MkdirAll(base, 0o755); err != nil {
		return none{why: reason(err)}
	}
	h := &v2{base: base}
	var missing []string
	for _, controller := range []string{"memory", "cpu", "pids"} {
		err := error(nil)
		if !slices.Contains(controllers, controller) {
			err = errors.New("not available")
		}
		for _, dir := range []string{place, filepath.Dir(base), base} {
			if err == nil {
				err = write(dir, "cgroup.subtree_control", "+"+controller)
			}
		}
		if err != nil {
			missing = append(missing, controller+": "+reason(err))
			continue
		}
		h.has = append(h.has, controller)
		if controller == "cpu" {
			set(filepath.Dir(base), "cpu.weight", weightAll)
			h.scale.start(base, "cpu.weight", 100, maxWeight)
		}
	}
	h.why = strings.Join(missing, "; ")
	return h
}

func (h *v2) limits() Limits {
	return Limits{Memory: slices.Contains(h.has, "memory"), CPU: slices.Contains(h.has, "cpu"),
		Pids: slices.Contains(h.has, "pids"), Mode: "cgroup v2", Why: h.why}
}

func (h *v2) create(id string, r Resources, spec *supervisor.Spec) error {
	dir := filepath.Join(h.base, id)
	if err := mkdir(dir); err != nil {
		return err
	}
	spec.V2 = dir
	for _, controller := range h.has {
		var err error
		switch controller {
		case "memory":
			if r.MemoryBytes > 0 {
				if err = set(dir, "memory.max", max(r.MemoryBytes, leastMemory)); err == nil {
					err = ignoreMissing(set(dir, "memory.swap.max", 0))
				}
			}
			if err == nil {
				err = set(dir, "memory.oom.group", 1)
			}
		case "cpu":
			w := int64(0)
			if r.CPUMilli > 0 {
				w = weight(r.CPUMilli)
				err = set(dir, "cpu.weight", w)
			}
			h.scale.put(dir, w)
			if err == nil && r.HardCPU && r.CPUMilli > 0 {
				err = write(dir, "cpu.max", fmt.Sprintf("%d %d", quota(r.CPUMilli), quotaPeriod))
			}
		case "pids":
			err = set(dir, "pids.max", pids(r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *v2) resize(r Resources, spec *supervisor.Spec) error {
	if spec.V2 == "" {
		return nil
	}
	var problems []error
	if r.MemoryBytes > 0 && slices.Contains(h.has, "memory") {
		problems = append(problems, set(spec.V2, "memory.max", max(r.MemoryBytes, leastMemory)))
	}
	if r.CPUMilli > 0 && slices.Contains(h.has, "cpu") {
		problems = append(problems, set(spec.V2, "cpu.weight", weight(r.CPUMilli)))
		h.scale.put(spec.V2, weight(r.CPUMilli))
		if r.HardCPU {
			problems = append(problems, write(spec.V2, "cpu.max", fmt.Sprintf("%d %d", quota(r.CPUMilli), quotaPeriod)))
		}
	}
	return errors.Join(problems...)
}

func (h *v2) remove(spec *supervisor.Spec) error {
	if spec.V2 == "" {
		return nil
	}
	if write(spec.V2, "cgroup.kill", "1") != nil {
		killGroup(spec.V2, func(string) {})
	}
	h.scale.drop(spec.V2)
	return rmdir(spec.V2)
}

func (h *v2) clear() {
	syscall.Rmdir(h.base)
	syscall.Rmdir(filepath.Dir(h.base))
}

// What a group can weigh at most, in cgroup v1 and v2.
const (
	maxShares = 262144
	maxWeight = 10000
)

func shares(milli int64) int64 { return min(max(milli*1024/1000, 2), maxShares) }

// weight is the kernel's own mapping from shares (2 to 262144) to weights (1 to 10000).
func weight(milli int64) int64 { return 1 + (shares(milli)-2)*9999/262142 }

func quota(milli int64) int64 { return max(milli*quotaPeriod/1000, 1000) }
func pids(r Resources) int64 {
	if r.Pids > 0 {
		return r.Pids
	}
	return 32768
}

func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func set(dir, file string, n int64) error { return write(dir, file, strconv.FormatInt(n, 10)) }

func write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// killGroup kills whoever is left in a cgroup whose supervisor is gone.
func killGroup(dir string, freeze func(state string)) {
	freeze("FROZEN")
	list, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		if pid, err := strconv.Atoi(lines.Text()); err == nil && pid > 1 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	freeze("THAWED")
}

func (none) usage() (int64, int64, bool) { return 0, 0, false }

func (h *v1) usage() (memory, cpu int64, ok bool) {
	if h.base["memory"] == "" || h.base["cpuacct"] == "" {
		return 0, 0, false
	}
	memory, err := number(h.base["memory"], "memory.usage_in_bytes", "")
	if err != nil {
		return 0, 0, false
	}
	cpu, err = number(h.base["cpuacct"], "cpuacct.usage", "")
	return memory, cpu, err == nil
}

func (h *v2) usage() (memory, cpu int64, ok bool) {
	memory, err := number(h.base, "memory.current", "")
	if err != nil {
		return 0, 0, false
	}
	micros, err := number(h.base, "cpu.stat", "usage_usec")
	return memory, micros * 1000, err == nil
}

// number reads a file that holds one number, or the line "field number" of it.
func number(dir, file, field string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	if field == "" {
		return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+" "); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s in %s", field, file)
}
