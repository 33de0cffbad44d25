package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/locality"
	"fairway/frameworks/mapreduce/spec"
)

// jobCounts are what Hadoop calls job counters, and the sums of the tasks' own.
type jobCounts struct {
	local                         locality.Counts
	launchedMaps, launchedReduces int64
	failedMaps, failedReduces     int64
	killedMaps, killedReduces     int64
	mapNanos, reduceNanos         int64
	fetchFailures, copies         int64
	tasks                         map[spec.CounterKey]int64
}

func (c *jobCounts) launched(a *attempt) {
	if a.task.kind == spec.Map {
		c.launchedMaps++
		c.local.Count(a.level)
	} else {
		c.launchedReduces++
	}
	if a.copy {
		c.copies++
	}
}

func (c *jobCounts) failed(a *attempt, now int64) {
	pick(a, &c.failedMaps, &c.failedReduces, 1)
	c.spent(a, now)
}

func (c *jobCounts) killed(a *attempt, now int64) {
	pick(a, &c.killedMaps, &c.killedReduces, 1)
	c.spent(a, now)
}

func (c *jobCounts) succeeded(a *attempt, now int64) { c.spent(a, now) }

func (c *jobCounts) spent(a *attempt, now int64) {
	pick(a, &c.mapNanos, &c.reduceNanos, now-a.launched)
}

func pick(a *attempt, ofMap, ofReduce *int64, n int64) {
	if a.task.kind == spec.Map {
		*ofMap += n
	} else {
		*ofReduce += n
	}
}

// add adds or takes away a task's own counters.
func (c *jobCounts) add(counters map[spec.CounterKey]int64, sign int64) {
	if c.tasks == nil {
		c.tasks = make(map[spec.CounterKey]int64)
	}
	for k, v := range counters {
		c.tasks[k] += sign * v
	}
}

// mean of durations.
type mean struct{ n, sum int64 }

func (m *mean) add(d int64) { m.n, m.sum = m.n+1, m.sum+d }
func (m *mean) value() int64 {
	if m.n == 0 {
		return 0
	}
	return m.sum / m.n
}

