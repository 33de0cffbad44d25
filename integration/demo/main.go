// Command demo is Fairway's main job on real engines: HDFS with three DataNodes on two racks, a broker, three agents that
// bear the DataNodes' names, and two MapReduce jobs that share the cluster 2:1; then Hadoop's own and PySpark's word counts,
// unmodified, beside ours. It checks all results against an independent count and writes build/results/demo.json. Without a JDK
// it runs what needs none and says what it left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"fairway/adapters/hdfs"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/report"
	"fairway/integration/spark"
	"fairway/integration/text"
)

const (
	files     = 8
	fileSize  = 32 << 20 // 256 MiB in all
	blockSize = 1 << 20
	first     = "analytics" // weight 2
	second    = "batch"     // weight 1
	third     = "reports"   // weight 1, of Spark
)

// result is build/results/demo.json.
type result struct {
	Verified         bool    `json:"verified"`
	NodeLocal        float64 `json:"node_local"`
	NodeLocalControl float64 `json:"node_local_control"`
	ShareRatio       float64 `json:"share_ratio"`
	Seconds          float64 `json:"seconds"`
	BothWaiting      float64 `json:"both_waiting_s"`
	TaskStarts       uint64  `json:"task_starts"`
	InputBytes       int64   `json:"input_bytes"`
}

func main() {
	binary := flag.String("binary", "bin/fairway", "the fairway binary")
	cache := flag.String("cache", ".cache", "folder of fetched engines")
	out := flag.String("out", "build/results/demo.json", "where the results go")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *cache, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, cache, out string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("%w (make build)", err)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return withoutJava(ctx, binary)
	}
	start := time.Now()
	step := func(format string, args ...any) {
		fmt.Printf("[%5.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	step("fetching Hadoop and Spark (cached in %s after the first time)", cache)
	install, err := hadoop.Fetch(ctx, cache, nil)
	if err != nil {
		return err
	}
	engine, err := fetchSpark(ctx, cache, step)
	if err != nil {
		return err
	}
	fetched := time.Now() // the bar is for a run with a warm cache
	step("starting HDFS: a NameNode and three DataNodes on two racks")
	// The hosts bear addresses as names, so that Hadoop's own processes find the agents too.
	dfs, err := hadoop.StartHDFS(ctx, install, hadoop.HDFSOptions{BlockSize: blockSize, DataNodes: []hadoop.Host{
		{Name: "127.0.1.1", Rack: "/rack1"}, {Name: "127.0.1.2", Rack: "/rack1"}, {Name: "127.0.1.3", Rack: "/rack2"}}})
	if err != nil {
		return err
	}
	defer dfs.Stop()
	var agents []cluster.Agent
	for _, h := range dfs.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Name, CPU: "4.2", Memory: "8GiB"}) // declared: three agents share the machine
	}
	step("starting a broker and %d agents: %s", len(agents), hostNames(dfs.Hosts))
	yarn, err := cluster.FreeYARN()
	if err != nil {
		return err
	}
	conf, err := hadoopConf(install, dfs, yarn)
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Binary: binary, Agents: agents, HadoopDir: conf,
		Config: fmt.Sprintf("roles: [{path: %s, weight: 2}, {path: %s, weight: 1}, {path: %s, weight: 1}]\nlog: {level: warn}\n", first, second, third) + yarn.Config("")})
	if err != nil {
		return err
	}
	defer func() {
		if err := c.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
	}()
	r, err := jobs(ctx, c, dfs, install, engine, conf, step)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; everything that was started is stopped")
		}
		return fmt.Errorf("%w\n%s", err, c.Logs())
	}
	r.Seconds = math.Round(10*time.Since(fetched).Seconds()) / 10
	if err := report.Write(out, r); err != nil {
		return err
	}
	return judge(r, step)
}

func hostNames(list []hadoop.Host) string {
	var s []string
	for _, h := range list {
		s = append(s, h.Name+" ("+h.Rack+")")
	}
	return strings.Join(s, ", ")
}

