package jobs

import (
	"encoding/json"
	"testing"

	v1 "fairway/broker/api/fairwayv1"
)

// An agent is drained in the middle of two jobs: they end as if nothing had been, nothing new begins there, no task is ended
// before its time, and the command returns when the agent can be switched off.
func TestAgentDrained(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/drained")
	host := world.DFS.Hosts[0].Name
	out, err := c.Run(t.Context(), "drain", host, "--wait", "-o", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Logs())
	}
	var g struct {
		State string   `json:"state"`
		Since int64    `json:"drain_since_unix_nanos,string"`
		Jobs  []string `json:"jobs"`
	}
	if err := json.Unmarshal([]byte(out), &g); err != nil || g.State != "drained" || g.Since == 0 || len(g.Jobs) != 0 {
		t.Fatalf("%v: %s", err, out)
	}
	finish(t, c, "/faults/drained", ids, want)
	there := 0
	for _, id := range ids {
		for _, k := range tasksOf(t, c, id) {
			if k.Host != host {
				continue
			}
			there++
			if k.LaunchedUnixNanos > g.Since || k.State == v1.TaskState_TASK_STATE_LOST {
				t.Errorf("%s, launched %d ns after the draining began, is %v", k.Name, k.LaunchedUnixNanos-g.Since, k.State)
			}
		}
	}
	if there == 0 {
		t.Error("nothing ran there: the test shows nothing")
	}
	if _, err := c.Run(t.Context(), "undrain", host); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitAgents(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
}
