package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Every test runs with and without cgroups, since the tree must be held either way.
func both(t *testing.T, test func(t *testing.T, r *Runtime)) {
	t.Helper()
	for _, cgroups := range []bool{true, false} {
		name := "cgroups"
		if !cgroups {
			name = "bare"
		}
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, Options{NoCgroups: !cgroups})
			if cgroups && r.Limits().Mode == "none" {
				t.Skip("cgroups cannot be used here: " + r.Limits().Why)
			}
			test(t, r)
		})
	}
}

func newRuntime(t *testing.T, o Options) *Runtime {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "containers")
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := r.List()
		if err != nil || len(left) != 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
		r.Close()
		if h, ok := r.groups.(*v1); ok {
			for _, base := range h.base {
				if _, err := os.Stat(base); err == nil {
					t.Errorf("cgroup %s is left", base)
				}
			}
		}
	})
	return r
}

type box struct {
	*Container
	dir string
}

func start(t *testing.T, r *Runtime, limit Resources, argv ...string) *box {
	t.Helper()
	c, err := try(t, r, limit, nil, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func try(t *testing.T, r *Runtime, limit Resources, user *User, argv ...string) (*box, error) {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // other users must be able to reach it
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(filepath.Join(dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	path := argv[0]
	if !strings.Contains(path, "/") {
		path = "/bin/" + path
	}
	c, err := r.Start(Spec{ID: "c" + strconv.FormatInt(time.Now().UnixNano(), 36), Path: path, Argv: argv, Env: []string{"PATH=/usr/bin:/bin", "A=b"},
		Dir: dir, User: user, Limit: limit, Stdout: out, Stderr: out})
	return &box{c, dir}, err
}

func (b *box) output(t *testing.T) string {
	t.Helper()
	s, err := os.ReadFile(filepath.Join(b.dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

func (b *box) end(t *testing.T) *Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	x, err := b.Wait(ctx)
	if err != nil {
		b.Kill(0)
		t.Fatal(err)
	}
	if err := b.Release(); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestExitCodesAndOutput(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		c := start(t, r, Resources{}, "sh", "-c", "echo $A; pwd; exit 7")
		x := c.end(t)
		if x.Code != 7 || x.Signal != 0 || x.OOM || x.Killed || x.CPUNanos <= 0 || x.EndNanos < x.StartNanos {
			t.Errorf("exit %+v", x)
		}
		if want := "b\n" + c.dir + "\n"; c.output(t) != want {
			t.Errorf("output %q, want %q", c.output(t), want)
		}
		x = start(t, r, Resources{}, "sh", "-c", "kill -9 $$").end(t)
		if x.Signal != 9 || x.Killed {
			t.Errorf("exit %+v", x)
		}
	})
}

func TestProgramThatIsNone(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		_, err := try(t, r, Resources{}, nil, "/no/such/program")
		if err == nil || !strings.Contains(err.Error(), "execute /no/such/program: no such file") {
			t.Errorf("error %v", err)
		}
	})
}

// tree starts a process in the background that ignores SIGTERM, one with a session of its own, and a daemon whose parent
// has ended, and prints their numbers.
const tree = `
sh -c 'trap "" TERM; echo $$; exec sleep 1000' &
setsid sh -c 'echo $$; exec sleep 1000' &
(setsid sh -c 'trap "" TERM; sh -c "echo \$\$; exec sleep 1000" &' &)
`

// A supervisor that does not get to its task is given up, and the error tells where it stands.
func TestSupervisorThatHangs(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		program, err := exec.LookPath("yes") // runs for ever, and says nothing to us
		if err != nil {
			t.Skip(err)
		}
		r.binary, r.start = program, 50*time.Millisecond
		began := time.Now()
		_, err = try(t, r, Resources{}, nil, "true")
		if err == nil || !strings.Contains(err.Error(), "supervisor did not start") || !strings.Contains(err.Error(), "(yes): ") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func printed(t *testing.T, c *box, n int) []int {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; unix.Poll(nil, 2) {
		fields := strings.Fields(c.output(t))
		if len(fields) >= n {
			var l []int
			for _, f := range fields {
				pid, err := strconv.Atoi(f)
				if err != nil {
					t.Fatal(err)
				}
				l = append(l, pid)
			}
			return l
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %v started", fields)
		}
	}
}

func checkDead(t *testing.T, list []int) {
	t.Helper()
	for _, pid := range list {
		if alive(pid) {
			t.Errorf("process %d lives", pid)
		}
	}
}

// alive is false for a zombie too: an orphan stays one for as long as this machine's init takes.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestWholeTreeEndsWithItsFirstProcess(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		c := start(t, r, Resources{}, "sh", "-c", tree+"while [ $(wc -l < stdout) -lt 3 ]; do :; done; exit 3")
		if x := c.end(t); x.Code != 3 || x.Killed {
			t.Errorf("exit %+v", x)
		}
		checkDead(t, printed(t, c, 3))
	})
}

func TestKill(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		c := start(t, r, Resources{}, "sh", "-c", tree+"trap '' TERM; while :; do sleep 1000; done")
		list := printed(t, c, 3)
		begun := time.Now()
		if err := c.Kill(50 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if x := c.end(t); x.Signal != 9 || !x.Killed {
			t.Errorf("exit %+v", x)
		}
		if d := time.Since(begun); d < 50*time.Millisecond {
			t.Errorf("killed after %v, before its grace was over", d)
		}
		checkDead(t, list)

		c = start(t, r, Resources{}, "sh", "-c", "trap 'exit 5' TERM; echo 1; while :; do sleep 0.01; done")
		printed(t, c, 1)
		c.Kill(time.Minute)
		if x := c.end(t); x.Code != 5 || !x.Killed {
			t.Errorf("exit %+v: SIGTERM did not reach it", x)
		}
	})
}

