package sparkjobs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/spark"
	"fairway/integration/testbed"
)

// Executors leave between the two halves of a shuffle, and what they wrote is read from the agents' shuffle service: nothing is
// computed again. So it is with an application's secret, by SASL, with and without encryption, and by Spark's own protocol with AES.
func TestShuffleService(t *testing.T) {
	for name, conf := range map[string]map[string]string{
		"plain":  nil,
		"sasl":   {"spark.authenticate": "true"},
		"sealed": {"spark.authenticate": "true", "spark.authenticate.enableSaslEncryption": "true"},
		"aes":    {"spark.authenticate": "true", "spark.network.crypto.enabled": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "aes" || name == "sealed" {
				testbed.Long(t)
			}
			c := world.rig.serviced(testbed.WithAccount)
			c.Conf["spark.dynamicAllocation.maxExecutors"] = "2"
			for k, v := range conf {
				c.Conf[k] = v
			}
			checkShuffle(t, world.rig, world.rig.submit(t, c, 4*time.Minute, program(t, "shuffle.py"), "4"))
		})
	}
}

// checkShuffle holds that executors left in the middle of shuffle.py and that nothing was computed again.
func checkShuffle(t *testing.T, r *rig, res spark.Result) {
	t.Helper()
	check(t, said(res.Stdout), map[string]string{"groups": "600", "left": "0", "values": "60000"})
	h := r.history(t, res.Application)
	if len(h.failed) != 0 || len(h.removed) == 0 || h.added < 2 {
		t.Errorf("tasks failed: %v; %d executors came; these went: %q", h.failed, h.added, h.removed)
	}
	seen := map[int]bool{}
	for _, s := range h.stages {
		if s.attempt != 0 || seen[s.id] {
			t.Errorf("stage %d ran again: %v", s.id, h.stages)
		}
		seen[s.id] = true
	}
	if len(h.stages) != 3 { // the first half and a pass over it, and another pass
		t.Errorf("stages %v", h.stages)
	}
	refused(t, r, res.Application)
}

// Every agent is killed and started again after the executors have left: what they wrote is still served, to who knows the
// application's secret.
func TestShuffleServiceAfterRestart(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	g := newGate(t)
	c := r.serviced(testbed.WithAccount)
	c.Conf["spark.dynamicAllocation.maxExecutors"] = "2"
	c.Conf["spark.authenticate"] = "true"
	a := beginApplication(t.Context(), c, program(t, "shuffle.py"), "4", g.dir)
	a.await(t, "the executors' leaving", 4*time.Minute, func() bool { return g.count("left") == 1 })
	for i := range testbed.Hosts() {
		r.Agent(i).Kill()
	}
	for i := range testbed.Hosts() {
		if err := r.StartAgent(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.WaitAgents(t.Context(), len(testbed.Hosts())); err != nil {
		t.Fatal(err)
	}
	g.let(t, "go")
	checkShuffle(t, r, a.wait(t, r, 3*time.Minute))
}

// What is kept on disk is read from the shuffle service after its executors have gone, where the client says so.
func TestPersistedBlocks(t *testing.T) {
	testbed.Long(t)
	c := world.rig.serviced(testbed.WithAccount)
	c.Conf["spark.dynamicAllocation.maxExecutors"] = "2"
	c.Conf["spark.shuffle.service.fetch.rdd.enabled"] = "true"
	res := world.rig.submit(t, c, 4*time.Minute, program(t, "persisted.py"), "4")
	sum := strconv.Itoa(3 * 2000 * 1999 / 2)
	check(t, said(res.Stdout), map[string]string{"first": sum, "left": "0", "second": sum, "computed": "2000"})
	refused(t, world.rig, res.Application)
}

// refused fails the test if a shuffle service has complained about an application.
func refused(t *testing.T, r *rig, id string) {
	t.Helper()
	for _, h := range testbed.Hosts() {
		log, err := os.ReadFile(filepath.Join(r.Dir, h.Name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "spark_shuffle") && strings.Contains(line, id) && (strings.Contains(line, "WARN") || strings.Contains(line, "ERROR")) {
				t.Errorf("%s: %s", h.Name, line)
			}
		}
	}
}
