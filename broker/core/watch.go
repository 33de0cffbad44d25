package core

import (
	"context"
	"sync"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// progressEvery is how often watchers hear of mere progress; a change of phase is told at once. In ns.
const progressEvery = int64(50 * time.Millisecond)

// watcher is somebody who wants to hear of a job, or of all. What it has not read yet is replaced by what is newer.
type watcher struct {
	job  uint32 // 0: all; the owner's
	wake chan struct{}

	mu    sync.Mutex
	order []string
	jobs  map[string]*v1.Job
}

func newWatcher() *watcher {
	return &watcher{wake: make(chan struct{}, 1), jobs: map[string]*v1.Job{}}
}

func (w *watcher) put(j *v1.Job) {
	w.mu.Lock()
	if w.jobs[j.Id] == nil {
		w.order = append(w.order, j.Id)
	}
	w.jobs[j.Id] = j
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []*v1.Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*v1.Job, 0, len(w.order))
	for _, id := range w.order {
		out = append(out, w.jobs[id])
	}
	w.order = w.order[:0]
	clear(w.jobs)
	return out
}

// soil notes that watchers of a job have something to hear.
func (m *machine) soil(j *job) {
	if !j.dirty {
		j.dirty = true
		m.dirty = append(m.dirty, j)
	}
}

// publish tells the watchers of what has changed, all at once if it is urgent, else now and then.
func (m *machine) publish() {
	if len(m.dirty) == 0 || !m.urgent && m.now < m.published+progressEvery {
		return
	}
	m.published, m.urgent = m.now, false
	for _, j := range m.dirty {
		j.dirty = false
		var to []*watcher
		for w := range m.watchers {
			if w.job == 0 || w.job == j.num {
				to = append(to, w)
			}
		}
		if len(to) == 0 || m.record(j) == nil {
			continue
		}
		x := m.jobMessage(j)
		m.then(func() {
			for _, w := range to {
				w.put(x)
			}
		})
	}
	clear(m.dirty)
	m.dirty = m.dirty[:0]
}

// WatchJob implements api.Broker.
func (b *Broker) WatchJob(ctx context.Context, _ api.Caller, id string, each func(*v1.Job) error) error {
	w := newWatcher()
	return b.watchJobs(ctx, w, each, func(j *v1.Job) bool { return ended(j.Phase) }, func(m *machine) error {
		j, err := m.findJob(id)
		if err != nil {
			return err
		}
		w.job = j.num
		w.put(m.jobMessage(j))
		return nil
	})
}

// WatchJobs implements api.Broker.
func (b *Broker) WatchJobs(ctx context.Context, _ api.Caller, snapshot bool, each func(*v1.Job) error) error {
	w := newWatcher()
	return b.watchJobs(ctx, w, each, func(*v1.Job) bool { return false }, func(m *machine) error {
		if snapshot {
			for _, j := range m.jobsInOrder() {
				w.put(m.jobMessage(j))
			}
		}
		return nil
	})
}

// watchJobs watches until last says so of a job; begin tells the watcher what there is.
func (b *Broker) watchJobs(ctx context.Context, w *watcher, each func(*v1.Job) error, last func(*v1.Job) bool, begin func(*machine) error) error {
	enter := func(m *machine) error {
		if err := begin(m); err != nil {
			return err
		}
		m.watchers[w] = struct{}{}
		return nil
	}
	leave := func(m *machine) { delete(m.watchers, w) }
	return b.watch(ctx, w.wake, enter, leave, func() (done bool, err error) {
		for _, j := range w.take() {
			if err := each(j); err != nil {
				return true, err
			}
			done = done || last(j)
		}
		return done, nil
	})
}

// watch has the owner let somebody in, and takes what there is for him whenever he is woken, until that is done or fails,
// ctx ends, or the broker does not serve any more. What comes while he is busy, the owner keeps for him.
func (b *Broker) watch(ctx context.Context, wake <-chan struct{}, enter func(*machine) error, leave func(*machine), take func() (done bool, err error)) error {
	now := b.serving.Load() // before he is let in: with a later one he might wait for an owner that does not know him
	if now == nil {
		return errNotServing
	}
	// Also who gives up before he is let in must leave. Without an owner there is nothing to leave.
	defer func() { _ = b.box.put(message{do: leave}, true) }()
	_, err := ask(ctx, b, func(m *machine, reply func(struct{}, error)) { reply(struct{}{}, enter(m)) })
	if err != nil {
		return err
	}
	for {
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-now.over:
			return errNotServing
		}
		if done, err := take(); done || err != nil {
			return err
		}
	}
}
