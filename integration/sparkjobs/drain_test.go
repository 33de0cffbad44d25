package sparkjobs

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/spark"
	"fairway/integration/testbed"
)

// drained is a driver with a shuffle that is read twice: drained.py FOLDER. In between it leaves the file "left" and waits for
// "go", and then for a while, so that its master is heard of meanwhile.
const drained = `import os
import sys
import time

from pyspark import SparkContext

folder = sys.argv[1]
sc = SparkContext(appName="drained")
open(os.path.join(folder, "app-" + sc.applicationId), "w").close()
grouped = sc.parallelize(range(60000), 8).map(lambda x: (x % 600, str(x) * 20)).groupByKey(8)
print("groups=%d" % grouped.count())
open(os.path.join(folder, "left"), "w").close()
end = time.time() + 300
while not os.path.exists(os.path.join(folder, "go")):
    if time.time() > end:
        raise RuntimeError("nobody lets it go on")
    time.sleep(0.05)
time.sleep(8)
print("values=%d" % grouped.map(lambda kv: len(list(kv[1]))).sum())
sc.stop()
`

// begunToDrain is an application between the two halves of its shuffle whose executors on host, where its master is not, hear
// that it is drained.
func begunToDrain(t *testing.T, c *spark.Client) (a *application, g gate, id, host string) {
	t.Helper()
	r := world.rig
	g = newGate(t)
	file := filepath.Join(g.dir, "drained.py")
	if err := os.WriteFile(file, []byte(drained), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Conf["spark.executor.instances"] = "4"
	c.Conf["spark.scheduler.minRegisteredResourcesRatio"] = "1.0" // each holds some of the shuffle
	c.Conf["spark.decommission.enabled"] = "true"
	c.Conf["spark.storage.decommission.enabled"] = "true"
	c.Conf["spark.storage.decommission.shuffleBlocks.enabled"] = "true"
	c.Conf["spark.storage.decommission.rddBlocks.enabled"] = "true"
	a = beginApplication(t.Context(), c, file, g.dir)
	a.await(t, "the first half", 3*time.Minute, func() bool { return g.count("left") == 1 })
	id = g.application(t)
	for _, h := range testbed.Hosts() {
		if n := len(onDrained(id, h.Name)); n > 0 && n < 4 && len(processes(launcherClass, onHost(h.Name), r.Dir)) == 0 {
			host = h.Name
		}
	}
	if host == "" {
		t.Fatal("all executors are where the master is, or all on one host")
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // the test's own has ended
		defer cancel()
		if _, err := r.Run(ctx, "undrain", host); err != nil {
			t.Error(err)
		}
	})
	if out, err := r.Run(t.Context(), "drain", host); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.await(t, "the node's decommissioning", 30*time.Second, func() bool {
		status, page := fetch(t, "http://"+r.Web+"/ws/v1/cluster/nodes?states=DECOMMISSIONING")
		var list struct {
			Nodes struct {
				Node []struct {
					Host string `json:"nodeHostName"`
				} `json:"node"`
			} `json:"nodes"`
		}
		return status == http.StatusOK && json.Unmarshal([]byte(page), &list) == nil && len(list.Nodes.Node) == 1 && list.Nodes.Node[0].Host == host
	})
	return a, g, id, host
}

func onDrained(id, host string) []process {
	return processes(executorClass, "--app-id "+id, onHost(host))
}

// finished holds that a job's result is right, that no task failed, and that no stage ran again.
func finished(t *testing.T, res spark.Result) {
	t.Helper()
	check(t, said(res.Stdout), map[string]string{"groups": "600", "values": "60000"})
	h := world.rig.history(t, res.Application)
	for _, s := range h.stages {
		if s.attempt != 0 {
			t.Errorf("stage %d ran again: %v", s.id, h.stages)
		}
	}
	if len(h.failed) != 0 || len(h.stages) != 3 {
		t.Errorf("tasks failed: %v; stages %v; executors went: %q", h.failed, h.stages, h.removed)
	}
}

const saidDecommission = "Decommission executors" // by the driver, of those whose host is taken out of service

// Without the shuffle service Spark has its executors on a host that is drained hand their shuffle output to others, and they
// end by themselves: nothing is computed again. Others come, elsewhere.
func TestSparkDrained(t *testing.T) {
	testbed.Long(t)
	a, g, id, host := begunToDrain(t, world.rig.client(testbed.WithAccount))
	a.await(t, "the executors' end", 2*time.Minute, func() bool { return len(onDrained(id, host)) == 0 })
	g.let(t, "go")
	res := a.wait(t, world.rig, 3*time.Minute)
	finished(t, res)
	if !strings.Contains(res.Stderr, saidDecommission) {
		t.Errorf("the driver has decommissioned nothing\n%s", tail(res.Stderr))
	}
}

// With the shuffle service Spark leaves executors on such a host alone (SPARK-39018): they go on to the end of the job.
func TestSparkDrainedWithShuffleService(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	c := r.client(testbed.WithAccount)
	c.Conf["spark.shuffle.service.enabled"], c.Conf["spark.shuffle.service.port"] = "true", strconv.Itoa(r.shuffle)
	a, g, _, _ := begunToDrain(t, c)
	g.let(t, "go")
	res := a.wait(t, r, 3*time.Minute)
	finished(t, res)
	if strings.Contains(res.Stderr, saidDecommission) {
		t.Errorf("the driver has decommissioned executors\n%s", tail(res.Stderr))
	}
	if h := r.history(t, res.Application); h.added != 4 {
		t.Errorf("%d executors, want the first 4 only; these went: %q", h.added, h.removed)
	}
	refused(t, r, res.Application)
}
