package sparkjobs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/spark"
)

// One HDFS, one binary and one cluster serve the tests without faults.
var world struct {
	in     hadoop.Install
	spark  spark.Install
	dfs    *hadoop.HDFS
	fs     storage.FS // as the superuser
	binary string
	dir    string
	rig    *rig
}

// Accounts of the tests: one that every Linux has, and one that none has.
const (
	withAccount    = "daemon"
	withoutAccount = "alice"
)

const blockSize = 1 << 20

func TestMain(m *testing.M) {
	if os.Getenv("FAIRWAY_INTEGRATION") != "1" {
		fmt.Println("skipped: needs a JDK, Maven and Python; set FAIRWAY_INTEGRATION=1")
		os.Exit(0)
	}
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
		defer cancel()
		stop, err := begin(ctx)
		defer stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "integration/sparkjobs:", err)
			return 1
		}
		return m.Run()
	}())
}

func begin(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	if world.dir, err = os.MkdirTemp("", "fairway-spark-it-"); err != nil {
		return stop, err
	}
	stops = append(stops, func() { os.RemoveAll(world.dir) })
	if err := os.Chmod(world.dir, 0o755); err != nil {
		return stop, err
	}
	if world.binary, err = cluster.Build(ctx, filepath.Join(world.dir, "fairway")); err != nil {
		return stop, err
	}
	if world.in, err = hadoop.Fetch(ctx, "", nil); err != nil {
		return stop, err
	}
	if world.spark, err = spark.Fetch(ctx, "", version(), nil); err != nil {
		return stop, err
	}
	// The hosts are addresses: every process resolves them, and each agent listens on its own.
	if world.dfs, err = hadoop.StartHDFS(ctx, world.in, hadoop.HDFSOptions{BlockSize: blockSize, DataNodes: hosts()}); err != nil {
		return stop, err
	}
	stops = append(stops, func() { world.dfs.Stop() })
	if world.fs, err = hdfs.Opener(hdfs.Options{ConfDir: world.dfs.ConfDir})(ctx, "", ""); err != nil {
		return stop, err
	}
	stops = append(stops, func() { world.fs.Close() })
	if err := world.fs.Mkdir(ctx, "/tmp/logs", os.ModeSticky|0o777); err != nil { // as an operator sets a cluster up
		return stop, err
	}
	if world.rig, err = startRig(ctx, ""); err != nil {
		return stop, err
	}
	stops = append(stops, world.rig.stop)
	return stop, nil
}

// version of Spark: FAIRWAY_SPARK=4 takes the newest, as make test-long does in a second run.
func version() string {
	if os.Getenv("FAIRWAY_SPARK") == "4" {
		return spark.Newest
	}
	return spark.Version
}

// long leaves a test to make test-long.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("FAIRWAY_LONG") != "1" {
		t.Skip("part of make test-long, as it takes minutes")
	}
}

func hosts() []hadoop.Host {
	return []hadoop.Host{{Name: "127.0.1.1", Rack: "/rack1"}, {Name: "127.0.1.2", Rack: "/rack1"}, {Name: "127.0.1.3", Rack: "/rack2"}}
}

// rig is a Fairway cluster with YARN's face and the configuration folder of its clients.
type rig struct {
	*cluster.Cluster
	confDir string
	events  string // folder of the applications' event logs
	web     string // host:port of the ResourceManager's pages
	shuffle int    // port of the shuffle service
}

// startRig starts a cluster; more is YAML for the yarn section, such as "node_expiry: 10s", and env of its daemons.
func startRig(ctx context.Context, more string, env ...string) (*rig, error) {
	yarn, err := cluster.FreeSpark()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(world.dir, "rig-")
	if err != nil {
		return nil, err
	}
	r := &rig{confDir: filepath.Join(dir, "conf"), events: filepath.Join(dir, "events"), web: yarn.Web(), shuffle: yarn.SparkShuffle()}
	if err := os.Mkdir(r.events, 0o777); err != nil {
		return nil, err
	}
	for folder, mode := range map[string]os.FileMode{dir: 0o755, r.events: 0o777} { // whatever the umask is
		if err := os.Chmod(folder, mode); err != nil {
			return nil, err
		}
	}
	if err := world.in.ClientConf(r.confDir, world.dfs, yarn.Addresses()); err != nil {
		return nil, err
	}
	var agents []cluster.Agent
	for _, h := range world.dfs.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Name, Rack: h.Rack, CPU: "3", Memory: "6GiB"})
	}
	r.Cluster, err = cluster.Start(ctx, cluster.Options{
		Binary: world.binary, Agents: agents, HadoopDir: r.confDir, Env: env,
		Config: "roles: [{path: analytics, weight: 2}, {path: batch, weight: 1}, {path: full, limit: {cpu: 1}}]\n" + yarn.Config(more) + "log: {level: debug, format: console}\n",
	})
	return r, err
}

func (r *rig) stop() {
	if err := r.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the cluster:", err)
	}
}

// client is a user's Spark client of the rig: two small executors, and an event log that the tests read.
func (r *rig) client(user string) *spark.Client {
	c := world.spark.Client(r.confDir, user)
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

// put writes a file into HDFS for user.
func put(t *testing.T, user, path, text string) {
	t.Helper()
	f, err := hdfs.Opener(hdfs.Options{ConfDir: world.dfs.ConfDir})(t.Context(), "", user)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := f.Create(t.Context(), path, storage.CreateOptions{Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

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
