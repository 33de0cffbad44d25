package sparkjobs

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/testbed"
)

// checkPi looks for what pi.py prints.
func checkPi(t *testing.T, text string) {
	t.Helper()
	m := regexp.MustCompile(`Pi is roughly ([\d.]+)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no estimate in\n%s", tail(text))
	}
	if v, err := strconv.ParseFloat(m[1], 64); err != nil || math.Abs(v-math.Pi) > 0.05 {
		t.Errorf("pi = %s", m[1])
	}
}

func TestPiInClientMode(t *testing.T) {
	res := world.rig.submit(t, world.rig.client(testbed.WithAccount), 2*time.Minute, world.spark.Example("pi.py"), "4")
	checkPi(t, res.Stdout)
	h := world.rig.history(t, res.Application)
	if h.tasks() != 4 || len(h.failed) != 0 || !h.ended {
		t.Errorf("%d tasks, failed %v", h.tasks(), h.failed)
	}
	// What Spark's history links to is there after the end.
	if len(h.logs) != 2 {
		t.Errorf("logs of %d executors", len(h.logs))
	}
	for executor, url := range h.logs {
		status, log := fetch(t, url)
		for limit := time.Now().Add(30 * time.Second); status == http.StatusNotFound && time.Now().Before(limit); status, log = fetch(t, url) { // it is being written
			<-time.After(200 * time.Millisecond)
		}
		if status != http.StatusOK || !strings.Contains(log, "CoarseGrainedExecutorBackend") {
			t.Errorf("executor %s: stderr at %s: %d\n%.400s", executor, url, status, log)
		}
	}
}

func TestPiInClusterMode(t *testing.T) {
	r := world.rig
	res := r.submit(t, r.client(testbed.WithAccount), 2*time.Minute, "--deploy-mode", "cluster", world.spark.Example("pi.py"), "4")
	if !strings.Contains(res.Stderr, "final status: SUCCEEDED") {
		t.Errorf("the client does not say how it ended:\n%s", tail(res.Stderr))
	}
	checkPi(t, r.logs(t, res.Application))
}

// logs are the driver's, as Fairway gives them.
func (r *rig) logs(t *testing.T, application string) string {
	t.Helper()
	out, err := r.Run(t.Context(), "logs", application)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Logs())
	}
	return out
}