func TestAttach(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		c := start(t, r, Resources{}, "sh", "-c", "sleep 1000")
		c.Detach()
		again, err := r.Attach(c.ID())
		if err != nil {
			t.Fatal(err)
		}
		again.Kill(time.Nanosecond)
		b := &box{again, c.dir}
		if x := b.end(t); !x.Killed {
			t.Errorf("exit %+v", x)
		}
		if _, err := r.Attach(c.ID()); !errors.Is(err, ErrGone) {
			t.Errorf("attached to a released container: %v", err)
		}
	})
}

// A supervisor whose agent does not come back leaves the record and goes.
func TestSupervisorDoesNotWaitForever(t *testing.T) {
	r := newRuntime(t, Options{AckWait: time.Second})
	c := start(t, r, Resources{}, "sh", "-c", "exit 6")
	process := c.process
	c.process = nil
	c.Detach()
	state, err := process.Wait()
	if err != nil || state.ExitCode() != 0 {
		t.Errorf("supervisor ended with %v %v", state, err)
	}
	again, err := r.Attach(c.ID())
	if err != nil {
		t.Fatal(err)
	}
	if x := again.Ended(); x == nil || x.Code != 6 {
		t.Errorf("exit %+v", x)
	}
	if err := again.Kill(0); err != nil {
		t.Errorf("kill of what has ended: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

func TestSupervisorKilled(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		c := start(t, r, Resources{}, "sh", "-c", "echo $$; exec sleep 1000")
		list := printed(t, c, 1)
		c.process.Kill()
		_, err := c.Wait(t.Context())
		if !errors.Is(err, ErrGone) {
			t.Errorf("error %v", err)
		}
		c.Release()
		for deadline := time.Now().Add(5 * time.Second); alive(list[0]) && time.Now().Before(deadline); unix.Poll(nil, 1) {
		}
		checkDead(t, list)
	})
}

func TestMemoryLimitEndsTheOffenderAlone(t *testing.T) {
	r := newRuntime(t, Options{})
	if !r.Limits().Memory {
		t.Skip("no memory cgroup: " + r.Limits().Why)
	}
	other := start(t, r, Resources{MemoryBytes: 64 << 20}, "sh", "-c", "echo 1; sleep 1000")
	printed(t, other, 1)
	// The hog is a child: the container must end whole, not go on without it.
	hog := start(t, r, Resources{MemoryBytes: 32 << 20}, "sh", "-c", "head -c 100000000 /dev/zero | tail; echo survived; sleep 1000")
	x := hog.end(t)
	if !x.OOM || x.PeakBytes < 30<<20 || x.PeakBytes > 32<<20 {
		t.Errorf("exit %+v, output %q", x, hog.output(t))
	}
	other.Kill(0)
	if x := other.end(t); x.OOM || x.PeakBytes <= 0 || x.PeakBytes > 16<<20 {
		t.Errorf("other ended %+v", x)
	}
}

func TestCPU(t *testing.T) {
	r := newRuntime(t, Options{})
	if !r.Limits().CPU {
		t.Skip("no cpu cgroup: " + r.Limits().Why)
	}
	const spin = "echo 1; while :; do :; done"
	c := start(t, r, Resources{CPUMilli: 200, HardCPU: true}, "sh", "-c", spin)
	printed(t, c, 1)
	unix.Poll(nil, 600)
	c.Kill(0)
	x := c.end(t)
	if share := float64(x.CPUNanos) / float64(x.EndNanos-x.StartNanos); share > 0.35 {
		t.Errorf("used %.2f of a cpu with a quota of 0.2", share)
	}
	h := r.groups.(*v1)
	c = start(t, r, Resources{CPUMilli: 1500}, "sh", "-c", spin)
	b, err := os.ReadFile(filepath.Join(h.base["cpu"], c.ID(), "cpu.shares"))
	if err != nil || strings.TrimSpace(string(b)) != "1536" {
		t.Errorf("shares %q %v", b, err)
	}
	d := start(t, r, Resources{CPUMilli: 500}, "sh", "-c", spin)
	weigh := func(dir, want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(dir, "cpu.shares")); err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("shares of all %q %v, want %s", b, err, want)
		}
	}
	// An agent's containers together weigh what they do one by one, after its restart too.
	weigh(h.base["cpu"], "2048")
	again, err := New(Options{Dir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	if s := &again.groups.(*v1).scale; s.sum != 2048 || len(s.each) != 2 {
		t.Errorf("after a restart %d are known, of %d", len(s.each), s.sum)
	}
	if err := d.Resize(Resources{CPUMilli: 1000}); err != nil {
		t.Fatal(err)
	}
	weigh(h.base["cpu"], "2560")
	c.Kill(0)
	c.end(t)
	weigh(h.base["cpu"], "1024")
	d.Kill(0)
	d.end(t)
	// Those of all agents weigh as much as the cores, not as one process beside them.
	weigh(filepath.Dir(h.base["cpu"]), strconv.Itoa(runtime.NumCPU()*1024))
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may switch users")
	}
	both(t, func(t *testing.T, r *Runtime) {
		c, err := try(t, r, Resources{}, &User{UID: 65534, GID: 65534, Groups: []int{65534, 4}}, "sh", "-c", "id -u; id -g; id -G; cat /proc/self/status | grep CapEff")
		if err != nil {
			t.Fatal(err)
		}
		c.end(t)
		if got, want := c.output(t), "65534\n65534\n65534 4\nCapEff:\t0000000000000000\n"; got != want {
			t.Errorf("output %q, want %q", got, want)
		}
	})
}

