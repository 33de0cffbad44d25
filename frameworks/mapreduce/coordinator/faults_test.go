package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/sdk/sdktest"
)

// job makes a wordcount over n lines in about maps splits, and tells its right output.
func (c *cluster) job(lines, maps, reduces int) (*spec.Job, map[string]int) {
	in, want := text(lines)
	job := wordcount(c, reduces)
	job.Inputs, job.SplitSize = []string{c.write("in/a.txt", in)}, int64(len(in)/maps+1)
	return job, want
}

func (c *cluster) mustRun(job *spec.Job, want map[string]int) coordinator.Result {
	c.t.Helper()
	r, err := c.runJob(c.options(job))
	if err != nil {
		c.t.Fatal(err)
	}
	if got := c.output("out"); !maps.Equal(got, want) {
		c.t.Errorf("%d lines, want %d", len(got), len(want))
	}
	return r
}

// gate lets functions of a test wait for it.
type gate struct {
	once sync.Once
	open chan struct{}
	came chan struct{} // closed by the first that waits
	here sync.Once
}

func newGate() *gate { return &gate{open: make(chan struct{}), came: make(chan struct{})} }

func (g *gate) wait(ctx context.Context) error {
	g.here.Do(func() { close(g.came) })
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) let() { g.once.Do(func() { close(g.open) }) }

// gatedReduce sums after the gate opens.
type gatedReduce struct{ g *gate }

func (r gatedReduce) Setup(ctx *mapreduce.Context) error { return r.g.wait(ctx) }
func (r gatedReduce) Reduce(ctx *mapreduce.Context, key []byte, values mapreduce.Values, out mapreduce.Emitter) error {
	return mapreduce.Sum.InPlace.Reducer().Reduce(ctx, key, values, out)
}

func TestMapOnly(t *testing.T) {
	c := newCluster(t, 1, 2)
	job := &spec.Job{Name: "copy", Output: "file://" + c.dir + "/out", Inputs: []string{c.write("in/a.txt", "b\na\n")}, SplitSize: 2,
		Mapper: spec.Stage{Program: []string{"cat"}}}
	r, err := c.runJob(c.options(job))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.output("out"); len(got) != 2 {
		t.Errorf("output %v", got)
	}
	if counter(r, "TOTAL_LAUNCHED_MAPS") != 2 || counter(r, "TOTAL_LAUNCHED_REDUCES") != 0 {
		t.Errorf("counters %v", r.Counters)
	}
}

func TestEmptyInput(t *testing.T) {
	c := newCluster(t, 1, 1)
	job := wordcount(c, 2)
	job.Inputs = []string{c.write("in/empty.txt", "")}
	c.mustRun(job, map[string]int{})
}

func TestRetriesElsewhere(t *testing.T) {
	c := newCluster(t, 2, 2)
	c.fault = func(_ context.Context, a sdktest.Agent, task *v1.TaskSpec) *sdktest.Exit {
		if a.ID == "a1" {
			return &sdktest.Exit{Code: 1, Message: "this agent's disk is full", Reason: v1.TaskReason_TASK_REASON_DISK_LIMIT}
		}
		return nil
	}
	job, want := c.job(1000, 3, 1)
	r := c.mustRun(job, want)
	if n := counter(r, "NUM_FAILED_MAPS"); n < 1 || n > 3 {
		t.Errorf("%d maps failed", n)
	}
}

