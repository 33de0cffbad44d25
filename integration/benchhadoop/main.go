// Command benchhadoop runs the same unmodified Hadoop MapReduce jobs on Fairway and on real YARN, as it comes and tuned: same
// HDFS, same jars, same box, in turn, the daemons of the others stopped. It writes build/results/bench-hadoop.json and fails
// when a bar is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/integration/benchhadoop/heartbeat"
	"fairway/integration/hadoop"
	"fairway/integration/report"
)

// results is the file that is written.
type results struct {
	WallRatio         map[string]float64              `json:"wall_ratio"`          // Fairway's seconds by YARN's, as it comes: median of the pairs
	WallRatioTuned    map[string]float64              `json:"wall_ratio_tuned"`    // against the tuned YARN
	Spread            map[string][2]float64           `json:"spread"`              // least and greatest ratio of a pair, by peer and job
	NodeLocal         map[string]float64              `json:"node_local"`          // data-local maps by all maps, over all rounds
	AllocateLatencyMs map[string]float64              `json:"allocate_latency_ms"` // on a cluster with room: the two pi
	AnsweredInCall    float64                         `json:"answered_in_call"`
	RSSBytes          map[string]int64                `json:"rss_bytes"`
	AMHeartbeatCores  *float64                        `json:"am_heartbeat_cores,omitempty"`
	Rounds            int                             `json:"rounds"`
	Seconds           map[string]map[string][]float64 `json:"seconds"`                             // by side and job
	TunedDelay        string                          `json:"tuned_node_locality_delay,omitempty"` // of the tuned YARN: the better of tunedDelays
	DelaySeconds      map[string]float64              `json:"tuned_delay_seconds,omitempty"`       // wordcount by delay, by which it was chosen
	Missed            []string                        `json:"missed"`
}

// bars against YARN as it comes; against the tuned one every ratio's bar is 1.
var bars = map[string]float64{"pi_1": 0.75, "pi_8": 0.9, "wordcount": 0.9, "tiny_maps": 0.8}

var jobNames = []string{"pi_1", "pi_8", "wordcount", "tiny_maps"}

func main() {
	binary := flag.String("binary", "bin/fairway", "the fairway binary")
	cache := flag.String("cache", ".cache", "folder of fetched engines")
	out := flag.String("out", "build/results/bench-hadoop.json", "where the results go")
	rounds := flag.Int("rounds", 5, "rounds")
	jobs := flag.String("jobs", strings.Join(jobNames, ","), "comma-separated jobs")
	sides := flag.String("sides", "fairway,yarn,yarn_tuned", "comma-separated sides")
	delay := flag.String("delay", "", "node-locality-delay of the tuned YARN, as an earlier run found it [the better of 40 and 3, tried first]")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *cache, *out, *rounds, strings.Split(*jobs, ","), strings.Split(*sides, ","), *delay)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-hadoop:", err)
		os.Exit(1)
	}
}

type bench struct {
	in     hadoop.Install
	dfs    *hadoop.HDFS
	fs     storage.FS
	dir    string
	binary string
	want   map[string]int64 // words of the text
	r      results
	local  map[string][2]int64 // data-local maps and all maps, by side
	runs   int

	buckets         [][2]float64 // upper bound in seconds, cumulative count
	granted, inCall float64
}

