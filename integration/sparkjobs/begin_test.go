package sparkjobs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/spark"
)

// application is a submission that runs beside the test.
type application struct {
	res  spark.Result
	err  error
	done chan struct{}
}

func beginApplication(ctx context.Context, c *spark.Client, args ...string) *application {
	a := &application{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.res, a.err = c.Submit(ctx, args...)
	}()
	return a
}

// wait waits until the submission has ended well.
func (a *application) wait(t *testing.T, r *rig, limit time.Duration) spark.Result {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(limit):
		t.Fatalf("the application has not ended after %v\n%s", limit, r.Logs())
	}
	if a.err != nil {
		t.Fatalf("%v\n%s\n%s\n%s", a.err, a.res.Stdout, tail(a.res.Stderr), r.Logs())
	}
	return a.res
}

// gate holds the tasks of gate.py.
type gate struct{ dir string }

func newGate(t *testing.T) gate {
	t.Helper()
	g := gate{folder(t, 0o777)}
	t.Cleanup(func() { g.let(t, "open"); g.let(t, "go") })
	return g
}

// let makes a file that programs wait for: "go" is for drivers, "open" for tasks.
func (g gate) let(t *testing.T, name string) {
	if err := os.WriteFile(filepath.Join(g.dir, name), nil, 0o644); err != nil {
		t.Error(err)
	}
}

// count is how many files have come whose name begins so: "started-" are tasks.
func (g gate) count(prefix string) int {
	list, _ := filepath.Glob(filepath.Join(g.dir, prefix+"*"))
	return len(list)
}

// args are gate.py's, for n tasks.
func (g gate) args(t *testing.T, n int, more ...string) []string {
	return append([]string{program(t, "gate.py"), g.dir, strconv.Itoa(n)}, more...)
}

// await waits for something that another program does, which cannot tell us; the application must not end before.
func (a *application) await(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-a.done:
			if ok() {
				return
			}
			t.Fatalf("the application ended before %s: %v\n%s\n%s", what, a.err, a.res.Stdout, tail(a.res.Stderr))
		case <-end:
			t.Fatalf("%s did not happen within %v\n%s", what, limit, world.rig.Logs())
		}
	}
}

// process is one of this machine's.
type process struct {
	pid  int
	line string // its command line, with spaces
	env  string
}

// processes returns those whose command line and environment hold all words; bash wrappers are left out.
func processes(words ...string) (found []process) {
	entries, _ := os.ReadDir("/proc")
next:
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if bytes.HasPrefix(line, []byte("/bin/bash")) || bytes.HasPrefix(line, []byte("bash")) {
			continue
		}
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		p := process{pid, strings.ReplaceAll(string(line), "\x00", " "), string(env)}
		for _, w := range words {
			if !strings.Contains(p.line, w) && !strings.Contains(p.env, w) {
				continue next
			}
		}
		found = append(found, p)
	}
	return found
}

// Words in the command lines of executors and of masters.
const (
	executorClass = "YarnCoarseGrainedExecutorBackend"
	driverClass   = "org.apache.spark.deploy.yarn.ApplicationMaster" // in cluster mode
	launcherClass = "org.apache.spark.deploy.yarn.ExecutorLauncher"  // in client mode
)

// executors of an application.
func executors(id string) []process { return processes(executorClass, "--app-id "+id) }

// onHost keeps the containers of one agent.
func onHost(host string) string { return "NM_HOST=" + host + "\x00" }

// application is the id that the driver left.
func (g gate) application(t *testing.T) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(g.dir, "app-*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no driver has begun: %v", err)
	}
	return strings.TrimPrefix(filepath.Base(list[0]), "app-")
}
