package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"fairway/integration/report"
)

// The bars.
const (
	minPlacements = 500_000.0 // a second of one core, at 10,000 agents
	maxGrowth     = 2.0       // cost of a placement, from 1,000 to 50,000 agents
)

type results struct {
	Placements map[string]float64 `json:"placements_per_s"`
	Saturated  float64            `json:"saturated_placements_per_s"`
	Groups     float64            `json:"groups_per_s"`
	GroupTasks float64            `json:"group_tasks_per_s"`
	Growth     float64            `json:"cost_growth_agents"`
	NodeLocal  map[string]float64 `json:"node_local"`
	Allocs     map[string]float64 `json:"allocations_per_placement"`
}

func main() {
	out := flag.String("o", "build/results/bench-allocator.json", "where to write the results")
	rounds := flag.Int("rounds", 25, "measurements of each size, in turn; the median counts")
	n := flag.Int("n", 60_000, "placements in each measurement")
	profile := flag.String("cpuprofile", "", "write a profile of the measurements")
	flag.Parse()
	if err := run(*out, *rounds, *n, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "benchallocator:", err)
		os.Exit(1)
	}
}

// threadCPU is the cpu time that this thread has taken.
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

// measurement is one round of a load.
type measurement struct {
	nanos   float64 // of Step and Ready, for each placement
	process float64 // of the whole process
	local   float64 // share of those that prefer hosts
	allocs  float64
}

func measure(l *load, n int) measurement {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l.wishes, l.local, l.spent = 0, 0, 0
	placed := l.placed
	all := total()
	l.churn(n)
	all = total() - all
	runtime.ReadMemStats(&after)
	done := float64(l.placed - placed)
	return measurement{
		nanos: float64(l.spent) / done, process: float64(all) / done,
		local: float64(l.local) / float64(l.wishes), allocs: float64(after.Mallocs-before.Mallocs) / done,
	}
}

func run(out string, rounds, n int, profile string) error {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	sizes := []int{1000, 10_000, 50_000}
	loads := make([]*load, len(sizes))
	for i, agents := range sizes {
		loads[i] = newLoad(agents)
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
		defer pprof.StopCPUProfile()
	}
	measured := make([][]measurement, len(sizes))
	for range rounds {
		for i, l := range loads {
			measured[i] = append(measured[i], measure(l, n))
		}
	}
	r := results{Placements: map[string]float64{}, NodeLocal: map[string]float64{}, Allocs: map[string]float64{}}
	fmt.Println("cpu time of the machine's Step and Ready; not in it: building events, writing facts down, sending offers")
	fmt.Printf("%-18s %13s %12s %8s %8s %14s %11s %10s\n", "agents", "placements/s", "ns, median", "least", "most", "whole process", "node-local", "allocs")
	for i, size := range sizes {
		name := strconv.Itoa(size)
		last := measured[i][rounds-1]
		r.Placements[name] = math.Round(1e9 / show(name, measured[i]))
		r.NodeLocal[name], r.Allocs[name] = last.local, last.allocs
	}
	// Of the same round each: other work on the machine disturbs both sizes then.
	growth := make([]float64, rounds)
	for k := range growth {
		growth[k] = measured[len(sizes)-1][k].nanos / measured[0][k].nanos
	}
	r.Growth = median(growth)

	full := loads[1]
	full.saturate()
	full.churn(len(full.running) / 2)
	var backlog []measurement
	for range rounds {
		backlog = append(backlog, measure(full, n/4))
	}
	r.Saturated = math.Round(1e9 / show("10000, saturated", backlog))
	fmt.Printf("cost growth from %d to %d agents: %.2f\n", sizes[0], sizes[len(sizes)-1], r.Growth)

	l := newLoad(10_000)
	l.step = 1e6
	l.groups(20)
	const asks = 500
	l.spent = 0
	tasks, local := l.groups(asks)
	spent := l.spent.Seconds()
	r.Groups = math.Round(asks / spent)
	r.GroupTasks = math.Round(float64(tasks) / spent)
	fmt.Printf("groups of %d tasks over %d hosts: %.0f a second (%.0f tasks a second, %.0f%% node-local)\n",
		groupTasks, groupHosts, r.Groups, r.GroupTasks, 100*float64(local)/float64(tasks))

	if err := report.Write(out, &r); err != nil {
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

// show prints a line and returns the median cost of a placement.
func show(name string, rounds []measurement) float64 {
	var nanos, process []float64
	for _, k := range rounds {
		nanos, process = append(nanos, k.nanos), append(process, k.process)
	}
	ns, last := median(nanos), rounds[len(rounds)-1]
	fmt.Printf("%-18s %13.0f %12.0f %8.0f %8.0f %14.0f %10.0f%% %10.5f\n",
		name, 1e9/ns, ns, slices.Min(nanos), slices.Max(nanos), median(process), 100*last.local, last.allocs)
	return ns
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
