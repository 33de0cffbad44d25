package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairway/adapters/spark/launch"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

// How long the broker may take to say how a job ended, whose driver has.
const (
	awaitedEnd = 5 * time.Second
	stageEvery = 5 * time.Second // lines of a stage that runs
)

// sparkSummary is what -o json prints last.
type sparkSummary struct {
	Application string     `json:"application_id"` // empty: none was submitted, or not to this broker
	Job         string     `json:"job_id"`
	State       string     `json:"state"` // as of jobs; interrupted; running: its driver is in the cluster and was not waited for
	ExitCode    int        `json:"exit_code"`
	Wall        int64      `json:"wall_ms"`
	Stages      int64      `json:"stages"` // attempts that have ended
	Tasks       sparkTasks `json:"tasks"`
}

// sparkTasks are attempts of tasks by locality.
type sparkTasks struct {
	Process    int64 `json:"process"`
	Node       int64 `json:"node"`
	Rack       int64 `json:"rack"`
	Any        int64 `json:"any"`
	NoWish     int64 `json:"no_preference"`
	NotCounted int64 `json:"not_counted"`
}

// submit runs spark-submit and follows its job at the broker, which hears of it from the driver.
func (s *sparkCommand) submit(ctx context.Context, c *cobra.Command, run launch.Command) error {
	b, err := s.a.dial()
	if err != nil {
		return err
	}
	defer b.Close()
	f := &sparkFollower{submission: s.submission, changed: make(chan struct{})}
	if s.progress {
		f.show = c.ErrOrStderr()
	}
	watch, stop := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { f.follow(watch, b); return nil })
	begun := time.Now()
	end, err := run.Run(ctx)
	wall := time.Since(begun)
	if err == nil && (end.Stopped || s.progress || s.a.output == "json") && !s.words.Info {
		if left := f.settle(ctx, b, end, s.words.DeployMode == "cluster"); left != nil {
			fmt.Fprintln(c.ErrOrStderr(), "fairway:", left)
		}
	}
	stop()
	_ = group.Wait() // it has no errors
	if err == nil && s.a.output == "json" && !s.words.Info {
		err = json.NewEncoder(c.OutOrStdout()).Encode(f.summary(end, wall))
	}
	if err == nil && f.show != nil {
		f.last(end, wall)
	}
	if err != nil {
		return err
	}
	if end.Stopped {
		fmt.Fprintln(c.ErrOrStderr(), "fairway: interrupted")
	}
	return exit(end, nil)
}

// sparkFollower knows the job of a submission.
type sparkFollower struct {
	submission string
	show       io.Writer // nil: nothing is

	mu      sync.Mutex
	job     *v1.Job // nil: not seen yet
	changed chan struct{}
	told    map[string]toldStage
	unheard bool
}

// toldStage is what was last shown of a stage.
type toldStage struct {
	line string
	at   time.Time
	over bool
}