// TestLimitsFailTheJob has every attempt of a map end by its container's limits, or hang: the job's error says which limit
// it was and what to do about it.
func TestLimitsFailTheJob(t *testing.T) {
	for name, tc := range map[string]struct {
		fault func(c *cluster, ctx context.Context, task *v1.TaskSpec) *sdktest.Exit
		want  []string
	}{
		"memory": {func(*cluster, context.Context, *v1.TaskSpec) *sdktest.Exit {
			return &sdktest.Exit{Code: 137, Reason: v1.TaskReason_TASK_REASON_MEMORY_LIMIT, Message: "over its memory limit of 96 MiB (peak 97 MiB)"}
		}, []string{"over its memory limit of 96 MiB (peak 97 MiB)", "raise mapreduce.map.memory.mb"}},
		"disk": {func(*cluster, context.Context, *v1.TaskSpec) *sdktest.Exit {
			return &sdktest.Exit{Code: 1, Reason: v1.TaskReason_TASK_REASON_DISK_LIMIT, Message: "exited with code 1; the disk is full"}
		}, []string{"the disk is full"}},
		"hangs": {func(c *cluster, ctx context.Context, task *v1.TaskSpec) *sdktest.Exit {
			return c.hang(ctx, task)
		}, []string{"no progress for 200ms", "mapreduce.task.timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, 2)
			c.fault = func(ctx context.Context, _ sdktest.Agent, task *v1.TaskSpec) *sdktest.Exit {
				if strings.HasPrefix(task.Name, "map 0") {
					return tc.fault(c, ctx, task)
				}
				return nil
			}
			job, _ := c.job(100, 1, 1)
			job.MaxAttempts, job.TaskTimeout = 2, int64(time.Minute)
			if name == "hangs" {
				job.TaskTimeout = int64(200 * time.Millisecond)
			}
			r, err := c.runJob(c.options(job))
			if !errors.Is(err, coordinator.ErrFailed) || r.Phase != v1.JobPhase_JOB_PHASE_FAILED {
				t.Fatalf("err = %v, result %v", err, r)
			}
			for _, w := range append(tc.want, "map 0 of 1 failed 2 times") {
				if !strings.Contains(r.Message, w) {
					t.Errorf("message lacks %q: %s", w, r.Message)
				}
			}
			if c.count("map 0") != 2 {
				t.Errorf("%d attempts", c.count("map 0"))
			}
			if _, err := os.Stat(filepath.Join(c.dir, "out")); err == nil {
				t.Error("a failed job left its output folder")
			}
		})
	}
}

func TestFailureSaysWhy(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.registry.Mapper("picky", mapreduce.Map(func(_ *mapreduce.Context, _, v []byte, _ mapreduce.Emitter) error {
		if string(v) == "poison" {
			return errors.New("cannot digest it")
		}
		return nil
	}))
	in := c.write("in/a.txt", "fine\npoison\n")
	for name, tc := range map[string]struct {
		mapper spec.Stage
		want   []string
	}{
		"bad record": {spec.Stage{Function: "picky"}, []string{"map 0 of 1 failed 2 times", in, "byte 5", "cannot digest it"}},
		"program":    {spec.Stage{Program: []string{"sh", "-c", "cat >/dev/null; echo why it failed >&2; exit 7"}}, []string{"exited with code 7", "why it failed"}},
		"no program": {spec.Stage{Program: []string{"no-such-program"}}, []string{"no-such-program"}},
		"unknown":    {spec.Stage{Function: "nobody"}, []string{"map 0 of 1 failed:", "nobody"}}, // once: trying again cannot help
	} {
		t.Run(name, func(t *testing.T) {
			job := &spec.Job{Name: name, Output: "file://" + c.dir + "/out", Inputs: []string{in}, Mapper: tc.mapper,
				Reducer: spec.Stage{Function: "sum"}, Reduces: 1, MaxAttempts: 2}
			r, err := c.runJob(c.options(job))
			if !errors.Is(err, coordinator.ErrFailed) || r.Phase != v1.JobPhase_JOB_PHASE_FAILED {
				t.Fatalf("err = %v, result %v", err, r)
			}
			for _, w := range tc.want {
				if !strings.Contains(r.Message, w) {
					t.Errorf("message lacks %q: %s", w, r.Message)
				}
			}
			if _, err := os.Stat(filepath.Join(c.dir, "out")); err == nil {
				t.Error("a failed job left its output folder")
			}
		})
	}
}

func TestPanicIsAFailure(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.registry.Mapper("panic", mapreduce.Map(func(*mapreduce.Context, []byte, []byte, mapreduce.Emitter) error { panic("oh no") }))
	job := &spec.Job{Output: "file://" + c.dir + "/out", Inputs: []string{c.write("in/a", "x\n")}, Mapper: spec.Stage{Function: "panic"}, MaxAttempts: 1}
	if r, _ := c.runJob(c.options(job)); !strings.Contains(r.Message, "oh no") {
		t.Errorf("message %q", r.Message)
	}
}

