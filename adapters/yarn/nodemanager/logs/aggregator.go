package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/tfile"
	"fairway/frameworks/storage"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Ended is an application that has ended on this node.
type Ended struct {
	ID         id.ApplicationID
	Job        string            // of the broker
	User       string            // who the logs are written as
	UID        int               // that its containers ran as; -1: logs of any owner are read
	ACLs       map[string]string // VIEW_APP, MODIFY_APP
	Context    []byte            // LogAggregationContextProto; empty: all logs
	Containers []EndedContainer
}

// EndedContainer is how one of its containers ended, which policies ask for.
type EndedContainer struct {
	ID         id.ContainerID
	Master     bool
	ExitStatus int32
}

// AggregatorOptions of an Aggregator. Root and State are needed.
type AggregatorOptions struct {
	Root    string        // holds the log folders
	State   string        // a folder of its own
	Node    id.NodeID     // names the files
	Folders tfile.Folders // Root may be a URL
	// Files finds the file system of a URL for a user ("": the agent's own), and the path in it. storage.Mux.Resolve is one.
	// nil: nothing is written, and log folders are removed after Retain.
	Files  func(ctx context.Context, url, user string) (storage.FS, string, error)
	Retain time.Duration // 0: 3 h
	// Backoff is the wait after a first failure; it doubles up to MaxBackoff. 0: 1 s, 5 min.
	Backoff, MaxBackoff time.Duration
	GiveUp              time.Duration // after so long logs are given up; 0: 24 h
	Workers             int           // applications at once; 0: 2
	// Failing, if not nil, is told of each try that failed and will be made again; Done once of each application that is done
	// (nil) or given up (why). They should be quick.
	Failing    func(e Ended, err error)
	Done       func(e Ended, err error)
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: none
}

// Aggregator writes logs of ended applications. Its methods may be called from any goroutine.
type Aggregator struct {
	o      AggregatorOptions
	wake   chan struct{} // capacity one
	counts *prometheus.CounterVec

	mu   sync.Mutex
	jobs map[id.ApplicationID]*job
}

type job struct {
	record
	due  time.Time
	busy bool
}

// NewAggregator reads what is still to be done from State; Run does it.
func NewAggregator(o AggregatorOptions) (*Aggregator, error) {
	if o.Root == "" || o.State == "" {
		return nil, errors.New("log aggregation: Root and State are needed")
	}
	o.Retain, o.GiveUp = cmp.Or(o.Retain, 3*time.Hour), cmp.Or(o.GiveUp, 24*time.Hour)
	o.Backoff, o.MaxBackoff = cmp.Or(o.Backoff, time.Second), cmp.Or(o.MaxBackoff, 5*time.Minute)
	o.Workers = cmp.Or(o.Workers, 2)
	o.Folders.Root, o.Folders.Suffix = cmp.Or(o.Folders.Root, "/tmp/logs"), cmp.Or(o.Folders.Suffix, "logs")
	o.Log = cmp.Or(o.Log, zap.NewNop())
	a := &Aggregator{o: o, wake: make(chan struct{}, 1), jobs: map[id.ApplicationID]*job{},
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_yarn_log_aggregations_total",
			Help: "Applications' logs of this node, by what became of a try: done, failed (tried again), given_up."}, []string{"result"})}
	if o.Registerer != nil {
		if err := o.Registerer.Register(a.counts); err != nil {
			return nil, fmt.Errorf("log aggregation: %w", err)
		}
	}
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return nil, fmt.Errorf("log aggregation: %w", err)
	}
	records, err := load(o.State, o.Log)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		a.jobs[r.ID] = a.job(r)
	}
	return a, nil
}

func (a *Aggregator) job(r record) *job {
	j := &job{record: r}
	if a.o.Files == nil && r.Stage == waiting {
		j.due = r.Added.Add(a.o.Retain)
	}
	return j
}

// Add takes an application on. When it returns nil that is durable; what is known already is left as it is.
func (a *Aggregator) Add(e Ended) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs[e.ID] != nil {
		return nil
	}
	slices.SortFunc(e.Containers, func(x, y EndedContainer) int { return cmp.Compare(x.ID.String(), y.ID.String()) })
	r := record{Ended: e, Added: time.Now()}
	if err := r.save(a.o.State); err != nil {
		return err
	}
	a.jobs[e.ID] = a.job(r)
	a.rouse()
	return nil
}

// Pending tells whether an application's logs are still to be dealt with.
func (a *Aggregator) Pending(application id.ApplicationID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobs[application] != nil
}

func (a *Aggregator) rouse() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and returns nil when all that it began has stopped.
func (a *Aggregator) Run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(a.o.Workers)
	defer g.Wait()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		due, wait := a.take(time.Now())
		for _, j := range due {
			g.Go(func() error { a.try(ctx, j); return nil })
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-t.C:
		}
	}
}

// take marks what is due as busy, oldest first, and says when to look again.
func (a *Aggregator) take(now time.Time) (due []*job, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = time.Hour
	for _, j := range a.jobs {
		switch {
		case j.busy:
		case j.due.After(now):
			wait = min(wait, j.due.Sub(now))
		default:
			j.busy = true
			due = append(due, j)
		}
	}
	slices.SortFunc(due, func(x, y *job) int { return x.Added.Compare(y.Added) })
	return due, wait
}

// try works on one application; the job is this goroutine's while it is busy, but for due and busy.
func (a *Aggregator) try(ctx context.Context, j *job) {
	log := a.o.Log.With(zap.Stringer("application", j.ID))
	err := ctx.Err()
	if err == nil {
		err = a.work(ctx, &j.record, log)
	}
	var gaveUp error
	if err != nil && ctx.Err() == nil && time.Since(j.Added) > a.o.GiveUp {
		log.Error("logs given up", zap.Error(err))
		gaveUp, err = err, a.finish(&j.record)
	}
	a.mu.Lock()
	j.busy = false
	if err != nil {
		j.Tries++
		j.due = time.Now().Add(a.backoff(j.Tries))
	} else {
		delete(a.jobs, j.ID)
	}
	a.mu.Unlock()
	switch {
	case ctx.Err() != nil && err != nil:
	case err != nil:
		if a.o.Failing != nil {
			a.o.Failing(j.Ended, err)
		}
		a.counts.WithLabelValues("failed").Inc()
		log.Warn("logs not aggregated, tried again later", zap.Int("tries", j.Tries), zap.Error(err))
	case gaveUp != nil:
		a.counts.WithLabelValues("given_up").Inc()
	default:
		a.counts.WithLabelValues("done").Inc()
	}
	if err == nil && a.o.Done != nil {
		a.o.Done(j.Ended, gaveUp)
	}
	a.rouse()
}

func (a *Aggregator) backoff(tries int) time.Duration {
	d := a.o.Backoff
	for range tries - 1 {
		if d *= 2; d >= a.o.MaxBackoff {
			return a.o.MaxBackoff
		}
	}
	return d
}

// work does what is left to do for an application.
func (a *Aggregator) work(ctx context.Context, r *record, log *zap.Logger) error {
	if a.o.Files != nil && r.Stage != stored {
		if err := a.store(ctx, r, log); err != nil {
			return err
		}
		r.Stage = stored
		if err := r.save(a.o.State); err != nil {
			return err
		}
	}
	return a.finish(r)
}

// finish removes the log folders and then the record.
func (a *Aggregator) finish(r *record) error {
	root, err := os.OpenRoot(a.o.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(r.ID.String()); err != nil {
		return fmt.Errorf("remove logs: %w", err)
	}
	return r.remove(a.o.State)
}
