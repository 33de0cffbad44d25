package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The bars.
const (
	minPlacements = 500_000.0 // a second of one core, at 10,000 agents
	maxGrowth     = 2.0       // cost of a placement, from 1,000 to 50,000 agents
)

type results struct {
	Placements map[string]float64 `json:"placements_per_s"`
	Groups     float64            `json:"groups_per_s"`
	GroupTasks float64            `json:"group_tasks_per_s"`
	Growth     float64            `json:"cost_growth_agents"`
	NodeLocal  map[string]float64 `json:"node_local"`
	Allocs     map[string]float64 `json:"allocations_per_placement"`
}

func main() {
	out := flag.String("o", "build/results/bench-allocator.json", "where to write the results")
	rounds := flag.Int("rounds", 5, "measurements of each size, in turn; the best counts")
	n := flag.Int("n", 300_000, "placements in each measurement")
	profile := flag.String("cpuprofile", "", "write a profile of the measurements")
	flag.Parse()
	if err := run(*out, *rounds, *n, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "benchallocator:", err)
		os.Exit(1)
	}
}

// meter adds up the cpu time of this thread that the machine's Steps take. What the benchmark itself does between them
// is not the allocator's.
type meter struct{ spent time.Duration }

func (m *meter) measure(f func()) {
	start := threadCPU()
	f()
	m.spent += threadCPU() - start
}

func threadCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// total is the cpu time of the whole process: the benchmark's own work and the collector's.
func total() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func run(out string, rounds, n int, profile string) error {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	var clock meter
	sizes := []int{1000, 10_000, 50_000}
	loads := make([]*load, len(sizes))
	for i, agents := range sizes {
		loads[i] = newLoad(agents, clock.measure)
		loads[i].fill()
		loads[i].churn(len(loads[i].running)) // every task replaced about once
	}
	runtime.GC()
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	r := results{Placements: map[string]float64{}, NodeLocal: map[string]float64{}, Allocs: map[string]float64{}}
	nanos, process := make([][]float64, len(sizes)), make([][]float64, len(sizes))
	for range rounds {
		for i, l := range loads {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l.wishes, l.local = 0, 0
			placed := l.placed
			clock.spent = 0
			all := total()
			l.churn(n)
			all = total() - all
			runtime.ReadMemStats(&after)
			done := float64(l.placed - placed)
			nanos[i] = append(nanos[i], float64(clock.spent)/done)
			process[i] = append(process[i], float64(all)/done)
			name := strconv.Itoa(sizes[i])
			r.NodeLocal[name] = float64(l.local) / float64(l.wishes)
			r.Allocs[name] = float64(after.Mallocs-before.Mallocs) / done
		}
	}
	pprof.StopCPUProfile()
	fmt.Printf("%8s %14s %10s %14s %14s %12s %12s\n", "agents", "ns/placement", "median", "whole process", "placements/s", "node-local", "allocs")
	for i, size := range sizes {
		name := strconv.Itoa(size)
		ns := least(nanos[i])
		r.Placements[name] = math.Round(1e9 / ns)
		fmt.Printf("%8d %14.0f %10.0f %14.0f %14.0f %11.0f%% %12.5f\n", size, ns, median(nanos[i]), least(process[i]), 1e9/ns, 100*r.NodeLocal[name], r.Allocs[name])
	}
	r.Growth = least(nanos[len(sizes)-1]) / least(nanos[0])
	fmt.Printf("cost growth from %d to %d agents: %.2f\n", sizes[0], sizes[len(sizes)-1], r.Growth)

	l := newLoad(10_000, clock.measure)
	l.step = 1e6
	l.groups(20)
	const asks = 500
	clock.spent = 0
	tasks, local := l.groups(asks)
	spent := clock.spent.Seconds()
	r.Groups = math.Round(asks / spent)
	r.GroupTasks = math.Round(float64(tasks) / spent)
	fmt.Printf("groups of %d tasks over %d hosts: %.0f a second (%.0f tasks a second, %.0f%% node-local)\n",
		groupTasks, groupHosts, r.Groups, r.GroupTasks, 100*float64(local)/float64(tasks))

	if err := write(out, &r); err != nil {
		return err
	}
	if got := r.Placements["10000"]; got < minPlacements {
		return fmt.Errorf("%.0f placements a second at 10,000 agents: the bar is %.0f", got, minPlacements)
	}
	if r.Growth > maxGrowth {
		return fmt.Errorf("a placement costs %.2f times as much with 50,000 agents as with 1,000: the bar is %.1f", r.Growth, maxGrowth)
	}
	return nil
}

func write(path string, r *results) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// least is the round that other work on the machine disturbed least: what shares a core's caches and units with us makes
// the same work cost more cpu time, never less.
func least(v []float64) float64 { return slices.Min(v) }

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
