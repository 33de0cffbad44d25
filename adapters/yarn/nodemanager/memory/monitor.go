package memory

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Defaults of Options, as in YARN.
const (
	DefaultInterval     = 3 * time.Second
	DefaultVirtualRatio = 2.1
)

// Process is the part of service.Process that is needed.
type Process interface {
	PID() int    // the first process; 0: unknown
	PIDs() []int // all of them now
}

// Container is one to be watched.
type Container struct {
	ID         string // container_..
	LimitBytes int64  // 0 or less: only sampled
	Process    Process
}

// Usage is what the processes of a container took when they were last looked at.
type Usage struct {
	Resident, Virtual int64 // bytes
	Processes         int
	At                time.Time
}

// Options of a Monitor.
type Options struct {
	// Over is told once of each container that is over its limit, from the Monitor's goroutine: it should be quick. The
	// diagnostics have several lines.
	Over func(container, diagnostics string)
	// Interval between samples; 0: DefaultInterval.
	Interval time.Duration
	// VirtualRatio gives the limit of virtual memory that the diagnostics name; 0: DefaultVirtualRatio. It is not enforced.
	VirtualRatio float64
	// SharedOnce counts a page that several processes share in parts and not in full for each: only containers that seem to
	// be over are looked at so, since it is dear. YARN's own default is to count it in full.
	SharedOnce bool
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: none
}

// Monitor samples containers. Its methods may be called from any goroutine, before Run too.
type Monitor struct {
	o    Options
	proc procfs
	over prometheus.Counter

	mu      sync.Mutex
	watched map[string]*watched
}

type watched struct {
	Container
	told  bool
	seen  map[int]bool // processes of the round before
	usage Usage
}

// New makes a Monitor; Run starts it.
func New(o Options) *Monitor {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.VirtualRatio <= 0 {
		o.VirtualRatio = DefaultVirtualRatio
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	m := &Monitor{o: o, proc: procfs{dir: "/proc"}, watched: map[string]*watched{},
		over: prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_yarn_memory_exceeded_total", Help: "Containers that were found over their memory limit."})}
	if o.Registerer != nil {
		o.Registerer.MustRegister(m.over, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_yarn_memory_resident_bytes",
			Help: "Resident memory of all YARN containers, as last sampled."}, m.resident))
	}
	return m
}

func (m *Monitor) resident() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for _, w := range m.watched {
		sum += w.usage.Resident
	}
	return float64(sum)
}

// Watch begins to sample a container. For one that is watched it sets limit and process anew; it is not told of twice.
func (m *Monitor) Watch(c Container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.watched[c.ID]; w != nil {
		w.Container = c
		return
	}
	m.watched[c.ID] = &watched{Container: c, seen: map[int]bool{}}
}

// Forget ends it. An unknown container is no error.
func (m *Monitor) Forget(container string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watched, container)
}

// Usage is the last sample of a container; not ok before the first.
func (m *Monitor) Usage(container string) (u Usage, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.watched[container]
	if w == nil || w.usage.At.IsZero() {
		return u, false
	}
	return w.usage, true
}

// Run samples until ctx ends, and returns nil then.
func (m *Monitor) Run(ctx context.Context) error {
	t := time.NewTicker(m.o.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			m.round(now)
		}
	}
}

// round looks at every container once. No lock is held while it does.
func (m *Monitor) round(now time.Time) {
	m.mu.Lock()
	all := make([]*watched, 0, len(m.watched))
	of := make([]Container, 0, len(m.watched))
	for _, w := range m.watched {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *watched) int { return cmp.Compare(a.ID, b.ID) })
	for _, w := range all {
		of = append(of, w.Container)
	}
	m.mu.Unlock()
	for i, w := range all {
		m.look(now, w, of[i])
	}
}

// look samples one container. w.seen is the Monitor's goroutine's own; the rest of w is under the lock.
func (m *Monitor) look(now time.Time, w *watched, c Container) {
	pids := c.Process.PIDs()
	tree := m.proc.sizes(pids)
	total, aged := tree.sum(nil), tree.sum(w.seen)
	if c.LimitBytes > 0 && m.o.SharedOnce && over(total.Resident, aged.Resident, c.LimitBytes) {
		m.proc.shareOnce(tree)
		total, aged = tree.sum(nil), tree.sum(w.seen)
	}
	w.seen = make(map[int]bool, len(tree))
	for pid := range tree {
		w.seen[pid] = true
	}
	total.Processes, total.At = len(tree), now

	m.mu.Lock()
	w.usage = total
	tell := c.LimitBytes > 0 && over(total.Resident, aged.Resident, c.LimitBytes) && !w.told && m.watched[c.ID] == w
	w.told = w.told || tell
	m.mu.Unlock()
	if !tell {
		return
	}
	m.over.Inc()
	m.o.Log.Warn("container is over its memory limit", zap.String("container", c.ID), zap.Int64("limit", c.LimitBytes),
		zap.Int64("resident", total.Resident), zap.Int64("resident_of_aged", aged.Resident))
	if m.o.Over != nil {
		m.o.Over(c.ID, m.diagnostics(c, total, pids))
	}
}

// over is YARN's rule. A program that forks takes twice its memory for a moment: only what has lived for a round counts
// until it is more than that.
func over(total, aged, limit int64) bool {
	return total > limit && total-limit > limit || aged > limit
}
