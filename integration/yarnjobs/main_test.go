package yarnjobs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/testbed"
)

// One cluster serves the tests without faults.
var world struct {
	*testbed.Testbed
	rig *rig
}

func TestMain(m *testing.M) {
	testbed.Main(m, "a JDK and Maven", 5*time.Minute, func(ctx context.Context) (b *testbed.Testbed, err error) {
		if world.Testbed, err = testbed.New(ctx, testbed.Hosts()); err != nil {
			return world.Testbed, err
		}
		for _, p := range []string{"/tmp/hadoop-yarn/staging", "/tmp/logs"} { // as an operator sets a cluster up
			if err := world.FS.Mkdir(ctx, p, os.ModeSticky|0o777); err != nil {
				return world.Testbed, err
			}
		}
		if world.rig, err = startRig(ctx, ""); err == nil {
			world.Later(world.rig.End)
		}
		return world.Testbed, err
	})
}

// rig is a cluster.
type rig struct {
	*testbed.Cluster
	addresses map[string]string // of the ResourceManager, as clients are told
}

// startRig starts a cluster; more is YAML for the yarn section, such as "node_expiry: 10s".
func startRig(ctx context.Context, more string) (*rig, error) {
	yarn, err := cluster.FreeYARN()
	if err != nil {
		return nil, err
	}
	c, err := world.Start(ctx, testbed.Options{YARN: yarn, Roles: "{path: analytics, weight: 2}, {path: batch, weight: 1}", CPU: "4", More: more})
	return &rig{c, yarn.Addresses()}, err
}

// client is a user's Hadoop client of the rig.
func (r *rig) client(user string) *hadoop.Client { return world.In.Client(r.ConfDir, user) }

// run runs a job as user, which must succeed within the limit.
func (r *rig) run(t *testing.T, user string, limit time.Duration, jar string, args ...string) hadoop.JobResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	res, err := r.client(user).RunJob(ctx, jar, args...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, res.Output, r.Logs())
	}
	return res
}

// read returns the part files of an output folder, in order, which must hold _SUCCESS.
func read(t *testing.T, folder string) string {
	t.Helper()
	list, err := world.FS.List(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	success := false
	for _, i := range list {
		name := filepath.Base(i.Path)
		success = success || name == "_SUCCESS"
		if strings.HasPrefix(name, "part-") {
			readFile(t, &b, i.Path)
		}
	}
	if !success {
		t.Errorf("%s has no _SUCCESS", folder)
	}
	return b.String()
}

func readFile(t *testing.T, b *strings.Builder, path string) {
	t.Helper()
	f, err := world.FS.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return
		}
	}
}