func run(ctx context.Context, binary, cache, out string, rounds int, jobs, sides []string, delay string) error {
	b := &bench{local: map[string][2]int64{}, r: results{
		WallRatio: map[string]float64{}, WallRatioTuned: map[string]float64{}, Spread: map[string][2]float64{}, NodeLocal: map[string]float64{},
		AllocateLatencyMs: map[string]float64{}, RSSBytes: map[string]int64{}, Seconds: map[string]map[string][]float64{}, Missed: []string{},
	}}
	var err error
	if b.binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if b.in, err = hadoop.Fetch(ctx, cache, nil); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "fairway-benchhadoop-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	hosts := []hadoop.Host{{Name: "127.0.1.1", Rack: "/default-rack"}, {Name: "127.0.1.2", Rack: "/default-rack"}, {Name: "127.0.1.3", Rack: "/default-rack"}}
	if b.dfs, err = hadoop.StartHDFS(ctx, b.in, hadoop.HDFSOptions{BlockSize: 16 << 20, DataNodes: hosts, Heap: "2g"}); err != nil {
		return err
	}
	defer b.dfs.Stop()
	if b.fs, err = hdfs.Opener(hdfs.Options{ConfDir: b.dfs.ConfDir})(ctx, "", ""); err != nil {
		return err
	}
	defer b.fs.Close()
	if err := b.load(ctx); err != nil {
		return err
	}
	b.r.TunedDelay = delay
	if delay == "" && slices.Contains(sides, "yarn_tuned") {
		if err := b.tune(ctx); err != nil {
			return err
		}
	}
	for r := range rounds {
		order := slices.Clone(sides)
		if r%2 == 1 { // ABBA
			slices.Reverse(order)
		}
		for _, side := range order {
			if err := b.side(ctx, side, jobs); err != nil {
				return fmt.Errorf("round %d on %s: %w", r+1, side, err)
			}
		}
		// All rounds take more than an hour: what was measured is kept when a later one fails or the run is stopped.
		b.r.Rounds = r + 1
		b.judge(jobs)
		if err := report.Write(out, b.r); err != nil {
			return err
		}
	}
	if slices.Contains(sides, "fairway") {
		hb, err := heartbeat.OnFairway(ctx, b.binary, heartbeat.Masters, heartbeat.Duration)
		if err != nil {
			return fmt.Errorf("%d masters: %w", heartbeat.Masters, err)
		}
		b.r.AMHeartbeatCores = &hb.Cores
		fmt.Printf("%d masters that ask every second: %.2f cores of the broker\n", heartbeat.Masters, hb.Cores)
	}
	b.judge(jobs)
	if err := report.Write(out, b.r); err != nil {
		return err
	}
	fmt.Printf("%s written\n", out)
	if len(b.r.Missed) > 0 {
		return fmt.Errorf("missed: %s", strings.Join(b.r.Missed, "; "))
	}
	return nil
}

// tune runs one wordcount with each of tunedDelays on the tuned YARN and keeps the better one.
func (b *bench) tune(ctx context.Context) error {
	b.r.DelaySeconds = map[string]float64{}
	for i, delay := range tunedDelays {
		b.r.TunedDelay = delay
		s, err := b.start(ctx, "yarn_tuned")
		if err != nil {
			return err
		}
		res, err := b.job(ctx, s.client, "wordcount", fmt.Sprintf("/out/tune-%d", i))
		if e := s.stop(); e != nil && err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("node-locality-delay %s: %w", delay, err)
		}
		b.r.DelaySeconds[delay] = math.Round(res.Took.Seconds()*100) / 100
		fmt.Printf("yarn_tuned with node-locality-delay %s: wordcount %.2f s\n", delay, res.Took.Seconds())
	}
	for _, delay := range tunedDelays {
		if b.r.DelaySeconds[delay] < b.r.DelaySeconds[b.r.TunedDelay] {
			b.r.TunedDelay = delay
		}
	}
	return nil
}

