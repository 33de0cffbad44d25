package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fairway/broker/journal"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// broker is the journal with its owner's state, as core has them.
type broker struct {
	j     *journal.Journal
	state *state.State
	low   []uint64 // by framework: the oldest live task

	agents, jobs uint64
	turn         uint64
}

func open(ctx context.Context, dir string, tasks int) (*broker, error) {
	jobs := max(1, tasks/1000)
	o := journal.Options{Dir: dir}
	if tasks < 500_000 {
		o.SnapshotLogBytes, o.SegmentBytes = int64(tasks)*16, 64<<10 // a small trial is over sooner
	}
	j, err := journal.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	s, err := j.Lead(ctx)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return &broker{j: j, state: s, low: make([]uint64, jobs+1), agents: uint64(max(1, tasks/100)), jobs: uint64(jobs)}, nil
}

func (b *broker) close() error { return b.j.Close() }

// commit applies facts, appends them as one entry and waits.
func (b *broker) commit(facts []state.Fact) (time.Duration, error) {
	done := make(chan error, 1)
	if err := b.append(facts, done); err != nil {
		return 0, err
	}
	start := time.Now()
	err := <-done
	return time.Since(start), err
}

func (b *broker) append(facts []state.Fact, done chan error) error {
	for i := range facts {
		if err := b.state.Apply(&facts[i]); err != nil {
			return err
		}
	}
	b.j.Append(facts, func(err error) { done <- err })
	return nil
}

func (b *broker) launch(f uint32) state.Fact {
	seq := b.state.HighWater(f) + 1
	return state.Fact{
		Kind: state.TaskLaunched, Framework: f, Sequence: seq, Agent: uint32((seq*b.jobs+uint64(f))%b.agents) + 1,
		Resources: resource.Vector{resource.CPU: 1000, resource.Memory: 1 << 30}, Name: fmt.Sprintf("map-%06d", seq), Code: 1,
		Now: time.Now().UnixNano(), Wall: time.Now().UnixNano(),
	}
}

// setUp makes the cluster and its live tasks, four entries in flight.
func (b *broker) setUp(ctx context.Context, tasks int) (factsPerS int64, err error) {
	facts := []state.Fact{{Kind: state.ClusterCreated, Name: "bench"}, {Kind: state.EpochBegun, Epoch: 1}, {Kind: state.RoleSet, Role: 1, Name: "r", Weight: 1000}}
	for i := range uint32(b.agents) {
		facts = append(facts, state.Fact{Kind: state.AgentAdmitted, Agent: i + 1, Name: fmt.Sprintf("agent-%d", i), Host: fmt.Sprintf("host%d", i), Body: make([]byte, 200)})
	}
	for i := range uint32(b.jobs) {
		facts = append(facts, state.Fact{Kind: state.JobSubmitted, Job: i + 1, Name: fmt.Sprintf("job-%d", i), Role: 1, User: "u", Body: make([]byte, 1000)},
			state.Fact{Kind: state.FrameworkAdmitted, Framework: i + 1, Name: fmt.Sprintf("framework-%d", i), Role: 1, Job: i + 1, User: "u"})
	}
	if _, err := b.commit(facts); err != nil {
		return 0, err
	}
	for f := range b.low {
		b.low[f] = 1
	}
	start, made := time.Now(), 0
	done := make(chan error, journal.MaxInFlight)
	flying := 0
	for made < tasks && ctx.Err() == nil {
		facts = facts[:0]
		for range min(int(b.jobs), tasks-made) { // one of each framework
			facts = append(facts, b.launch(uint32(made%int(b.jobs))+1))
			made++
		}
		if flying == journal.MaxInFlight {
			if err := <-done; err != nil {
				return 0, err
			}
			flying--
		}
		if err := b.append(facts, done); err != nil {
			return 0, err
		}
		flying++
	}
	for ; flying > 0; flying-- {
		if err := <-done; err != nil {
			return 0, err
		}
	}
	return int64(float64(made) / time.Since(start).Seconds()), ctx.Err()
}

// churn is n tasks that end and are replaced.
func (b *broker) churn(n int) []state.Fact {
	facts := make([]state.Fact, 0, 2*n)
	for range n {
		b.turn++
		f := uint32(b.turn%b.jobs) + 1
		facts = append(facts, state.Fact{
			Kind: state.TaskEnded, Framework: f, Sequence: b.low[f], Status: state.TaskFinished, Now: time.Now().UnixNano(), Wall: time.Now().UnixNano(),
		})
		b.low[f]++
	}
	for i := range n {
		facts = append(facts, b.launch(facts[i].Framework))
	}
	return facts
}

