// Command benchmapreduce runs the same jobs on Fairway and on Hadoop MapReduce over real YARN: same HDFS, same input, same
// box, in turn, round after round. It writes build/results/bench-mapreduce.json and fails when a bar is missed.
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
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/report"
)

// measured is one job's result: medians of wall seconds, peaks of memory.
type measured struct {
	FairwayS float64              `json:"fairway_s"`
	HadoopS  float64              `json:"hadoop_s,omitempty"`
	Speedup  float64              `json:"speedup"`
	PeakRSS  map[string]int64     `json:"peak_rss_bytes,omitempty"`
	Rounds   map[string][]float64 `json:"rounds"`
	Machine  map[string][]machine `json:"machine,omitempty"` // what the whole machine did meanwhile, by side and round
	Bar      float64              `json:"bar"`
	Met      bool                 `json:"met"`
	TextS    float64              `json:"text_s,omitempty"` // arrow_streaming: the text mapper on Fairway
}

// job is one comparison.
type job struct {
	name    string
	bar     float64
	fairway func(out string) []string // arguments of fairway submit mapreduce
	hadoop  func(out string) (jar string, args []string)
	check   func(ctx context.Context, b *bench, out string) error
}

type bench struct {
	install hadoop.Install
	dfs     *hadoop.HDFS
	fs      storage.FS
	c       *cluster.Cluster
	yarn    *hadoop.YARN
	dir     string
	python  string
	want    map[string]map[string]int64 // counts by input folder
}

func main() {
	binary := flag.String("binary", "bin/fairway", "the fairway binary")
	cache := flag.String("cache", ".cache", "folder of fetched engines")
	out := flag.String("out", "build/results/bench-mapreduce.json", "where the results go")
	rounds := flag.Int("rounds", 3, "rounds")
	only := flag.String("only", "", "comma-separated jobs")
	noHadoop := flag.Bool("no-hadoop", false, "time Fairway alone (writes no result)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *cache, *out, *rounds, *only, *noHadoop)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-mapreduce:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, cache, out string, rounds int, only string, noHadoop bool) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	in, err := hadoop.Fetch(ctx, cache, nil)
	if err != nil {
		return err
	}
	b := &bench{install: in, want: map[string]map[string]int64{}}
	if b.dir, err = os.MkdirTemp("", "fairway-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	if b.dfs, err = hadoop.StartHDFS(ctx, in, hadoop.HDFSOptions{BlockSize: 128 << 20, Heap: "2g"}); err != nil {
		return err
	}
	defer b.dfs.Stop()
	if b.fs, err = hdfs.Opener(hdfs.Options{ConfDir: b.dfs.ConfDir})(ctx, "", ""); err != nil {
		return err
	}
	defer b.fs.Close()
	if p, err := filepath.Abs(filepath.Join(cache, "python/bin/python3")); err == nil {
		b.python = p
	}
	var agents []cluster.Agent
	for _, h := range b.dfs.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Name, CPU: "1.2", Memory: "6GiB"})
	}
	if b.c, err = cluster.Start(ctx, cluster.Options{Binary: binary, Agents: agents, HadoopDir: b.dfs.ConfDir, Config: "log: {level: warn}\n"}); err != nil {
		return err
	}
	defer b.c.Stop()
	if !noHadoop {
		if b.yarn, err = hadoop.StartYARN(ctx, b.dfs, hadoop.YARNOptions{}); err != nil {
			return err
		}
		defer b.yarn.Stop()
	}
	if err := b.load(ctx); err != nil {
		return err
	}
	results := map[string]*measured{}
	// A run takes half an hour: what was measured is kept when a later job fails or the run is stopped.
	keep := func() error {
		if noHadoop || only != "" {
			return nil
		}
		return report.Write(out, results)
	}
	for _, j := range b.jobs() {
		if only != "" && !slices.Contains(strings.Split(only, ","), j.name) {
			continue
		}
		m := &measured{Bar: j.bar, Rounds: map[string][]float64{}, PeakRSS: map[string]int64{}, Machine: map[string][]machine{}}
		results[j.name] = m
		for r := range rounds {
			if err := b.round(ctx, j, m, r, noHadoop); err != nil {
				return fmt.Errorf("%s: %w\n%s", j.name, err, b.c.Logs())
			}
		}
		m.FairwayS, m.HadoopS = median(m.Rounds["fairway"]), median(m.Rounds["hadoop"])
		if m.HadoopS > 0 {
			m.Speedup = round2(m.HadoopS / m.FairwayS)
		}
		m.Met = m.Speedup >= j.bar
		fmt.Printf("%-12s fairway %.2f s, hadoop %.2f s: %.1f times (bar %.0f); peak %d and %d MiB\n", j.name, m.FairwayS, m.HadoopS, m.Speedup, j.bar,
			m.PeakRSS["fairway"]>>20, m.PeakRSS["hadoop"]>>20)
		if err := keep(); err != nil {
			return err
		}
	}
	if only == "" || strings.Contains(only, "arrow_streaming") {
		m, err := b.arrow(ctx, rounds)
		if err != nil {
			return fmt.Errorf("arrow_streaming: %w", err)
		}
		results["arrow_streaming"] = m
		fmt.Printf("%-12s pyarrow mapper %.2f s, text mapper %.2f s: %.1f times (bar %.0f)\n", "arrow_streaming", m.FairwayS, m.TextS, m.Speedup, m.Bar)
	}
	if noHadoop || only != "" {
		return nil
	}
	if err := keep(); err != nil {
		return err
	}
	return judge(results)
}