// The task must see neither the supervisor's descriptors nor its session, nor be inside the supervisor's cgroups.
func TestNothingLeaks(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		c := start(t, r, Resources{}, "sh", "-c", "ls /proc/self/fd | grep -cE '^[0-9]$'; ls /proc/self/fd | grep -cE '^[1-9][0-9]';  ps -o sid= -p $$ | tr -d ' '; echo $$; cat /proc/self/cgroup")
		c.end(t)
		f := strings.Fields(c.output(t))
		if len(f) < 4 || f[0] != "4" || f[1] != "0" || f[2] != f[3] {
			t.Errorf("output %q", c.output(t))
		}
		if r.Limits().Mode == "cgroup v1" && strings.Count(c.output(t), c.ID()) != 5 {
			t.Errorf("not in all cgroups: %q", c.output(t))
		}
	})
}

func TestSupervisorIsSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("built with the race detector, which has memory of its own")
	}
	r := newRuntime(t, Options{})
	c := start(t, r, Resources{MemoryBytes: 64 << 20}, "sh", "-c", "echo 1; sleep 1000")
	printed(t, c, 1)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	anon := int64(-1)
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "RssAnon: %d kB", &anon)
	}
	t.Logf("supervisor: %d KiB anonymous", anon)
	if anon < 0 || anon > 4096 {
		t.Errorf("supervisor has %d KiB of anonymous memory, at most 4096 allowed", anon)
	}
	c.Kill(0)
	c.end(t)
}

func BenchmarkStartToExit(b *testing.B) {
	r, err := New(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	null, _ := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	defer null.Close()
	n := 0
	var started time.Duration
	for b.Loop() {
		n++
		begun := time.Now()
		c, err := r.Start(Spec{ID: strconv.Itoa(n), Path: "/bin/true", Argv: []string{"true"}, Dir: "/", Stdout: null, Stderr: null,
			Limit: Resources{MemoryBytes: 64 << 20, CPUMilli: 100}})
		if err != nil {
			b.Fatal(err)
		}
		started += time.Since(begun)
		if _, err := c.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := c.Release(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(started.Microseconds())/float64(n), "us/start")
}