// side starts a cluster, runs the jobs on it, and stops it.
func (b *bench) side(ctx context.Context, side string, jobs []string) (err error) {
	s, err := b.start(ctx, side)
	if err != nil && ctx.Err() == nil { // nothing is measured yet
		fmt.Fprintf(os.Stderr, "%s did not start, and is started once more: %v\n", side, err)
		s, err = b.start(ctx, side)
	}
	if err != nil {
		return err
	}
	defer func() {
		if e := s.stop(); e != nil && err == nil {
			err = e
		}
	}()
	if b.r.Seconds[side] == nil {
		b.r.Seconds[side] = map[string][]float64{}
	}
	for _, name := range jobs {
		if s.admin != "" && name != "pi_1" && name != "pi_8" && !s.read {
			// Up to here the cluster had room for whatever was asked.
			if err := b.latency(ctx, s.admin); err != nil {
				return err
			}
			s.read = true
		}
		b.runs++
		res, err := b.job(ctx, s.client, name, fmt.Sprintf("/out/%s-%s-%d", side, name, b.runs))
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, s.logs())
		}
		b.r.Seconds[side][name] = append(b.r.Seconds[side][name], math.Round(res.Took.Seconds()*100)/100)
		if name == "wordcount" || name == "tiny_maps" {
			l := b.local[side]
			l[0] += res.Counters["Data-local map tasks"]
			l[1] += res.Counters["Launched map tasks"]
			b.local[side] = l
		}
		fmt.Printf("%-10s %-10s %6.2f s  data-local %d of %d\n", side, name, res.Took.Seconds(), res.Counters["Data-local map tasks"], res.Counters["Launched map tasks"])
	}
	rss := int64(0)
	for _, pid := range s.pids() {
		rss += report.ResidentBytes(pid)
	}
	b.r.RSSBytes[side] = max(b.r.RSSBytes[side], rss)
	if s.admin != "" && !s.read {
		return b.latency(ctx, s.admin)
	}
	return nil
}

// judge computes the ratios of what was measured so far and holds the bars.
func (b *bench) judge(jobs []string) {
	b.r.Missed = []string{}
	miss := func(format string, args ...any) { b.r.Missed = append(b.r.Missed, fmt.Sprintf(format, args...)) }
	for peer, ratios := range map[string]map[string]float64{"yarn": b.r.WallRatio, "yarn_tuned": b.r.WallRatioTuned} {
		for _, name := range jobs {
			ours, theirs := b.r.Seconds["fairway"][name], b.r.Seconds[peer][name]
			n := min(len(ours), len(theirs))
			if n == 0 {
				continue
			}
			pairs := make([]float64, n)
			for i := range n {
				pairs[i] = math.Round(ours[i]/theirs[i]*1000) / 1000
			}
			slices.Sort(pairs)
			ratios[name] = pairs[n/2]
			b.r.Spread[peer+" "+name] = [2]float64{pairs[0], pairs[n-1]}
			bar := bars[name]
			if peer == "yarn_tuned" {
				bar = 1
			}
			if ratios[name] > bar {
				miss("%s against %s %.2f (bar %.2f)", name, peer, ratios[name], bar)
			}
		}
	}
	for side, l := range b.local {
		if l[1] > 0 {
			b.r.NodeLocal[side] = math.Round(float64(l[0])/float64(l[1])*1000) / 1000
		}
	}
	if v, ok := b.r.NodeLocal["fairway"]; ok && v < 0.95 {
		miss("node_local %.3f (bar 0.95)", v)
	}
	if v, ok := b.r.AllocateLatencyMs["p50"]; ok && v > 25 {
		miss("allocate latency p50 %.1f ms (bar 25)", v)
	}
	if b.r.AnsweredInCall < 0.9 && len(b.r.AllocateLatencyMs) > 0 {
		miss("answered in call %.2f (bar 0.9)", b.r.AnsweredInCall)
	}
	if y := b.r.RSSBytes["yarn"]; y > 0 && b.r.RSSBytes["fairway"]*4 > y {
		miss("resident memory %d MiB against %d MiB (bar a quarter)", b.r.RSSBytes["fairway"]>>20, y>>20)
	}
	if c := b.r.AMHeartbeatCores; c != nil && *c >= heartbeat.MaxCores {
		miss("%.2f cores for the heartbeats of %d masters (bar %.0f)", *c, heartbeat.Masters, heartbeat.MaxCores)
	}
	slices.Sort(b.r.Missed)
}

// cluster of one side.
type side struct {
	client *hadoop.Client
	admin  string // of Fairway's broker
	read   bool   // its latencies were
	pids   func() []int
	stop   func() error
	logs   func() string
}