func TestBadInputs(t *testing.T) {
	c := newCluster(t, 1, 1)
	in := c.write("in/a", "x\n")
	if err := os.MkdirAll(filepath.Join(c.dir, "there"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ in, out, want string }{
		"missing input":   {"file://" + c.dir + "/absent", "out", "absent"},
		"existing output": {in, "there", "exist"},
	} {
		t.Run(name, func(t *testing.T) {
			job := wordcount(c, 1)
			job.Inputs, job.Output = []string{tc.in}, "file://"+c.dir+"/"+tc.out
			r, err := c.runJob(c.options(job))
			if !errors.Is(err, coordinator.ErrFailed) || !strings.Contains(r.Message, tc.want) {
				t.Errorf("%v: %s", err, r.Message)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(c.dir, "there")); err != nil {
		t.Errorf("the output that was there is gone: %v", err)
	}
}

// TestLostAgentsOutputIsMadeAgain loses the agent that holds map outputs before the reduce has fetched them.
func TestLostAgentsOutputIsMadeAgain(t *testing.T) {
	c := newCluster(t, 1, 4)
	blocked := newGate()
	c.fault = func(ctx context.Context, _ sdktest.Agent, task *v1.TaskSpec) *sdktest.Exit {
		if strings.HasPrefix(task.Name, "reduce") {
			if blocked.wait(ctx) != nil {
				return &sdktest.Exit{}
			}
		}
		return nil
	}
	job, want := c.job(2000, 3, 1)
	go func() {
		<-blocked.came
		c.await(func() bool {
			p := c.broker.Progress("f1")
			return p != nil && len(p.Progress) > 0 && p.Progress[0].Done == 3 // the maps
		})
		c.addAgent("a2", 4)
		c.setDown("a1", true)
		c.broker.LoseAgent("a1")
		blocked.let()
	}()
	r := c.mustRun(job, want)
	if counter(r, "TOTAL_LAUNCHED_MAPS") != 6 || counter(r, "MAP_INPUT_RECORDS") != 2000 {
		t.Errorf("%d maps launched, %d records", counter(r, "TOTAL_LAUNCHED_MAPS"), counter(r, "MAP_INPUT_RECORDS"))
	}
}

// TestCutOffAgent cuts off the agent that runs everything: its work is done elsewhere, and it does no harm when it is
// back.
func TestCutOffAgent(t *testing.T) {
	c := newCluster(t, 1, 2)
	slow := newGate()
	c.registry.Reducer("gated", func() mapreduce.Reducer { return gatedReduce{slow} })
	job, want := c.job(500, 2, 1)
	job.Reducer.Function = "gated"
	go func() {
		<-slow.came
		c.addAgent("a2", 2)
		c.broker.CutAgent("a1")
		c.await(func() bool { return c.count("reduce 0") == 2 })
		c.broker.HealAgent("a1")
		slow.let()
	}()
	c.mustRun(job, want)
}

func TestBrokerLostInBetween(t *testing.T) {
	c := newCluster(t, 2, 2)
	slow := newGate()
	c.registry.Reducer("gated", func() mapreduce.Reducer { return gatedReduce{slow} })
	job, want := c.job(1000, 4, 2)
	job.Reducer.Function = "gated"
	go func() {
		<-slow.came
		c.broker.SetDown(true)
		c.broker.DropSessions(api.ErrUnavailable)
		slow.let() // the reduces end while nobody hears of it
		c.await(func() bool { return len(c.broker.Running()) == 0 })
		c.broker.SetDown(false)
	}()
	r := c.mustRun(job, want)
	if counter(r, "TOTAL_LAUNCHED_REDUCES") != 2 || counter(r, "TOTAL_LAUNCHED_MAPS") != 4 {
		t.Errorf("tasks ran again: %v", r.Counters)
	}
}

func TestKilledJob(t *testing.T) {
	c := newCluster(t, 1, 2)
	never := newGate()
	c.registry.Reducer("gated", func() mapreduce.Reducer { return gatedReduce{never} })
	job, _ := c.job(100, 1, 1)
	job.Reducer.Function = "gated"
	go func() {
		<-never.came
		c.broker.Kill("no more")
	}()
	r, err := c.runJob(c.options(job))
	if !errors.Is(err, coordinator.ErrKilled) || r.Phase != v1.JobPhase_JOB_PHASE_KILLED || r.Message != "no more" {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "out")); err == nil {
		t.Error("a killed job left its output folder")
	}
}

func TestStoppedClient(t *testing.T) {
	c := newCluster(t, 1, 2)
	never := newGate()
	c.registry.Reducer("gated", func() mapreduce.Reducer { return gatedReduce{never} })
	job, _ := c.job(100, 1, 1)
	job.Reducer.Function = "gated"
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-never.came
		cancel()
	}()
	o := c.options(job)
	o.KillOnCancel = true
	if r, err := coordinator.Run(ctx, o); !errors.Is(err, coordinator.ErrKilled) {
		t.Errorf("%v, %v", r, err)
	}
}

// TestStraggler has one map hang on one agent until a copy of it has done its work.
func TestStraggler(t *testing.T) {
	c := newCluster(t, 2, 2)
	var mu sync.Mutex
	hung := false
	c.fault = func(ctx context.Context, _ sdktest.Agent, task *v1.TaskSpec) *sdktest.Exit {
		if strings.HasPrefix(task.Name, "map 2") {
			mu.Lock()
			first := !hung
			hung = true
			mu.Unlock()
			if first { // says hello, and then does nothing
				return c.hang(ctx, task)
			}
		}
		return nil
	}
	job, want := c.job(1000, 4, 1)
	job.Speculative = true
	o := c.options(job)
	o.Tuning.MinStraggler = time.Second
	r, err := c.runJob(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.output("out"); !maps.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
	if counter(r, "TOTAL_LAUNCHED_MAPS") != 5 || counter(r, "NUM_KILLED_MAPS") != 1 {
		t.Errorf("counters %v", r.Counters)
	}
}

// TestFetchFailure has an agent that serves no map output, though the broker sees it.
func TestFetchFailure(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.setDown("a1", true)
	blocked := newGate()
	c.fault = func(ctx context.Context, a sdktest.Agent, task *v1.TaskSpec) *sdktest.Exit {
		if strings.HasPrefix(task.Name, "reduce") && a.ID == "a1" {
			blocked.wait(ctx)
			return &sdktest.Exit{Code: 1, Message: "not here"}
		}
		return nil
	}
	job, want := c.job(500, 2, 1)
	go func() {
		<-blocked.came
		c.addAgent("a2", 2) // the reduce will run here, and fetch from a1
		blocked.let()
	}()
	r := c.mustRun(job, want)
	if counter(r, "TOTAL_LAUNCHED_MAPS") < 4 {
		t.Errorf("%d maps", counter(r, "TOTAL_LAUNCHED_MAPS"))
	}
}

// TestSecondCoordinator ends the first coordinator after the maps; the second uses what they made.
func TestSecondCoordinator(t *testing.T) {
	c := newCluster(t, 2, 2)
	slow := newGate()
	c.registry.Reducer("gated", func() mapreduce.Reducer { return gatedReduce{slow} })
	job, want := c.job(1000, 4, 2)
	job.Reducer.Function, job.ID, job.Staging = "gated", "job-77", "file://"+filepath.Join(c.dir, "staging")
	ctx, crash := context.WithCancel(context.Background())
	o := c.options(job)
	o.Tuning.JournalEvery = 10 * time.Millisecond
	go func() {
		<-slow.came
		c.await(func() bool { // all four are written down
			n := 0
			files, _ := filepath.Glob(filepath.Join(c.dir, "staging", "journal", "0*"))
			for _, f := range files {
				b, _ := os.ReadFile(f)
				n += strings.Count(string(b), `"index"`)
			}
			return n == 4
		})
		crash()
	}()
	if _, err := coordinator.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("first coordinator: %v", err)
	}
	c.broker.EndFramework("f1")
	slow.let()
	o.Attempt = 2
	r, err := c.runJob(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.output("out"); !maps.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
	if counter(r, "TOTAL_LAUNCHED_MAPS") != 0 || counter(r, "MAP_INPUT_RECORDS") != 1000 {
		t.Errorf("counters %v", r.Counters)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "staging")); err == nil {
		t.Error("the job's folder is left")
	}
}

func TestTotalOrder(t *testing.T) {
	c := newCluster(t, 2, 2)
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%06d\tx\n", i*7919%100000)
	}
	job := &spec.Job{Name: "sort", Output: "file://" + c.dir + "/out", Inputs: []string{c.write("in/a", b.String())}, SplitSize: 8000,
		InputFormat: "keyvalue", Mapper: spec.Stage{Function: "identity"}, Reducer: spec.Stage{Function: "identity"}, Reduces: 4, Partitioner: "total"}
	if _, err := c.runJob(c.options(job)); err != nil {
		t.Fatal(err)
	}
	last, n := "", 0
	for i := range 4 {
		b, err := os.ReadFile(filepath.Join(c.dir, "out", fmt.Sprintf("part-r-%05d", i)))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
			if l < last {
				t.Fatalf("%q after %q", l, last)
			}
			last = l
			n++
		}
	}
	if n != 5000 {
		t.Errorf("%d records", n)
	}
}

func TestRefusedLaunches(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.broker.RefuseAccepts(3)
	job, want := c.job(300, 2, 1)
	c.mustRun(job, want)
}