// Counters are the job's counters now: its own, and those of finished tasks and of the foremost running attempts.
func (m *Machine) Counters() []*v1.Counter {
	c := &m.counts
	sums := make(map[spec.CounterKey]int64, len(c.tasks))
	for k, v := range c.tasks {
		sums[k] = v
	}
	for _, tasks := range [][]*task{m.maps, m.reduces} {
		for _, t := range tasks {
			if a := t.foremost(); a != nil && !t.done {
				for k, v := range a.report.Counters {
					sums[k] += v
				}
			}
		}
	}
	out := make([]*v1.Counter, 0, len(sums)+16)
	own := func(name, display string, v int64) {
		if v != 0 {
			out = append(out, &v1.Counter{Group: spec.JobCounters, Name: name, Value: v, Display: display})
		}
	}
	ms := int64(1e6)
	mb := func(r *v1.Resources) int64 { return r.GetMemoryBytes() >> 20 }
	own("NUM_FAILED_MAPS", "Failed map tasks", c.failedMaps)
	own("NUM_FAILED_REDUCES", "Failed reduce tasks", c.failedReduces)
	own("NUM_KILLED_MAPS", "Killed map tasks", c.killedMaps)
	own("NUM_KILLED_REDUCES", "Killed reduce tasks", c.killedReduces)
	own("TOTAL_LAUNCHED_MAPS", "Launched map tasks", c.launchedMaps)
	own("TOTAL_LAUNCHED_REDUCES", "Launched reduce tasks", c.launchedReduces)
	own("OTHER_LOCAL_MAPS", "Other local map tasks", c.local.Other)
	own("DATA_LOCAL_MAPS", "Data-local map tasks", c.local.Node)
	own("RACK_LOCAL_MAPS", "Rack-local map tasks", c.local.Rack)
	own("MILLIS_MAPS", "Total time spent by all map tasks (ms)", c.mapNanos/ms)
	own("MILLIS_REDUCES", "Total time spent by all reduce tasks (ms)", c.reduceNanos/ms)
	own("VCORES_MILLIS_MAPS", "Total vcore-milliseconds taken by all map tasks", c.mapNanos/ms*m.mapSize.CpuMilli/1000)
	own("VCORES_MILLIS_REDUCES", "Total vcore-milliseconds taken by all reduce tasks", c.reduceNanos/ms*m.redSize.CpuMilli/1000)
	own("MB_MILLIS_MAPS", "Total megabyte-milliseconds taken by all map tasks", c.mapNanos/ms*mb(m.mapSize))
	own("MB_MILLIS_REDUCES", "Total megabyte-milliseconds taken by all reduce tasks", c.reduceNanos/ms*mb(m.redSize))
	for k, v := range sums {
		out = append(out, &v1.Counter{Group: k.Group, Name: k.Name, Value: v, Display: display[k]})
	}
	slices.SortStableFunc(out, func(a, b *v1.Counter) int {
		return cmp.Or(groupRank(a.Group)-groupRank(b.Group), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func groupRank(g string) int {
	i := slices.Index([]string{spec.FileCounters, spec.JobCounters, spec.TaskCounters, spec.ShuffleErrors}, g)
	if i < 0 {
		return 4
	}
	return i
}

// display is how Hadoop shows the counters that it names.
var display = map[spec.CounterKey]string{
	{Group: spec.TaskCounters, Name: "MAP_INPUT_RECORDS"}:             "Map input records",
	{Group: spec.TaskCounters, Name: "MAP_OUTPUT_RECORDS"}:            "Map output records",
	{Group: spec.TaskCounters, Name: "MAP_OUTPUT_BYTES"}:              "Map output bytes",
	{Group: spec.TaskCounters, Name: "MAP_OUTPUT_MATERIALIZED_BYTES"}: "Map output materialized bytes",
	{Group: spec.TaskCounters, Name: "SPLIT_RAW_BYTES"}:               "Input split bytes",
	{Group: spec.TaskCounters, Name: "COMBINE_INPUT_RECORDS"}:         "Combine input records",
	{Group: spec.TaskCounters, Name: "COMBINE_OUTPUT_RECORDS"}:        "Combine output records",
	{Group: spec.TaskCounters, Name: "REDUCE_INPUT_GROUPS"}:           "Reduce input groups",
	{Group: spec.TaskCounters, Name: "REDUCE_SHUFFLE_BYTES"}:          "Reduce shuffle bytes",
	{Group: spec.TaskCounters, Name: "REDUCE_INPUT_RECORDS"}:          "Reduce input records",
	{Group: spec.TaskCounters, Name: "REDUCE_OUTPUT_RECORDS"}:         "Reduce output records",
	{Group: spec.TaskCounters, Name: "SPILLED_RECORDS"}:               "Spilled Records",
	{Group: spec.TaskCounters, Name: "SHUFFLED_MAPS"}:                 "Shuffled Maps",
	{Group: spec.TaskCounters, Name: "FAILED_SHUFFLE"}:                "Failed Shuffles",
	{Group: spec.TaskCounters, Name: "MERGED_MAP_OUTPUTS"}:            "Merged Map outputs",
	{Group: spec.TaskCounters, Name: "CPU_MILLISECONDS"}:              "CPU time spent (ms)",
	{Group: spec.TaskCounters, Name: "PHYSICAL_MEMORY_BYTES"}:         "Physical memory (bytes) snapshot",
	{Group: spec.FileCounters, Name: "FILE_BYTES_READ"}:               "FILE: Number of bytes read",
	{Group: spec.FileCounters, Name: "FILE_BYTES_WRITTEN"}:            "FILE: Number of bytes written",
	{Group: spec.FileCounters, Name: "HDFS_BYTES_READ"}:               "HDFS: Number of bytes read",
	{Group: spec.FileCounters, Name: "HDFS_BYTES_WRITTEN"}:            "HDFS: Number of bytes written",
}

func (t *task) foremost() *attempt {
	var best *attempt
	for _, a := range t.live {
		if a.assigned != 0 && (best == nil || a.report.Fraction > best.report.Fraction) {
			best = a
		}
	}
	return best
}

// Progress is how the job fares now, without its counters.
func (m *Machine) Progress() *v1.JobProgress {
	p := &v1.JobProgress{Phase: v1.JobPhase_JOB_PHASE_WAITING}
	if m.counts.launchedMaps+m.counts.launchedReduces > 0 || m.mapsDone+m.reducesDone > 0 {
		p.Phase = v1.JobPhase_JOB_PHASE_RUNNING
	}
	switch m.phase {
	case planning:
		p.Status = "finding the input"
	case committing:
		p.Status = "committing the output"
	case stopping, aborting:
		p.Status = "stopping"
	}
	for _, k := range []struct {
		name   string
		tasks  []*task
		done   int
		failed int64
	}{{spec.Map, m.maps, m.mapsDone, m.counts.failedMaps}, {spec.Reduce, m.reduces, m.reducesDone, m.counts.failedReduces}} {
		g := &v1.Progress{Name: k.name, Total: uint32(len(k.tasks)), Done: uint32(k.done), Failed: uint32(k.failed)}
		work := float64(k.done)
		for _, t := range k.tasks {
			if a := t.foremost(); a != nil && !t.done {
				g.Running++
				work += min(max(a.report.Fraction, 0), 1)
			}
		}
		if len(k.tasks) > 0 {
			g.Fraction = work / float64(len(k.tasks))
		}
		if len(k.tasks) > 0 || m.planned {
			p.Progress = append(p.Progress, g)
		}
	}
	return p
}

// describe says why a task cannot be done: the last error whole, earlier ones that differ in a line each.
func (m *Machine) describe(t *task) string {
	last := t.errors[len(t.errors)-1]
	var b strings.Builder
	tries := fmt.Sprintf("failed %d times, the last as", t.failures)
	if t.failures == 1 {
		tries = "failed:"
	}
	fmt.Fprintf(&b, "%s %d of %d %s %s", t.kind, t.index, max(len(m.maps)*btoi(t.kind == spec.Map), len(m.reduces)*btoi(t.kind == spec.Reduce)), tries, last)
	seen := map[string]bool{withoutAttempt(firstLine(last)): true}
	for _, e := range t.errors[:len(t.errors)-1] {
		l := firstLine(e)
		if !seen[withoutAttempt(l)] {
			seen[withoutAttempt(l)] = true
			b.WriteString("\nbefore: " + l)
		}
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func withoutAttempt(line string) string {
	_, rest, _ := strings.Cut(line, ": ")
	return rest
}

func firstLine(s string) string {
	l, _, _ := strings.Cut(s, "\n")
	return l
}

// clipMessage bounds an attempt's message: its end says most.
func clipMessage(s string) string {
	const limit = 4096
	s = strings.ToValidUTF8(strings.TrimRight(s, "\n"), "?")
	if len(s) <= limit {
		return s
	}
	head := firstLine(s)
	if len(head) > limit/4 {
		head = head[:limit/4]
	}
	return strings.ToValidUTF8(head+"\n...\n"+s[len(s)-limit*3/4:], "?")
}
