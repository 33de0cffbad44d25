package sparkjobs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "fairway/broker/api/fairwayv1"

	"fairway/integration/testbed"
)

// A client that says nothing of Spark's jars uploads its own to HDFS, and takes them away again.
func TestJarsAreUploaded(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	c := r.client(testbed.WithAccount)
	delete(c.Conf, "spark.yarn.jars")
	res := r.submit(t, c, 4*time.Minute, "--deploy-mode", "cluster", world.spark.Example("pi.py"), "4")
	contains(t, res.Stderr, "Neither spark.yarn.jars nor spark.yarn.archive is set")
	checkPi(t, r.logs(t, res.Application))
	list, err := world.FS.List(t.Context(), home(testbed.WithAccount, ".sparkStaging"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if strings.HasSuffix(f.Path, res.Application) {
			t.Errorf("%s is still there", f.Path)
		}
	}
}

// The main class comes from a package of a Maven repository.
func TestPackages(t *testing.T) {
	testbed.Long(t)
	dir := folder(t, 0o755)
	jar, err := world.spark.Jar(t.Context(), dir, program(t, "Words.java"))
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "repository", "org", "example", "words", "1.0")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(jar, filepath.Join(at, "words-1.0.jar")); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.jar")
	for name, text := range map[string]string{
		filepath.Join(at, "words-1.0.pom"): `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>words</artifactId><version>1.0</version></project>`,
		empty:                              zipped(t, map[string]string{"nothing": ""}),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	body, counts := text(1000)
	file := home(testbed.WithAccount, "packages/in.txt")
	world.Put(t, testbed.WithAccount, file, body)
	c := world.rig.client(testbed.WithAccount)
	c.Conf["spark.jars.ivy"] = folder(t, 0o777)
	res := world.rig.submit(t, c, 3*time.Minute, "--deploy-mode", "cluster", "--packages", "org.example:words:1.0", "--repositories", "file://"+filepath.Join(dir, "repository"),
		"--class", "Words", empty, file, "alpha")
	contains(t, world.rig.logs(t, res.Application), fmt.Sprintf("count=%d\n", counts["alpha"]))
}

// Executors that are packed on one host read each other's output from its disk: the shuffle service tells them where it lies.
func TestPackedExecutorsReadLocally(t *testing.T) {
	testbed.Long(t)
	c := world.rig.serviced(testbed.WithAccount)
	c.Conf["spark.dynamicAllocation.minExecutors"], c.Conf["spark.dynamicAllocation.maxExecutors"] = "2", "2"
	c.Conf["spark.yarn.tags"] = "fairway.placement=pack"
	res := world.rig.submit(t, c, 2*time.Minute, program(t, "exchange.py"), "8")
	check(t, said(res.Stdout), map[string]string{"groups": "600"})
	if h := world.rig.history(t, res.Application); len(h.hosts) != 1 || len(h.by) != 2 || h.remote != 0 || h.local == 0 {
		t.Errorf("tasks on hosts %v, of executors %v; %d blocks from elsewhere, %d from here", h.hosts, h.by, h.remote, h.local)
	}
}

// Executors and masters run where the label is that an application names; one that no agent has is refused at the user's terminal.
func TestNodeLabels(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	if err := r.Relabel(2, "gpu"); err != nil {
		t.Fatal(err)
	}
	if err := r.Until(t.Context(), "an agent with a label", func(list []*v1.Agent) bool {
		for _, a := range list {
			if a.Info.Attributes["yarn.label"] == "gpu" && a.State == "active" {
				return true
			}
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	c := r.client(testbed.WithAccount)
	c.Conf["spark.yarn.am.nodeLabelExpression"], c.Conf["spark.yarn.executor.nodeLabelExpression"] = "gpu", "gpu"
	res := r.submit(t, c, 2*time.Minute, "--deploy-mode", "cluster", world.spark.Example("pi.py"), "4")
	last := testbed.Hosts()[2].Name
	if h := r.history(t, res.Application); len(h.hosts) != 1 || h.hosts[last] != 4 {
		t.Errorf("tasks on %v, want all on %s", h.hosts, last)
	}
	if host, _, _ := strings.Cut(r.application(t, res.Application).Master, ":"); host != last {
		t.Errorf("its master was on %q, want %s", host, last)
	}
	c.Conf["spark.yarn.am.nodeLabelExpression"] = "fpga"
	res = r.fails(t, c, time.Minute, "--deploy-mode", "cluster", world.spark.Example("pi.py"), "4")
	contains(t, res.Stderr, "fpga")
}
