package container

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway/agent/container/supervisor"
)

// fakeV2 makes a folder that looks like a cgroup v2 file system of one level: files are plain ones.
func fakeV2(t *testing.T, own string) string {
	t.Helper()
	root := t.TempDir()
	name := "k1"
	for _, dir := range []string{"", own, own + "/agent", own + "/fairway", own + "/fairway/" + name, own + "/fairway/" + name + "/c1", own + "/fairway/" + name + "/c2"} {
		d := filepath.Join(root, dir)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.kill", "memory.max", "memory.swap.max", "memory.oom.group", "cpu.weight", "cpu.max", "pids.max"} {
			if err := os.WriteFile(filepath.Join(d, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset cpu io memory pids\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestV2(t *testing.T) {
	for _, own := range []string{"/", "/system.slice/fairway.service"} {
		root := fakeV2(t, own)
		h := detect(root, "0::"+own+"\n", "k1")
		if l := h.limits(); l != (Limits{Memory: true, CPU: true, Pids: true, Mode: "cgroup v2"}) {
			t.Fatalf("limits %+v", l)
		}
		// Plain files keep what was written last, and the end of longer words before it.
		if got := read(t, root, own, "cgroup.subtree_control"); !strings.HasPrefix(got, "+pids") {
			t.Errorf("subtree_control %q", got)
		}
		if moved := read(t, root, own, "agent/cgroup.procs") != ""; moved != (own != "/") {
			t.Errorf("%s: agent moved: %v", own, moved)
		}
		var spec supervisor.Spec
		if err := h.create("c1", Resources{MemoryBytes: 8 << 20, CPUMilli: 1500, HardCPU: true, Pids: 7}, &spec); err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string]string{"memory.max": "8388608", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.weight": "59", "cpu.max": "150000 100000", "pids.max": "7"} {
			if got := read(t, spec.V2, file); got != want {
				t.Errorf("%s is %q, want %q", file, got, want)
			}
		}
		second := supervisor.Spec{}
		if err := h.create("c2", Resources{}, &second); err != nil {
			t.Fatal(err)
		}
		group := func(want string) {
			t.Helper()
			if got := read(t, filepath.Dir(spec.V2), "cpu.weight"); got != want {
				t.Errorf("all containers weigh %q, want %q", got, want)
			}
		}
		group("159") // a new group weighs 100
		if err := h.resize(Resources{MemoryBytes: 16 << 20, CPUMilli: 2500, HardCPU: true}, &spec); err != nil {
			t.Fatal(err)
		}
		if err := h.resize(Resources{}, &spec); err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string]string{"memory.max": "16777216", "cpu.weight": "98", "cpu.max": "250000 100000"} {
			if got := read(t, spec.V2, file); got != want {
				t.Errorf("resized: %s is %q, want %q", file, got, want)
			}
		}
		group("198")
		h.remove(&second)
		group("988") // 98, and the end of what was written before it
		if err := os.WriteFile(filepath.Join(filepath.Dir(spec.V2), "memory.current"), []byte("42\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(spec.V2), "cpu.stat"), []byte("usage_usec 5\nuser_usec 4\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if memory, cpu, ok := h.usage(); memory != 42 || cpu != 5000 || !ok {
			t.Errorf("usage %d %d %v", memory, cpu, ok)
		}
	}
}

func TestV2WithoutControllers(t *testing.T) {
	root := fakeV2(t, "/")
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("pids\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := detect(root, "0::/\n", "k1").limits()
	if l.Memory || l.CPU || !l.Pids || !strings.Contains(l.Why, "memory: not available") {
		t.Errorf("limits %+v", l)
	}
}

// TestV2Real runs a container in a true cgroup v2 where there is one with controllers.
func TestV2Real(t *testing.T) {
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil || !strings.Contains(string(controllers), "memory") {
		t.Skip("/sys/fs/cgroup is no cgroup v2 with a memory controller")
	}
	r := newRuntime(t, Options{})
	hog := start(t, r, Resources{MemoryBytes: 32 << 20}, "sh", "-c", "head -c 100000000 /dev/zero | tail")
	if x := hog.end(t); !x.OOM {
		t.Errorf("exit %+v", x)
	}
}

func TestNoCgroupsAtAll(t *testing.T) {
	root := t.TempDir()
	if os.Geteuid() == 0 {
		root = "/proc/none"
	}
	l := detect(root, "", "k1").limits()
	if l.Memory || l.CPU || l.Pids || l.Mode != "none" || l.Why == "" {
		t.Errorf("limits %+v", l)
	}
}

func TestCreateFails(t *testing.T) {
	root := fakeV2(t, "/")
	h := detect(root, "0::/\n", "k1")
	os.Remove(filepath.Join(root, "fairway/k1/c1/memory.max"))
	var spec supervisor.Spec
	if err := h.create("c1", Resources{MemoryBytes: 1}, &spec); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
