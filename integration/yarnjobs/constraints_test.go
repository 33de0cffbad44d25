package yarnjobs

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairway/integration/testbed"
)

// Hadoop's own DistributedShell states what it wants as scheduling requests with placement constraints: three containers,
// no two of them on one node.
func TestPlacementConstraints(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	jar := world.In.DistributedShellJar()
	// Its master reads the nodes' own configuration, as any cluster's yarn.application.classpath has it.
	conf := filepath.Join(t.TempDir(), "conf")
	if err := os.Chmod(filepath.Dir(conf), 0o755); err != nil {
		t.Fatal(err)
	}
	more := maps.Clone(r.addresses)
	more["yarn.application.classpath"] = "$HADOOP_CONF_DIR," + filepath.Join(world.In.Lib, "*")
	if err := world.In.ClientConf(conf, world.DFS, more); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	res, err := world.In.Client(conf, testbed.WithAccount).RunJob(ctx, jar, "org.apache.hadoop.yarn.applications.distributedshell.Client", "-jar", jar,
		"-appname", "apart", "-queue", "analytics", "-shell_command", "sleep 2", "-container_memory", "512", "-master_memory", "1024", "-placement_spec", "zk(3),NOTIN,NODE,zk")
	if err != nil {
		logs, _ := r.client(testbed.WithAccount).Java(ctx, cliPackage+"LogsCLI", "-applicationId", res.Application)
		t.Fatalf("%v\n%s\n%s\n%s", err, res.Output, logs, r.Logs())
	}
	on := r.hostsOf(t, res.Application)
	total := 0
	for _, n := range on {
		total += n
	}
	if len(on) != 3 || total != 4 {
		t.Errorf("the master and three containers ran on %v, want each host to have one of the three", on)
	}
}
