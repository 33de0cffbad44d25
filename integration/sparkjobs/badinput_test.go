package sparkjobs

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairway/integration/spark"
	"fairway/integration/testbed"
)

// report is an application as the resource manager's REST interface shows it.
type report struct {
	State, FinalStatus, Diagnostics, Queue, User string
	Type                                         string `json:"applicationType"`
	Tags                                         string `json:"applicationTags"`
	Master                                       string `json:"amHostHttpAddress"`
	Priority                                     int
}

func (r *rig) application(t *testing.T, id string) report {
	t.Helper()
	status, body := fetch(t, "http://"+r.Web+"/ws/v1/cluster/apps/"+id)
	var p struct{ App report }
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d, %v in %s", id, status, err, body)
	}
	return p.App
}

// fails runs an application that must fail within the limit, and returns what the user sees.
func (r *rig) fails(t *testing.T, c *spark.Client, limit time.Duration, args ...string) spark.Result {
	t.Helper()
	ctx, cancel := within(t, limit)
	defer cancel()
	res, err := c.Submit(ctx, args...)
	if err == nil {
		t.Fatalf("it went well:\n%s\n%s", res.Stdout, tail(res.Stderr))
	}
	if ctx.Err() != nil {
		t.Fatalf("%v\n%s", err, tail(res.Stderr))
	}
	return res
}

// contains looks for what must be said.
func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not said in\n%s", w, tail(text))
		}
	}
}

// await waits for something that another program does, which cannot tell us.
func await(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s did not happen within %v", what, limit)
		}
	}
}

// An error in the driver's Python reaches the user: on the terminal, or as the application's end and in its logs.
func TestErrorInDriver(t *testing.T) {
	r := world.rig
	t.Run("client", func(t *testing.T) {
		res := r.fails(t, r.client(testbed.WithAccount), 2*time.Minute, program(t, "broken.py"))
		contains(t, res.Stdout, "ValueError: deliberate error in the driver") // where Spark has Python say it
	})
	t.Run("cluster", func(t *testing.T) {
		c := r.client(testbed.WithAccount)
		c.Conf["spark.yarn.maxAppAttempts"] = "1"
		res := r.fails(t, c, 2*time.Minute, "--deploy-mode", "cluster", program(t, "broken.py"))
		contains(t, res.Stderr, "final status: FAILED", "User application exited with status 1")
		contains(t, r.logs(t, res.Application), "ValueError: deliberate error in the driver")
		if app := r.application(t, res.Application); app.FinalStatus != "FAILED" || !strings.Contains(app.Diagnostics, "exited with status 1") {
			t.Errorf("the application is %+v", app)
		}
	})
}

// What cannot be is said before anything is submitted.
func TestRefusedByClient(t *testing.T) {
	r := world.rig
	c := r.client(testbed.WithAccount)
	c.Conf["spark.executor.memory"] = "7g" // agents have 6 GiB
	res := r.fails(t, c, time.Minute, world.spark.Example("pi.py"))
	contains(t, res.Stderr, "Required executor memory (7168 MB)", "is above the max threshold (6144 MB) of this cluster")
	res = r.fails(t, r.client(testbed.WithAccount), time.Minute, "--deploy-mode", "cluster", "/no/such/script.py")
	contains(t, res.Stderr, "/no/such/script.py", "does not exist")
	res = r.fails(t, r.client(testbed.WithAccount), time.Minute, "--queue", "nosuch", world.spark.Example("pi.py"))
	contains(t, res.Stderr, "to unknown queue: nosuch")
}

// In a role that is full an application waits for executors, and Fairway says why; killing it ends the driver.
func TestRoleIsFull(t *testing.T) {
	r := world.rig
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	g := newGate(t)
	a := beginApplication(ctx, r.client(testbed.WithAccount), append([]string{"--queue", "full"}, g.args(t, 2, "go")...)...)
	a.await(t, "the driver's start", 2*time.Minute, func() bool { return g.count("app-") == 1 })
	g.let(t, "go")
	id := g.application(t)
	if len(executors(id)) != 0 {
		t.Error("it has executors beyond its role's limit")
	}
	var why string
	a.await(t, "the reason", time.Minute, func() bool {
		var err error
		if why, err = r.Run(t.Context(), "explain", id); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(why, "role full has reached its limit")
	})
	if _, err := r.Run(t.Context(), "kill", id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.done:
	case <-time.After(time.Minute):
		t.Fatal("the driver goes on after its application was killed")
	}
	if a.err == nil || !strings.Contains(a.res.Stderr, "KILLED") && !strings.Contains(a.res.Stderr, "killed") {
		t.Errorf("the client: %v\n%s", a.err, tail(a.res.Stderr))
	}
	if app := r.application(t, id); app.State != "KILLED" {
		t.Errorf("the application is %+v", app)
	}
}
