package sparkjobs

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/cluster"
	"fairway/integration/spark"
	"fairway/integration/testbed"
)

// One cluster serves the tests without faults.
var world struct {
	*testbed.Testbed
	spark spark.Install
	rig   *rig
}

func TestMain(m *testing.M) {
	testbed.Main(m, "a JDK, Maven and Python", 8*time.Minute, func(ctx context.Context) (b *testbed.Testbed, err error) {
		if world.Testbed, err = testbed.New(ctx, testbed.Hosts()); err != nil {
			return world.Testbed, err
		}
		if world.spark, err = spark.Fetch(ctx, "", version(), nil); err != nil {
			return world.Testbed, err
		}
		if err := world.FS.Mkdir(ctx, "/tmp/logs", os.ModeSticky|0o777); err != nil { // as an operator sets a cluster up
			return world.Testbed, err
		}
		if world.rig, err = startRig(ctx, ""); err == nil {
			world.Later(world.rig.End)
		}
		return world.Testbed, err
	})
}

// version of Spark: FAIRWAY_SPARK=4 takes the newest, as make test-long does in a second run.
func version() string {
	if os.Getenv("FAIRWAY_SPARK") == "4" {
		return spark.Newest
	}
	return spark.Version
}

// rig is a cluster whose applications leave event logs.
type rig struct {
	*testbed.Cluster
	events  string // folder of the event logs
	shuffle int    // port of the shuffle service
}

// startRig starts a cluster; more is YAML for the yarn section, such as "node_expiry: 10s", and env of its daemons.
func startRig(ctx context.Context, more string, env ...string) (*rig, error) {
	yarn, err := cluster.FreeSpark()
	if err != nil {
		return nil, err
	}
	events, err := os.MkdirTemp(world.Dir, "events-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(events, 0o777); err != nil { // whatever the umask is
		return nil, err
	}
	c, err := world.Start(ctx, testbed.Options{YARN: yarn, Roles: "{path: analytics, weight: 2}, {path: batch, weight: 1}, {path: full, limit: {cpu: 1}}", CPU: "3", More: more, Env: env})
	return &rig{c, events, yarn.SparkShuffle()}, err
}

// client is a user's Spark client of the rig: two small executors, and an event log that the tests read.
func (r *rig) client(user string) *spark.Client {
	c := world.spark.Client(r.ConfDir, user)
	const quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" // these JVMs live for seconds
	for k, v := range map[string]string{
		"spark.driver.extraJavaOptions": quick, "spark.yarn.am.extraJavaOptions": quick, "spark.executor.extraJavaOptions": quick,
		"spark.driver.memory": "512m", "spark.yarn.am.memory": "512m",
		"spark.executor.memory": "512m", "spark.executor.cores": "1", "spark.executor.instances": "2",
		"spark.sql.shuffle.partitions": "4", "spark.ui.showConsoleProgress": "false",
		"spark.eventLog.enabled": "true", "spark.eventLog.dir": "file:" + r.events,
		"spark.eventLog.compress": "false", "spark.eventLog.rolling.enabled": "false",
	} {
		c.Conf[k] = v
	}
	return c
}

// serviced is client with dynamic allocation over the agents' shuffle service.
func (r *rig) serviced(user string) *spark.Client {
	c := r.client(user)
	delete(c.Conf, "spark.executor.instances")
	for k, v := range map[string]string{
		"spark.shuffle.service.enabled": "true", "spark.shuffle.service.port": strconv.Itoa(r.shuffle),
		"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.executorIdleTimeout": "3s",
	} {
		c.Conf[k] = v
	}
	return c
}

// submit runs an application that must succeed within the limit.
func (r *rig) submit(t *testing.T, c *spark.Client, limit time.Duration, args ...string) spark.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	res, err := c.Submit(ctx, args...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s\n%s", err, res.Stdout, tail(res.Stderr), r.Logs())
	}
	return res
}

// tail is the end of a log, in which errors are.
func tail(s string) string {
	if len(s) > 12000 {
		return "..." + s[len(s)-12000:]
	}
	return s
}

// program is a file of testdata, by the path that a user would give.
func program(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func home(user, name string) string { return "/user/" + user + "/" + name }

// said are the lines "name=value" that a driver printed.
func said(out string) map[string]string {
	m := map[string]string{}
	for l := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), "="); ok {
			m[k] = v
		}
	}
	return m
}
