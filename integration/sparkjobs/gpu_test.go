package sparkjobs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "fairway/broker/api/fairwayv1"

	"fairway/integration/testbed"
)

// Agents declare a GPU each, which none has. An executor that wants one is given one where its client knows of
// yarn.io/gpu (yarn.resource-types); a client that does not warns and asks for none, as on YARN. Either way Spark hands the
// addresses of its own discovery to the task.
func TestGPU(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "", "FAIRWAY_AGENT_RESOURCES_GPUS=1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	dir := folder(t, 0o755)
	discovery := filepath.Join(dir, "discover.sh")
	if err := os.WriteFile(discovery, []byte("#!/bin/sh\necho '{\"name\": \"gpu\", \"addresses\": [\"7\"]}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(discovery, 0o755); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	knows := filepath.Join(dir, "conf")
	if err := os.CopyFS(knows, os.DirFS(r.ConfDir)); err != nil {
		t.Fatal(err)
	}
	types := "<configuration><property><name>yarn.resource-types</name><value>yarn.io/gpu</value></property></configuration>\n"
	if err := os.WriteFile(filepath.Join(knows, "resource-types.xml"), []byte(types), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		conf string
		gpus int64
	}{"with resource types": {knows, 1}, "without": {r.ConfDir, 0}} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			c := r.client(testbed.WithAccount)
			c.ConfDir = x.conf
			for k, v := range map[string]string{
				"spark.executor.instances": "1", "spark.executor.resource.gpu.amount": "1", "spark.task.resource.gpu.amount": "1",
				"spark.executor.resource.gpu.discoveryScript": discovery,
			} {
				c.Conf[k] = v
			}
			a := beginApplication(t.Context(), c, program(t, "gpu.py"), g.dir)
			a.await(t, "the task's start", 2*time.Minute, func() bool { return g.count("started-") == 1 })
			held := int64(-1)
			if err := r.Until(t.Context(), "an executor's GPU", func(list []*v1.Agent) bool {
				held = 0
				for _, a := range list {
					held += a.Used.GetGpus()
				}
				return held == x.gpus
			}); err != nil {
				t.Errorf("%d GPUs are held, want %d: %v", held, x.gpus, err)
			}
			g.let(t, "open")
			res := a.wait(t, r, 2*time.Minute)
			check(t, said(res.Stdout), map[string]string{"gpu": "7"})
		})
	}
}