// commits are small commits, one after another, until stop.
func (b *broker) commits(stop func() bool) ([]time.Duration, error) {
	var took []time.Duration
	for !stop() {
		d, err := b.commit(b.churn(5))
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, nil
}

func measure(ctx context.Context, b *broker, r *Results, tasks int) (err error) {
	if r.FactsPerS, err = b.setUp(ctx, tasks); err != nil {
		return err
	}
	if err := b.j.Snapshot(ctx); err != nil {
		return err
	}
	n := 0
	quiet, err := b.commits(func() bool { n++; return n > min(3000, tasks/50) || ctx.Err() != nil })
	if err != nil {
		return err
	}
	r.CommitP50, r.CommitP99 = percentile(quiet, 50).Microseconds(), percentile(quiet, 99).Microseconds()
	if err := hold(ctx, b, r); err != nil {
		return err
	}
	return disk(ctx, b, r)
}

// hold measures commits while snapshots are taken, and for as long while none is.
func hold(ctx context.Context, b *broker, r *Results) error {
	var holds, quiets []time.Duration
	var took time.Duration
	for range 7 {
		var finished, started bool
		done := make(chan error, 1)
		start := time.Now()
		during, err := b.commits(func() bool {
			if !started {
				started = true
				go func() { done <- b.j.Snapshot(ctx) }()
			}
			select {
			case err := <-done:
				finished = true
				done <- err
			default:
			}
			return finished
		})
		if err := errors.Join(err, <-done); err != nil {
			return err
		}
		length := time.Since(start)
		took = max(took, length)
		holds = append(holds, slices.Max(during))
		start = time.Now()
		quiet, err := b.commits(func() bool { return time.Since(start) > length })
		if err != nil {
			return err
		}
		quiets = append(quiets, slices.Max(quiet))
	}
	r.SnapshotS = took.Seconds()
	r.SnapshotHoldMS, r.HoldMaxMS = ms(percentile(holds, 50)), ms(slices.Max(holds))
	r.QuietHoldMS, r.QuietMaxMS = ms(percentile(quiets, 50)), ms(slices.Max(quiets))
	s, err := b.j.Stats()
	r.PauseUS = s.SnapshotPause.Microseconds()
	return err
}

// turnover ends one job with all its tasks and forgets it, and puts another in its place.
func (b *broker) turnover() error {
	b.turn++
	f := uint32(b.turn%b.jobs) + 1
	old := b.state.Framework(f)
	var facts []state.Fact
	for t := range b.state.TasksOfFramework(f) {
		if t.Live() {
			facts = append(facts, state.Fact{Kind: state.TaskEnded, Framework: f, Sequence: t.Sequence, Status: state.TaskFinished, Wall: time.Now().UnixNano()})
		}
	}
	live := len(facts)
	facts = append(facts, state.Fact{Kind: state.FrameworkEnded, Framework: f}, state.Fact{Kind: state.JobChanged, Job: old.Job, Status: state.JobSucceeded},
		state.Fact{Kind: state.JobForgotten, Job: old.Job})
	if _, err := b.commit(facts); err != nil {
		return err
	}
	job := b.state.NextJob()
	facts = []state.Fact{
		{Kind: state.JobSubmitted, Job: job, Name: fmt.Sprintf("job-%d", job), Role: 1, User: "u", Body: make([]byte, 1000)},
		{Kind: state.FrameworkAdmitted, Framework: f, Name: fmt.Sprintf("framework-of-%d", job), Role: 1, Job: job, User: "u"},
	}
	for i := range uint64(live) {
		l := b.launch(f)
		l.Sequence = i + 1
		facts = append(facts, l)
	}
	b.low[f] = 1
	_, err := b.commit(facts)
	return err
}

// disk lets the log grow until the journal has taken three snapshots by itself, and watches the folder. Then it lets
// the log grow to just below the next, which is the worst that a restart can find.
func disk(ctx context.Context, b *broker, r *Results) error {
	first, err := b.j.Stats()
	if err != nil {
		return err
	}
	grow := func(stop func(journal.Stats) bool) error {
		for ctx.Err() == nil {
			if err := b.turnover(); err != nil {
				return err
			}
			s, err := b.j.Stats()
			if err != nil {
				return err
			}
			r.SnapshotBytes = s.SnapshotBytes
			r.DiskRatio = max(r.DiskRatio, float64(s.DiskBytes)/float64(s.SnapshotBytes))
			if stop(s) {
				return nil
			}
		}
		return ctx.Err()
	}
	if err := grow(func(s journal.Stats) bool { return s.Snapshots >= first.Snapshots+3 }); err != nil {
		return err
	}
	return grow(func(s journal.Stats) bool { return s.LogBytes > s.SnapshotBytes*9/10 })
}