// follow hears of jobs until ctx ends. A broker that is away is asked again each second.
func (f *sparkFollower) follow(ctx context.Context, b *client.Client) {
	for {
		err := b.WatchJobs(ctx, api.Caller{}, true, func(j *v1.Job) error {
			f.update(j, time.Now())
			return nil
		})
		if ctx.Err() == nil {
			f.complain(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func (f *sparkFollower) complain(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.show != nil && !f.unheard {
		f.unheard = true
		fmt.Fprintln(f.show, "fairway: no progress is shown while the broker does not answer:", err)
	}
}

// update takes what the broker says of a job.
func (f *sparkFollower) update(j *v1.Job, now time.Time) {
	if j.Labels[resourcemanager.SubmissionLabel] != f.submission {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.show != nil {
		if f.job == nil {
			f.told = map[string]toldStage{}
			fmt.Fprintf(f.show, "%s is %s in role %s; why it waits, if it does: fairway explain %s\n", clean(j.Status), j.Id, clean(j.Role), j.Id)
		}
		for i, p := range j.Progress {
			if name, what, ok := strings.Cut(p.Name, ": "); ok && i > 0 {
				f.stage(name, what, p, now)
			}
		}
	}
	f.job = j
	close(f.changed)
	f.changed = make(chan struct{})
}

func clean(text string) string { return strings.Map(printable, text) }

// stage shows a stage that is new, has ended, or has not been shown for a while.
func (f *sparkFollower) stage(name, what string, p *v1.Progress, now time.Time) {
	line := fmt.Sprintf("%s (%s): %d/%d tasks", clean(name), clean(what), p.Done, p.Total)
	if p.Running > 0 {
		line += fmt.Sprintf(", %d running", p.Running)
	}
	if p.Failed > 0 {
		line += fmt.Sprintf(", %d failed", p.Failed)
	}
	was, seen := f.told[name]
	over := p.Running == 0 && p.Done >= p.Total
	if line == was.line || was.over || seen && !over && now.Sub(was.at) < stageEvery {
		return
	}
	f.told[name] = toldStage{line, now, over}
	fmt.Fprintln(f.show, line)
}

// await waits until the job is as it is wanted, or for a time. It gives the job, nil if it has not been seen.
func (f *sparkFollower) await(ctx context.Context, patience time.Duration, wanted func(*v1.Job) bool) *v1.Job {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		f.mu.Lock()
		j, changed := f.job, f.changed
		f.mu.Unlock()
		if j != nil && wanted(j) {
			return j
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return j
		}
	}
}

func hasEnded(j *v1.Job) bool { return j.FinishedUnixNanos != 0 }

// settle waits for the job's last word once spark-submit has ended here. Of what was interrupted nothing stays behind: a
// driver in the cluster, which does not hear of it, or what one here has left when it did not end in good order, is killed.
func (f *sparkFollower) settle(ctx context.Context, b *client.Client, end launch.End, inCluster bool) error {
	if f.await(ctx, time.Second, func(*v1.Job) bool { return true }) == nil {
		return nil // it never came to submit, or not to this broker
	}
	patience := awaitedEnd
	if end.Stopped && inCluster {
		patience = 0
	}
	if j := f.await(ctx, patience, hasEnded); hasEnded(j) || !end.Stopped {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*awaitedEnd)
	defer cancel()
	j := f.await(ctx, 0, hasEnded)
	if _, err := b.KillJob(ctx, api.Caller{}, j.Id, "interrupted by its user"); err != nil {
		return fmt.Errorf("%s may still run (fairway kill %s): %w", j.Id, j.Id, err)
	}
	f.await(ctx, awaitedEnd, hasEnded)
	return nil
}

// summary is what is known in the end.
func (f *sparkFollower) summary(end launch.End, wall time.Duration) sparkSummary {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := sparkSummary{ExitCode: end.Code, Wall: wall.Milliseconds(), State: "succeeded"}
	switch {
	case f.job != nil:
		x.Application, x.Job, x.State = f.job.Status, f.job.Id, phase(f.job.Phase)
	case end.Code != 0 || end.Stopped:
		x.State = "failed"
	}
	if end.Stopped && x.State != "failed" { // Spark says of a driver that was interrupted that it succeeded
		x.State = "interrupted"
	}
	for _, k := range f.job.GetCounters() {
		for name, to := range map[string]*int64{
			localityGroup + localityProcess: &x.Tasks.Process, localityGroup + localityNode: &x.Tasks.Node, localityGroup + localityRack: &x.Tasks.Rack, localityGroup + localityAny: &x.Tasks.Any,
			localityGroup + localityNone: &x.Tasks.NoWish, localityGroup + localityUnknown: &x.Tasks.NotCounted, stagesGroup + stagesEnded: &x.Stages,
		} {
			if k.Group+k.Name == name {
				*to = k.Value
			}
		}
	}
	return x
}

// last shows the end of a job that was seen.
func (f *sparkFollower) last(end launch.End, wall time.Duration) {
	x := f.summary(end, wall)
	if x.Application == "" {
		return
	}
	t := x.Tasks
	fmt.Fprintf(f.show, "%s %s in %s: %d stages; tasks: %d process-local, %d node-local, %d rack-local, %d elsewhere", clean(x.Application), x.State, span(wall), x.Stages, t.Process, t.Node, t.Rack, t.Any)
	if t.NoWish > 0 {
		fmt.Fprintf(f.show, ", %d without a preference", t.NoWish)
	}
	if t.NotCounted > 0 {
		fmt.Fprintf(f.show, ", %d not counted", t.NotCounted)
	}
	fmt.Fprintln(f.show)
}