// round runs a job once on each side; which goes first alternates.
func (b *bench) round(ctx context.Context, j job, m *measured, r int, noHadoop bool) error {
	sides := []string{"fairway", "hadoop"}
	if r%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if noHadoop && side == "hadoop" {
			continue
		}
		out := fmt.Sprintf("/bench/out/%s-%s-%d", j.name, side, r)
		p := &peak{roots: b.roots(side)}
		wctx, stop := context.WithCancel(ctx)
		go p.watch(wctx)
		start, before := time.Now(), machineNow()
		var err error
		if side == "fairway" {
			_, err = b.c.Run(ctx, append([]string{"submit", "mapreduce", "-q"}, j.fairway("hdfs://"+out)...)...)
		} else {
			jar, args := j.hadoop(b.dfs.URL() + out)
			_, err = b.yarn.RunJob(ctx, jar, args...)
		}
		seconds := time.Since(start).Seconds()
		stop()
		if err != nil {
			return fmt.Errorf("%s, round %d: %w", side, r+1, err)
		}
		m.Rounds[side] = append(m.Rounds[side], round2(seconds))
		m.PeakRSS[side] = max(m.PeakRSS[side], p.bytes())
		used := machineNow().since(before)
		m.Machine[side] = append(m.Machine[side], used)
		fmt.Printf("  %s round %d %s: %.2f s, peak %d MiB; machine: %s\n", j.name, r+1, side, seconds, p.bytes()>>20, used)
		if err := j.check(ctx, b, out); err != nil {
			return fmt.Errorf("%s, round %d: %w", side, r+1, err)
		}
		if err := b.fs.Remove(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// roots are the processes whose trees a side's memory is counted over: daemons, clients and tasks, without HDFS's.
func (b *bench) roots(side string) func() []int {
	return func() []int {
		if side == "hadoop" {
			return b.yarn.Pids()
		}
		pids := []int{b.c.Broker().Pid()}
		for i := range b.dfs.Hosts {
			pids = append(pids, b.c.Agent(i).Pid())
		}
		return pids
	}
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func round2(x float64) float64 { return math.Round(100*x) / 100 }

// judge holds the bars.
func judge(results map[string]*measured) error {
	var bad []string
	for _, name := range []string{"wordcount", "terasort", "streaming", "small_job", "arrow_streaming"} {
		m := results[name]
		if !m.Met {
			bad = append(bad, fmt.Sprintf("%s is %.1f times faster, want %.0f", name, m.Speedup, m.Bar))
		}
		if f, h := m.PeakRSS["fairway"], m.PeakRSS["hadoop"]; h > 0 && 3*f > h {
			bad = append(bad, fmt.Sprintf("%s takes %d MiB, want a third of %d", name, f>>20, h>>20))
		}
	}
	if s := results["small_job"].FairwayS; s >= 1 {
		bad = append(bad, fmt.Sprintf("small_job takes %.2f s, want less than 1", s))
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}
