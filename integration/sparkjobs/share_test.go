package sparkjobs

import (
	"strings"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/testbed"
)

// Two applications in roles of weights 2 and 1 want more than there is, with dynamic allocation: the nine processors go six
// to three, the masters' among them. Another job holds the cluster until both want more than all of it.
func TestTwoRoles(t *testing.T) {
	r := world.rig
	var gates [2]gate
	var apps [2]*application
	roles := [2]string{"analytics", "batch"}
	for i, queue := range roles {
		gates[i] = newGate(t)
		apps[i] = beginApplication(t.Context(), r.serviced(testbed.WithAccount), append([]string{"--queue", queue}, gates[i].args(t, 12, "go")...)...)
	}
	for i, a := range apps {
		a.await(t, "the driver's start", 2*time.Minute, func() bool { return gates[i].count("app-") == 1 })
	}
	out, err := r.Run(t.Context(), "submit", "mapreduce", "--maps", "20", "--input-format", "none", "--output", world.DFS.URL()+home(testbed.WithAccount, "held"),
		"--mapper", "sleep 300", "--reducer", "NONE", "--map-cpus", "1", "--map-memory", "256MiB", "--user", testbed.WithAccount, "--detach")
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Logs())
	}
	holder := strings.TrimSpace(out)
	if err := r.Until(t.Context(), "a cluster without room", func(list []*v1.Agent) bool {
		for _, a := range list {
			if a.Info.Total.CpuMilli-a.Used.CpuMilli >= 1000 {
				return false
			}
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for _, g := range gates {
		g.let(t, "go")
	}
	for i, role := range roles {
		apps[i].await(t, "asks for more than there is", time.Minute, func() bool { return r.waiting(t, role) >= 9 })
	}
	if _, err := r.Run(t.Context(), "kill", holder); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{5, 2} {
		apps[i].await(t, "its share of tasks", 3*time.Minute, func() bool { return gates[i].count("started-") >= want })
	}
	// Both still want more, so what they have is their shares.
	for i, want := range []int{5, 2} {
		if n := gates[i].count("started-"); n != want {
			t.Errorf("the application in %s runs %d tasks, want %d", roles[i], n, want)
		}
	}
	for _, g := range gates {
		g.let(t, "open")
	}
	for _, a := range apps {
		res := a.wait(t, r, 3*time.Minute)
		check(t, said(res.Stdout), map[string]string{"total": "12"})
	}
}

// waiting is how many containers a role's applications want and have not.
func (r *rig) waiting(t *testing.T, path string) uint32 {
	t.Helper()
	b, err := r.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	list, err := b.ListRoles(t.Context(), api.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if x.Path == path {
			return x.TasksWaiting
		}
	}
	t.Fatalf("no role %s", path)
	return 0
}

// An application has all of the cluster when one of another role comes: it loses what is above its share, its executors with
// status -102, which Spark counts against nobody: no task may fail here, and none does.
func TestExecutorsArePreempted(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "preemption_grace: 2s", "FAIRWAY_BROKER_RECLAIM_AFTER=6s")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	var gates [2]gate
	var apps [2]*application
	for i, x := range []struct {
		queue string
		tasks int // that run once it has come
	}{{"analytics", 8}, {"batch", 2}} { // nine processors, one for each master
		gates[i] = newGate(t)
		c := r.serviced(testbed.WithAccount)
		c.Conf["spark.task.maxFailures"] = "1"
		apps[i] = beginApplication(t.Context(), c, append([]string{"--queue", x.queue}, gates[i].args(t, 12)...)...)
		apps[i].await(t, "its tasks", 3*time.Minute, func() bool { return gates[i].count("started-") >= x.tasks })
	}
	id := gates[0].application(t)
	apps[0].await(t, "its share of executors", time.Minute, func() bool { return len(executors(id)) == 5 })
	if n := gates[1].count("started-"); n != 2 {
		t.Errorf("the application in batch runs %d tasks, want 2", n)
	}
	for _, g := range gates {
		g.let(t, "open")
	}
	for _, a := range apps {
		res := a.wait(t, r, 4*time.Minute)
		check(t, said(res.Stdout), map[string]string{"total": "12"})
	}
	preempted := 0
	for _, why := range r.history(t, id).removed {
		if strings.Contains(why, "preempted") {
			preempted++
		}
	}
	if preempted != 3 {
		t.Errorf("%d executors were preempted by Spark's own word, want 3", preempted)
	}
}

// A gang has none of its executors while there is room for two of four, and all of them when another application has ended.
func TestGang(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	var gates [2]gate
	var apps [2]*application
	for i, x := range []struct{ queue, executors, tags string }{{"batch", "5", ""}, {"analytics", "4", "fairway.gang"}} { // nine processors, one for each master
		gates[i] = newGate(t)
		c := r.client(testbed.WithAccount)
		c.Conf["spark.executor.instances"], c.Conf["spark.yarn.tags"] = x.executors, x.tags
		apps[i] = beginApplication(t.Context(), c, append([]string{"--queue", x.queue}, gates[i].args(t, 5)...)...)
		if i == 0 {
			apps[0].await(t, "its tasks", 2*time.Minute, func() bool { return gates[0].count("started-") == 5 })
		}
	}
	apps[1].await(t, "the driver's start", 2*time.Minute, func() bool { return gates[1].count("app-") == 1 })
	id := gates[1].application(t)
	apps[1].await(t, "the reason", time.Minute, func() bool {
		why, err := r.Run(t.Context(), "explain", id)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(why, "4 tasks wait: it begins with 4 at once or waits whole, and there is room for 2")
	})
	if n := len(executors(id)); n != 0 {
		t.Errorf("%d executors of a gang for which there is no room", n)
	}
	gates[0].let(t, "open")
	apps[1].await(t, "its executors", 2*time.Minute, func() bool { return len(executors(id)) == 4 })
	gates[1].let(t, "open")
	for _, a := range apps {
		check(t, said(a.wait(t, r, 2*time.Minute).Stdout), map[string]string{"total": "5"})
	}
}
