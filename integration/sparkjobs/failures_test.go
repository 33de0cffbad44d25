package sparkjobs

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/integration/testbed"
)

func kill(t *testing.T, p process) {
	t.Helper()
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s: %v", p.line, err)
	}
}

// An application shows itself while it runs, and an executor is killed: its task runs on another one.
func TestExecutorKilled(t *testing.T) {
	r := world.rig
	g := newGate(t)
	c := r.client(testbed.WithAccount)
	c.Conf["spark.yarn.tags"], c.Conf["spark.yarn.priority"] = "one,two", "3"
	a := beginApplication(t.Context(), c, g.args(t, 2)...)
	a.await(t, "the tasks' start", 2*time.Minute, func() bool { return g.count("started-") == 2 })
	id := g.application(t)
	list := executors(id)
	if len(list) != 2 {
		t.Fatalf("%d executors run", len(list))
	}
	r.checkPages(t, id)
	kill(t, list[0])
	a.await(t, "the task's second start", 2*time.Minute, func() bool { return g.count("started-") == 3 })
	g.let(t, "open")
	res := a.wait(t, r, 2*time.Minute)
	check(t, said(res.Stdout), map[string]string{"total": "2"})
	h := r.history(t, res.Application)
	if h.failed["ExecutorLostFailure"] != 1 || h.added != 3 {
		t.Errorf("tasks failed: %v; %d executors", h.failed, h.added)
	}
	if !strings.Contains(strings.Join(slices.Collect(maps.Values(h.removed)), "\n"), "137") {
		t.Errorf("executors went: %q; want its exit status", h.removed)
	}
}

// The driver is killed in cluster mode: a second attempt finishes the application.
func TestDriverKilled(t *testing.T) {
	r := world.rig
	g := newGate(t)
	a := beginApplication(t.Context(), r.client(testbed.WithAccount), append([]string{"--deploy-mode", "cluster"}, g.args(t, 2)...)...)
	a.await(t, "the tasks' start", 2*time.Minute, func() bool { return g.count("started-") == 2 })
	drivers := processes(driverClass, "CONTAINER_ID=", r.Dir)
	if len(drivers) != 1 {
		t.Fatalf("%d drivers run", len(drivers))
	}
	kill(t, drivers[0])
	a.await(t, "the tasks' second start", 3*time.Minute, func() bool { return g.count("started-") == 4 })
	g.let(t, "open")
	res := a.wait(t, r, 2*time.Minute)
	if !strings.Contains(res.Stderr, "final status: SUCCEEDED") {
		t.Errorf("the client says\n%s", tail(res.Stderr))
	}
	if out := r.logs(t, res.Application); strings.Count(out, "total=2\n") != 1 {
		t.Errorf("the second driver's output is not in\n%s", tail(out))
	}
}

// A driver that dies leaves no executor behind, in client mode nor, after its last attempt, in cluster mode.
func TestDriverThatDiesLeavesNoExecutor(t *testing.T) {
	r := world.rig
	for _, mode := range []string{"client", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			g := newGate(t)
			c := r.client(testbed.WithAccount)
			c.Conf["spark.yarn.maxAppAttempts"] = "1"
			a := beginApplication(t.Context(), c, append([]string{"--deploy-mode", mode}, g.args(t, 2)...)...)
			a.await(t, "the tasks' start", 2*time.Minute, func() bool { return g.count("started-") == 2 })
			id := g.application(t)
			var drivers []process
			if mode == "client" {
				drivers = processes("org.apache.spark.deploy.SparkSubmit", g.dir)
			} else {
				drivers = processes(driverClass, "CONTAINER_ID=", r.Dir)
			}
			if len(drivers) == 0 {
				t.Fatal("no driver runs")
			}
			for _, p := range drivers {
				kill(t, p)
			}
			<-a.done
			if a.err == nil {
				t.Error("the client says that all went well")
			}
			await(t, "the executors' end", time.Minute, func() bool { return len(processes(id, r.Dir)) == 0 })
			await(t, "the application's end", time.Minute, func() bool { return r.application(t, id).State != "RUNNING" })
			if app := r.application(t, id); mode == "cluster" && (app.State != "FAILED" || app.FinalStatus != "FAILED") {
				t.Errorf("the application is %+v", app)
			}
		})
	}
}

// The broker is killed in the middle of an application and started again: it goes on, and gets executors that it wants later.
func TestBrokerKilled(t *testing.T) {
	r, err := startRig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	g := newGate(t)
	a := beginApplication(t.Context(), r.client(testbed.WithAccount), g.args(t, 2)...)
	a.await(t, "the tasks' start", 2*time.Minute, func() bool { return g.count("started-") == 2 })
	id := g.application(t)
	r.Broker().Kill()
	if err := r.StartBroker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitAgents(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	kill(t, executors(id)[0])
	a.await(t, "the task's second start", 2*time.Minute, func() bool { return g.count("started-") == 3 })
	g.let(t, "open")
	res := a.wait(t, r, 2*time.Minute)
	check(t, said(res.Stdout), map[string]string{"total": "2"})
	if h := r.history(t, res.Application); h.failed["ExecutorLostFailure"] != 1 || h.added != 3 {
		t.Errorf("tasks failed: %v; %d executors", h.failed, h.added)
	}
}

// A host is lost with an executor on it.
func TestAgentKilled(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "node_expiry: 10s")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	g := newGate(t)
	c := r.serviced(testbed.WithAccount)
	c.Conf["spark.dynamicAllocation.minExecutors"] = "3"
	c.Conf["spark.dynamicAllocation.maxExecutors"] = "3"
	a := beginApplication(t.Context(), c, g.args(t, 6)...)
	a.await(t, "the tasks' start", 2*time.Minute, func() bool { return g.count("started-") == 3 })
	id := g.application(t)
	victim := -1
	for i, h := range testbed.Hosts() {
		if len(processes(launcherClass, onHost(h.Name), r.Dir)) == 0 && len(processes(executorClass, onHost(h.Name), id)) > 0 {
			victim = i
		}
	}
	if victim < 0 {
		t.Fatal("all executors are where the master is")
	}
	r.Agent(victim).Kill()
	for _, p := range processes(onHost(testbed.Hosts()[victim].Name), r.Dir) { // the host is lost, not only the agent
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	g.let(t, "open")
	res := a.wait(t, r, 4*time.Minute)
	check(t, said(res.Stdout), map[string]string{"total": "6"})
	if n := g.count("started-"); n < 7 { // the lost one again
		t.Errorf("%d tasks have started", n)
	}
}
