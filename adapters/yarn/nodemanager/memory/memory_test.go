package memory

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

type fakeProcess []int

func (p *fakeProcess) PID() int    { return (*p)[0] }
func (p *fakeProcess) PIDs() []int { return *p }

// host is a made-up /proc.
type host struct {
	t   testing.TB
	dir string
}

func (h host) set(pid int, virtual, resident int64) {
	dir := filepath.Join(h.dir, strconv.Itoa(pid))
	h.write(dir, "statm", fmt.Sprintf("%d %d 1 1 0 1 0\n", virtual/pageSize, resident/pageSize))
	h.write(dir, "stat", fmt.Sprintf("%d (bash (x) y) S 1 %d %d 0 -1 4194560 1 2 3 4 11 22 0 0 20 0 1 0 100 %d %d 18446744073709551615 1 1\n", pid, pid, pid, virtual, resident/pageSize))
	h.write(dir, "cmdline", "/bin/bash\x00-c\x00a\nb\xff\x00")
}

func (h host) write(dir, name, s string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

type told struct{ container, text string }

func monitor(t *testing.T, o Options) (*Monitor, host, *[]told) {
	var all []told
	o.Over = func(c, d string) { all = append(all, told{c, d}) }
	m := New(o)
	h := host{t, t.TempDir()}
	m.proc = procfs{h.dir}
	return m, h, &all
}

const gib = 1 << 30

func TestRule(t *testing.T) {
	m, h, all := monitor(t, Options{Registerer: prometheus.NewPedanticRegistry()})
	p := &fakeProcess{10}
	m.Watch(Container{ID: "container_1", LimitBytes: gib, Process: p})
	expect := func(n int, what string) {
		t.Helper()
		m.round(time.Unix(1, 0))
		if len(*all) != n {
			t.Fatalf("%s: %d told, want %d", what, len(*all), n)
		}
	}
	h.set(10, 2*gib, gib)
	expect(0, "at the limit")
	*p = fakeProcess{10, 11}
	h.set(11, 2*gib, gib)
	expect(0, "twice by a fork")
	*p = fakeProcess{10}
	expect(0, "the fork is gone")
	*p = fakeProcess{10, 12}
	h.set(12, 2*gib, gib/2)
	expect(0, "over, but not yet for a round")
	expect(1, "over for a round")
	expect(1, "told once")
	m.Watch(Container{ID: "container_1", LimitBytes: gib / 4, Process: p})
	expect(1, "told once, even with another limit")
	if u, ok := m.Usage("container_1"); !ok || u.Resident != gib+gib/2 || u.Virtual != 4*gib || u.Processes != 2 {
		t.Errorf("%+v %v", u, ok)
	}
	m.Forget("container_1")
	m.Forget("container_1")
	if _, ok := m.Usage("container_1"); ok {
		t.Error("usage of one that was forgotten")
	}

	q := &fakeProcess{20}
	h.set(20, 3*gib, 2*gib+pageSize)
	m.Watch(Container{ID: "container_2", LimitBytes: gib, Process: q})
	expect(2, "more than twice at once")
	m.Watch(Container{ID: "container_3", Process: q})
	expect(2, "without a limit")
	*q = fakeProcess{99}
	expect(2, "ended")
}

// The words are what Spark's allocator and people look for.
func TestText(t *testing.T) {
	m, h, all := monitor(t, Options{})
	h.set(10, 2792*gib/1024, 1127*gib/1024)
	p := &fakeProcess{10, 4000}
	m.Watch(Container{ID: "container_1700000000000_0007_01_000002", LimitBytes: gib, Process: p})
	m.round(time.Now())
	m.round(time.Now())
	want := "Container [pid=10,containerID=container_1700000000000_0007_01_000002] is running 108003328B beyond the 'PHYSICAL' memory limit. " +
		"Current usage: 1.1 GB of 1 GB physical memory used; 2.7 GB of 2.1 GB virtual memory used. Killing container.\n" +
		"Dump of the process-tree for container_1700000000000_0007_01_000002 :\n" +
		"\t|- PID PPID PGRPID SESSID CMD_NAME USER_MODE_TIME(MILLIS) SYSTEM_TIME(MILLIS) VMEM_USAGE(BYTES) RSSMEM_USAGE(PAGES) FULL_CMD_LINE\n" +
		fmt.Sprintf("\t|- 10 1 10 10 (bash (x) y) 11 22 2927624192 %d /bin/bash -c a b?\n", int64(1127*gib/1024)/pageSize)
	if len(*all) != 1 || (*all)[0].text != want {
		t.Fatalf("%q\nwant\n%q", *all, want)
	}
	spark := regexp.MustCompile(`[0-9.]+ [KMGB]+ of [0-9.]+ [KMGB]+ physical memory used`)
	hard := HardLimit("container_1", 7, gib, gib+gib/5, Usage{Resident: gib, Virtual: 3 * gib})
	for _, text := range []string{want, hard} {
		if !spark.MatchString(text) {
			t.Errorf("Spark finds nothing in %q", text)
		}
	}
	if !strings.HasPrefix(hard, "Container [pid=7,containerID=container_1] is running 214748364B beyond the 'PHYSICAL' memory limit. Current usage: 1.2 GB of 1 GB physical") || !strings.Contains(hard, "3 GB of 2.1 GB virtual") {
		t.Errorf("%q", hard)
	}
}

func TestSharedOnce(t *testing.T) {
	m, h, all := monitor(t, Options{SharedOnce: true})
	p := &fakeProcess{10, 11}
	for _, pid := range *p {
		h.set(pid, gib, gib)
		h.write(filepath.Join(h.dir, strconv.Itoa(pid)), "smaps_rollup", "56000-7fff ---p 00000000 00:00 0 [rollup]\nRss: 1048576 kB\nPss:  400000 kB\nPss_Anon: 1 kB\n")
	}
	m.Watch(Container{ID: "c", LimitBytes: gib, Process: p})
	m.round(time.Now())
	m.round(time.Now())
	if u, _ := m.Usage("c"); len(*all) != 0 || u.Resident != 2*400000<<10 {
		t.Errorf("%v %+v", *all, u)
	}
}

func TestDumpIsBounded(t *testing.T) {
	_, h, _ := monitor(t, Options{})
	var pids []int
	for pid := 1; pid <= 300; pid++ {
		h.set(pid, gib, gib)
		pids = append(pids, pid)
	}
	d := procfs{h.dir}.dump("c", pids)
	if !strings.HasSuffix(d, "\t|- and 236 more\n") {
		t.Errorf("%q", d[max(0, len(d)-100):])
	}
	for _, pid := range pids {
		h.write(filepath.Join(h.dir, strconv.Itoa(pid)), "cmdline", strings.Repeat("x", 1<<20))
	}
	if d := (procfs{h.dir}).dump("c", pids); len(d) > maxDump+1024 || !strings.Contains(d, "xxx...\n") {
		t.Errorf("%d bytes", len(d))
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hit := make(chan string, 4)
		m := New(Options{Over: func(c, _ string) { hit <- c }})
		h := host{t, t.TempDir()}
		m.proc = procfs{h.dir}
		h.set(10, gib, gib)
		m.Watch(Container{ID: "c", LimitBytes: gib - pageSize, Process: &fakeProcess{10}})
		done := make(chan error)
		start := time.Now()
		go func() { done <- m.Run(ctx) }()
		if c := <-hit; c != "c" || time.Since(start) != 2*DefaultInterval {
			t.Errorf("%s after %v", c, time.Since(start))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A real process is seen as the kernel tells it.
func TestRealProcess(t *testing.T) {
	c := exec.Command("/bin/sh", "-c", "read x")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer in.Close()
	p := &fakeProcess{os.Getpid(), c.Process.Pid}
	var text string
	m := New(Options{Over: func(_, d string) { text = d }})
	m.Watch(Container{ID: "c", LimitBytes: 1 << 16, Process: p})
	m.round(time.Now())
	if u, ok := m.Usage("c"); !ok || u.Processes != 2 || u.Resident < 1<<20 || u.Virtual < u.Resident {
		t.Errorf("%+v", u)
	}
	if !strings.Contains(text, " (sh) ") || !strings.Contains(text, "/bin/sh -c read x\n") {
		t.Errorf("%q", text)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1023: "1023", 1024: "1 K", 1 << 20: "1 M", gib: "1 G", 1280: "1.3 K", 1536: "1.5 K", gib + gib/10: "1.1 G",
		1<<20 - 1: "1.0 M", 2 * gib: "2 G", 1<<63 - 1: "8.0 E", -1024: "-1 K", 1<<40 + 1: "1.0 T", 2254857830: "2.1 G",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// A process names itself as it likes.
func FuzzDescribe(f *testing.F) {
	f.Add([]byte("1 (a) S 1 1 1 0 -1 1 1 2 3 4 11 22 0 0 20 0 1 0 100 5 6 7"), []byte("a\x00b"), []byte("1 2 3"))
	f.Add([]byte("1 (a\n) (b) S"), []byte{0xff, 0}, []byte("-1 99999999999999999999"))
	f.Add([]byte(")("), []byte(nil), []byte(""))
	dir := f.TempDir()
	h := host{f, dir}
	f.Fuzz(func(t *testing.T, stat, command, statm []byte) {
		for name, b := range map[string][]byte{"stat": stat, "cmdline": command, "statm": statm} {
			h.write(filepath.Join(dir, "7"), name, string(b))
		}
		p := procfs{dir}
		p.sizes([]int{7})
		d := p.dump("c", []int{7})
		if strings.Count(d, "\n") > 4 || !utf8.ValidString(d) || len(d) > maxDump {
			t.Errorf("%q", d)
		}
	})
}