// jobs loads the text, runs the two jobs and the control, and checks.
func jobs(ctx context.Context, c *cluster.Cluster, dfs *hadoop.HDFS, install hadoop.Install, engine *spark.Install, conf string, step func(string, ...any)) (result, error) {
	r := result{InputBytes: files * fileSize}
	fs, err := hdfs.Opener(hdfs.Options{ConfDir: dfs.ConfDir})(ctx, "", "")
	if err != nil {
		return r, err
	}
	defer fs.Close()
	step("loading %d MiB of text into HDFS, counting its words on the way", files*fileSize>>20)
	want, err := text.Write(ctx, fs, "/demo/text", files, fileSize, blockSize)
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "fairway-demo-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	mapper := filepath.Join(dir, "count.py")
	if err := os.WriteFile(mapper, []byte(countMapper), 0o755); err != nil {
		return r, err
	}
	step("running two jobs at once: a Python mapper for %s (weight 2), wordcount for %s (weight 1)", first, second)
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	finals := make([]*v1.Job, 2)
	for i, args := range [][]string{
		{"-input", "hdfs:///demo/text", "-output", "hdfs:///demo/out-python", "-mapper", "python3 count.py", "-reducer", "sum", "-combiner", "sum",
			"-file", mapper, "--role", first},
		{"wordcount", "hdfs:///demo/text", "hdfs:///demo/out-native", "--role", second},
	} {
		g.Go(func() (err error) {
			finals[i], err = submit(gctx, c, args...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return r, err
	}
	b, err := c.Client()
	if err != nil {
		return r, err
	}
	defer b.Close()
	h, err := b.GetHistory(ctx, api.Caller{}, began.UnixNano())
	if err != nil {
		return r, err
	}
	step("shares over time:")
	fmt.Print(chart(h, []string{first, second}, 2*time.Second))
	s := measure(h, first, second)
	r.ShareRatio, r.BothWaiting, r.TaskStarts = s.ratio, s.both.Seconds(), s.starts
	step("while both waited (%.1f s, %d task starts) the shares were %.2f : 1", r.BothWaiting, r.TaskStarts, r.ShareRatio)
	local, all := 0.0, 0.0
	for _, j := range finals {
		l, n := locality(j)
		local, all = local+l, all+n
		step("%s (%s): %.0f of %.0f maps on a host that holds the block, in %.1f s", j.Name, j.Role, l, n,
			time.Duration(j.FinishedUnixNanos-j.SubmittedUnixNanos).Seconds())
		if r.NodeLocal == 0 || l/n < r.NodeLocal {
			r.NodeLocal = l / n
		}
	}
	r.Verified = true
	for _, out := range []string{"/demo/out-native", "/demo/out-python"} {
		got, err := text.ReadCounts(ctx, fs, out)
		if err != nil {
			return r, err
		}
		if bad := text.Differences(want, got); len(bad) > 0 {
			r.Verified = false
			step("%s differs in %d words: %s", out, len(bad), strings.Join(bad[:min(3, len(bad))], "; "))
		} else {
			step("%s: all %d words are right", out, len(want))
		}
	}
	step("control run: wordcount of one file without preferences")
	var control *v1.Job
	g, gctx = errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		control, err = submit(gctx, c, "wordcount", "hdfs:///demo/text/part-00.txt", "hdfs:///demo/out-control", "--role", first, "--no-locality")
		return err
	})
	g.Go(func() error {
		right, err := unmodified(gctx, c, install, engine, conf, fs, step)
		r.Verified = r.Verified && right
		return err
	})
	if err := g.Wait(); err != nil {
		return r, err
	}
	l, n := locality(control)
	r.NodeLocalControl = l / n
	step("control: %.0f of %.0f maps happened to be local", l, n)
	return r, nil
}

// countMapper is the Python side: the words of its block, counted, as "word TAB count".
const countMapper = `import sys
from collections import Counter
counts = Counter(sys.stdin.buffer.read().split())
sys.stdout.buffer.write(b"".join(b"%s\t%d\n" % c for c in counts.items()))
`

// submit runs a job to its end by the command line and returns it.
func submit(ctx context.Context, c *cluster.Cluster, args ...string) (*v1.Job, error) {
	answer, err := c.Run(ctx, append([]string{"submit", "mapreduce", "-o", "json"}, args...)...)
	if err != nil {
		return nil, err
	}
	var j v1.Job
	if err := unmarshal(answer, &j); err != nil {
		return nil, err
	}
	return &j, nil
}

// locality is how many maps ran on a host that holds their block, and how many ran at all, by the job's counters.
func locality(j *v1.Job) (local, all float64) {
	for _, k := range j.Counters {
		switch k.Name {
		case "DATA_LOCAL_MAPS":
			local = float64(k.Value)
		case "TOTAL_LAUNCHED_MAPS":
			all = float64(k.Value)
		}
	}
	return local, max(all, 1)
}

// judge holds the bars.
func judge(r result, step func(string, ...any)) error {
	var bad []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	check(r.Verified, "a result is wrong")
	check(r.NodeLocal >= 0.95, "node_local is %.3f, want 0.95", r.NodeLocal)
	check(math.Abs(r.ShareRatio-2) <= 0.2, "share_ratio is %.2f, want 2.0 within 10 %%", r.ShareRatio)
	check(r.BothWaiting >= 10, "both jobs waited for %.1f s only, want 10", r.BothWaiting)
	check(r.TaskStarts >= 200, "only %d tasks started while both waited, want 200", r.TaskStarts)
	check(r.Seconds <= 90, "it took %.0f s, want 90", r.Seconds)
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	step("done in %.1f s: verified, %.0f %% node-local (%.0f %% without preferences), shares %.2f : 1", r.Seconds, 100*r.NodeLocal, 100*r.NodeLocalControl, r.ShareRatio)
	return nil
}

// withoutJava shows what needs no HDFS: a cluster of one command and local files.
func withoutJava(ctx context.Context, binary string) error {
	fmt.Println("No JDK on this machine: the demo leaves out HDFS, data-locality and the comparison with a control run,")
	fmt.Println("and runs one job on local files instead. Install JDK 17 and Maven for the whole of it.")
	dir, err := os.MkdirTemp("", "fairway-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := cluster.Start(ctx, cluster.Options{Binary: binary, Agents: []cluster.Agent{{Host: "agent1", CPU: "2", Memory: "2GiB"}, {Host: "agent2", CPU: "2", Memory: "2GiB"}}})
	if err != nil {
		return err
	}
	defer c.Stop()
	fs, err := storageFile(ctx)
	if err != nil {
		return err
	}
	in, out := filepath.Join(dir, "text"), filepath.Join(dir, "out")
	want, err := text.Write(ctx, fs, in, 4, 8<<20, 0)
	if err != nil {
		return err
	}
	if _, err := submit(ctx, c, "wordcount", "file://"+in, "file://"+out); err != nil {
		return err
	}
	got, err := text.ReadCounts(ctx, fs, out)
	if err != nil {
		return err
	}
	if bad := text.Differences(want, got); len(bad) > 0 {
		return fmt.Errorf("%d words differ: %s", len(bad), bad[0])
	}
	fmt.Printf("wordcount of 32 MiB: all %d words are right\n", len(want))
	return nil
}

func storageFile(ctx context.Context) (storage.FS, error) { return local.Opener()(ctx, "", "") }

// unmarshal reads what the command line prints with -o json.
func unmarshal(answer string, j *v1.Job) error {
	if err := protojson.Unmarshal([]byte(answer), j); err != nil {
		return fmt.Errorf("the job as JSON: %w", err)
	}
	return nil
}
