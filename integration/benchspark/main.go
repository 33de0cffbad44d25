package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/integration/hadoop"
	"fairway/integration/network"
	"fairway/integration/report"
	"fairway/integration/spark"
	"fairway/integration/text"
)

// results is the file that is written.
type results struct {
	WallRatio map[string]float64              `json:"wall_ratio"` // Fairway's seconds by YARN's: median of the pairs
	Spread    map[string][2]float64           `json:"spread"`     // least and greatest ratio of a pair
	NodeLocal map[string]float64              `json:"node_local"` // of the tasks that read HDFS, over all rounds
	Shuffle   map[string]float64              `json:"shuffle_mb_per_s"`
	RSSBytes  map[string]int64                `json:"rss_bytes"` // of the daemons
	Rounds    int                             `json:"rounds"`
	Seconds   map[string]map[string][]float64 `json:"seconds"` // by side and job
	Retried   []string                        `json:"retried"` // what failed once and was run again
	Missed    []string                        `json:"missed"`
}

// bars of the ratios; of the tasks that read HDFS minLocal must be node-local.
var bars = map[string]float64{"startup": 0.8, "wordcount": 0.95, "shuffle_sort": 0.9, "four_at_once": 0.85}

const minLocal = 0.95

var jobNames = []string{"startup", "wordcount", "shuffle_sort", "four_at_once"}

func main() {
	binary := flag.String("binary", "bin/fairway", "the fairway binary")
	cache := flag.String("cache", ".cache", "folder of fetched engines")
	out := flag.String("out", "build/results/bench-spark.json", "where the results go")
	rounds := flag.Int("rounds", 5, "rounds")
	jobs := flag.String("jobs", strings.Join(jobNames, ","), "comma-separated jobs")
	sides := flag.String("sides", "fairway,yarn", "comma-separated sides")
	scale := flag.Int64("mib", 1024, "MiB of the word count's input; the others are in proportion")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *cache, *out, *rounds, strings.Split(*jobs, ","), strings.Split(*sides, ","), *scale<<20)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-spark:", err)
		os.Exit(1)
	}
}

type bench struct {
	in     hadoop.Install
	spark  spark.Install
	net    *network.Network
	dfs    *hadoop.HDFS
	fs     storage.FS
	dir    string
	events string
	binary string
	jar    string // Bench
	yarn   string // the jar of NodeManagers' shuffle service
	want   map[string]map[string]int64
	r      results
	local  map[string][2]int // node-local tasks and all that read HDFS, by side
	rates  map[string][]float64
	runs   int
}

const blockSize = 64 << 20

func run(ctx context.Context, binary, cache, out string, rounds int, jobs, sides []string, size int64) (err error) {
	b := &bench{local: map[string][2]int{}, rates: map[string][]float64{}, want: map[string]map[string]int64{}, r: results{
		WallRatio: map[string]float64{}, Spread: map[string][2]float64{}, NodeLocal: map[string]float64{}, Shuffle: map[string]float64{},
		RSSBytes: map[string]int64{}, Seconds: map[string]map[string][]float64{}, Retried: []string{}, Missed: []string{},
	}}
	if b.binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return err
	}
	if b.in, err = hadoop.Fetch(ctx, cache, nil); err != nil {
		return err
	}
	if b.spark, err = spark.Fetch(ctx, cache, spark.Version, nil); err != nil {
		return err
	}
	// The only version of it that Maven Central has; what it needs are jars of Spark's own.
	if b.yarn, err = hadoop.FetchJar(ctx, cache, "org.apache.spark", "spark-network-yarn_2.12", "3.5.5", nil); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "fairway-benchspark-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.events = filepath.Join(b.dir, "events")
	if err := os.Mkdir(b.events, 0o777); err != nil {
		return err
	}
	for folder, mode := range map[string]os.FileMode{b.dir: 0o755, b.events: 0o777} {
		if err := os.Chmod(folder, mode); err != nil {
			return err
		}
	}
	if b.jar, err = b.spark.Jar(ctx, b.dir, "integration/benchspark/Bench.java"); err != nil {
		return err
	}
	if b.net, err = network.Lay(3); err != nil {
		return err
	}
	defer func() {
		if e := b.net.Close(); e != nil && err == nil {
			err = e
		}
	}()
	var hosts []hadoop.Host
	for _, h := range b.net.Hosts {
		hosts = append(hosts, hadoop.Host{Name: h.Address, Rack: "/default-rack"})
	}
	if b.dfs, err = hadoop.StartHDFS(ctx, b.in, hadoop.HDFSOptions{BlockSize: blockSize, DataNodes: hosts, Heap: "2g", Address: b.net.Gateway}); err != nil {
		return err
	}
	defer b.dfs.Stop()
	// With one copy of a block Spark itself takes the last tasks of a stage away from theirs, wherever the executors are: one that
	// was idle for three seconds takes any task. With three copies, on three hosts, every task is local.
	if b.fs, err = hdfs.Opener(hdfs.Options{ConfDir: b.dfs.ConfDir, Conf: map[string]string{"dfs.replication": "2"}})(ctx, "", ""); err != nil {
		return err
	}
	defer b.fs.Close()
	if err := b.load(ctx, size); err != nil {
		return err
	}
	for r := range rounds {
		order := slices.Clone(sides)
		if r%2 == 1 { // ABBA
			slices.Reverse(order)
		}
		for _, side := range order {
			fmt.Printf("%s round %d of %d on %s\n", time.Now().Format(time.TimeOnly), r+1, rounds, side)
			if err := b.side(ctx, side, jobs); err != nil {
				return fmt.Errorf("round %d on %s: %w", r+1, side, err)
			}
			// All rounds take an hour: what was measured is kept when a later one fails or the run is stopped.
			if b.judge(jobs); side == order[len(order)-1] {
				b.r.Rounds = r + 1
			}
			if err := report.Write(out, b.r); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%s written\n", out)
	if len(b.r.Missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(b.r.Missed, "; "))
	}
	return nil
}

