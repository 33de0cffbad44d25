package yarnjobs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
)

// One HDFS, one binary and one cluster serve the tests without faults.
var world struct {
	in     hadoop.Install
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
		fmt.Println("skipped: needs a JDK and Maven; set FAIRWAY_INTEGRATION=1")
		os.Exit(0)
	}
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		stop, err := begin(ctx)
		defer stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "integration/yarnjobs:", err)
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
	if world.dir, err = os.MkdirTemp("", "fairway-yarn-it-"); err != nil {
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
	// The hosts are addresses: every process resolves them, and each agent listens on its own.
	if world.dfs, err = hadoop.StartHDFS(ctx, world.in, hadoop.HDFSOptions{BlockSize: blockSize, DataNodes: hosts()}); err != nil {
		return stop, err
	}
	stops = append(stops, func() { world.dfs.Stop() })
	if world.fs, err = hdfs.Opener(hdfs.Options{ConfDir: world.dfs.ConfDir})(ctx, "", ""); err != nil {
		return stop, err
	}
	stops = append(stops, func() { world.fs.Close() })
	for _, p := range []string{"/tmp/hadoop-yarn/staging", "/tmp/logs"} { // as an operator sets a cluster up
		if err := world.fs.Mkdir(ctx, p, os.ModeSticky|0o777); err != nil {
			return stop, err
		}
	}
	if world.rig, err = startRig(ctx, ""); err != nil {
		return stop, err
	}
	stops = append(stops, world.rig.stop)
	return stop, nil
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
	web     string // host:port of the ResourceManager's pages

	addresses map[string]string // of the ResourceManager, as clients are told
}

// startRig starts a cluster; more is YAML for the yarn section, such as "node_expiry: 10s".
func startRig(ctx context.Context, more string) (*rig, error) {
	yarn, err := cluster.FreeYARN()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(world.dir, "rig-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	r := &rig{confDir: filepath.Join(dir, "conf"), web: yarn.Web(), addresses: yarn.Addresses()}
	if err := world.in.ClientConf(r.confDir, world.dfs, r.addresses); err != nil {
		return nil, err
	}
	var agents []cluster.Agent
	for _, h := range world.dfs.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Name, Rack: h.Rack, CPU: "4", Memory: "6GiB"})
	}
	r.Cluster, err = cluster.Start(ctx, cluster.Options{
		Binary: world.binary, Agents: agents, HadoopDir: r.confDir,
		Config: "roles: [{path: analytics, weight: 2}, {path: batch, weight: 1}]\n" + yarn.Config(more) + "log: {level: debug, format: console}\n",
	})
	return r, err
}

func (r *rig) stop() {
	if err := r.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the cluster:", err)
	}
}

// client is a user's Hadoop client of the rig.
func (r *rig) client(user string) *hadoop.Client { return world.in.Client(r.confDir, user) }

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

// read returns the part files of an output folder, in order, which must hold _SUCCESS.
func read(t *testing.T, folder string) string {
	t.Helper()
	list, err := world.fs.List(t.Context(), folder)
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
	f, err := world.fs.Open(t.Context(), path)
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
