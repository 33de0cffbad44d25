package core

import (
	"context"
	"slices"
	"sync"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// progressEvery is how often watchers hear of mere progress; a change of phase is told at once. In ns.
const progressEvery = int64(50 * time.Millisecond)

// watcher is somebody who wants to hear of a job, or of all. What it has not read yet is replaced by what is newer.
type watcher struct {
	job  uint32 // 0: all
	wake chan struct{}

	mu    sync.Mutex
	order []string
	jobs  map[string]*v1.Job
}

func newWatcher(job uint32) *watcher {
	return &watcher{job: job, wake: make(chan struct{}, 1), jobs: map[string]*v1.Job{}}
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
func (b *Broker) WatchJob(ctx context.Context, caller api.Caller, id string, each func(*v1.Job) error) error {
	w, err := ask(ctx, b, func(m *machine, reply func(*watcher, error)) {
		j, err := m.findJob(id)
		if err != nil {
			reply(nil, err)
			return
		}
		w := newWatcher(j.num)
		w.put(m.jobMessage(j))
		m.watchers[w] = struct{}{}
		reply(w, nil)
	})
	if err != nil {
		return err
	}
	return b.watch(ctx, w, each, func(j *v1.Job) bool { return ended(j.Phase) })
}

// WatchJobs implements api.Broker.
func (b *Broker) WatchJobs(ctx context.Context, caller api.Caller, snapshot bool, each func(*v1.Job) error) error {
	w, err := ask(ctx, b, func(m *machine, reply func(*watcher, error)) {
		w := newWatcher(0)
		if snapshot {
			for _, j := range m.jobsInOrder() {
				w.put(m.jobMessage(j))
			}
		}
		m.watchers[w] = struct{}{}
		reply(w, nil)
	})
	if err != nil {
		return err
	}
	return b.watch(ctx, w, each, func(*v1.Job) bool { return false })
}

func (b *Broker) watch(ctx context.Context, w *watcher, each func(*v1.Job) error, last func(*v1.Job) bool) error {
	now := b.serving.Load()
	if now == nil {
		return errNotServing
	}
	defer func() {
		// Without an owner there is nothing to leave.
		_ = b.box.put(message{do: func(m *machine) { delete(m.watchers, w) }}, true)
	}()
	for {
		jobs := w.take()
		for _, j := range jobs {
			if err := each(j); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(jobs, last) {
			return nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-now.over:
			return errNotServing
		}
	}
}