// load writes the inputs: one for the word count, half as much for the sort, an eighth for each of four at once. Each of the four
// has a file of its own: the two blocks of one file would draw all four to the same two hosts.
func (b *bench) load(ctx context.Context, size int64) (err error) {
	inputs := map[string]int64{"/in/wordcount": size, "/in/sort": size / 2}
	for i := range atOnce {
		inputs[fourth(i)] = size / 8
	}
	for name, n := range inputs {
		if b.want[name], err = text.Write(ctx, b.fs, name, 1, n, blockSize); err != nil {
			return err
		}
	}
	for _, p := range []string{"/out", "/tmp/logs"} {
		if err := b.fs.Mkdir(ctx, p, os.ModeSticky|0o777); err != nil {
			return err
		}
	}
	return nil
}

// atOnce is how many applications four_at_once runs.
const atOnce = 4

// fourth is the input of one of them.
func fourth(i int) string { return fmt.Sprintf("/in/four-%d", i) }

// errNotRun is a cluster that did not start or an application that failed: no wrong result, which is never run again.
var errNotRun = errors.New("did not run")

// again runs what may fail with errNotRun once, and notes that it did.
func (b *bench) again(ctx context.Context, what string, run func() error) error {
	err := run()
	if !errors.Is(err, errNotRun) || ctx.Err() != nil {
		return err
	}
	b.r.Retried = append(b.r.Retried, what)
	fmt.Fprintf(os.Stderr, "%s failed and is run again: %v\n", what, err)
	return run()
}

// side starts a cluster, runs the jobs on it, and stops it.
func (b *bench) side(ctx context.Context, name string, jobs []string) (err error) {
	var s *side
	err = b.again(ctx, "start of "+name, func() (err error) {
		if s, err = b.start(ctx, name); err != nil {
			err = fmt.Errorf("%w: %w", errNotRun, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if e := s.stop(); e != nil && err == nil {
			err = e
		}
	}()
	if b.r.Seconds[name] == nil {
		b.r.Seconds[name] = map[string][]float64{}
	}
	for _, job := range jobs {
		var seconds float64
		err := b.again(ctx, job+" on "+name, func() (err error) {
			if seconds, err = b.job(ctx, s, job); err != nil {
				err = fmt.Errorf("%s: %w\n%s", job, err, s.logs())
			}
			return err
		})
		if err != nil {
			return err
		}
		b.r.Seconds[name][job] = append(b.r.Seconds[name][job], math.Round(seconds*100)/100)
		fmt.Printf("%-8s %-12s %6.2f s\n", name, job, seconds)
	}
	rss := int64(0)
	for _, pid := range s.pids() {
		rss += report.ResidentBytes(pid)
	}
	b.r.RSSBytes[name] = max(b.r.RSSBytes[name], rss)
	return nil
}

// judge computes the ratios of what was measured so far and holds the bars.
func (b *bench) judge(jobs []string) {
	b.r.Missed = []string{}
	miss := func(format string, args ...any) { b.r.Missed = append(b.r.Missed, fmt.Sprintf(format, args...)) }
	for _, job := range jobs {
		ours, theirs := b.r.Seconds["fairway"][job], b.r.Seconds["yarn"][job]
		n := min(len(ours), len(theirs))
		if n == 0 {
			continue
		}
		pairs := make([]float64, n)
		for i := range n {
			pairs[i] = math.Round(ours[i]/theirs[i]*1000) / 1000
		}
		slices.Sort(pairs)
		b.r.WallRatio[job], b.r.Spread[job] = pairs[n/2], [2]float64{pairs[0], pairs[n-1]}
		if pairs[n/2] > bars[job] {
			miss("%s %.2f (bar %.2f)", job, pairs[n/2], bars[job])
		}
	}
	for side, l := range b.local {
		if l[1] > 0 {
			b.r.NodeLocal[side] = math.Round(float64(l[0])/float64(l[1])*1000) / 1000
		}
	}
	if v, ok := b.r.NodeLocal["fairway"]; ok && v < minLocal {
		miss("node_local %.3f (bar %.2f)", v, minLocal)
	}
	for side, rates := range b.rates {
		sorted := slices.Sorted(slices.Values(rates))
		b.r.Shuffle[side] = math.Round(sorted[len(sorted)/2]*10) / 10
	}
}
