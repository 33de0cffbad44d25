package agent

import (
	"context"
	"fmt"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// event is anything that the owner reacts to.
type event any

type (
	// connected: a session was opened; the owner registers on it.
	connected struct{ session api.AgentSession }
	// disconnected: it has ended.
	disconnected struct {
		session api.AgentSession
		err     error
	}
	// commanded: the broker said something on it.
	commanded struct {
		session api.AgentSession
		command *v1.AgentCommand
		account *account // of a launch
		unknown error    // why there is none
	}
	// launched: a task's container was started, or could not be.
	launched struct {
		task      *task
		container *container.Container
		failure   *launchFailure
	}
	// exited: no process of a container is left.
	exited struct {
		task *task
		exit *container.Exit
		err  error
		note string // what the task's stderr said last
		full bool   // the disk was full then
	}
	// concluded: a service has completed a task's last status.
	concluded struct {
		task   *task
		status *v1.TaskStatus
	}
	// serviceKill: a service wants one of its tasks to end.
	serviceKill struct {
		id    *v1.TaskID
		grace time.Duration
		why   string
	}
	// serviceReport: a service has something to say of a job.
	serviceReport struct {
		about subject
		data  []byte
	}
	// overQuota: a sandbox holds more than it may.
	overQuota struct {
		task  *task
		used  int64
		quota int64
	}
	// cleaning asks for the ended tasks whose sandboxes may go; the answer is called by the owner and must not block.
	cleaning struct {
		before   int64 // ended before this: Unix nanoseconds
		pressure bool  // one more, the oldest, whatever its age
		answer   chan<- []*v1.TaskID
	}
	// cleaned: these sandboxes are gone.
	cleaned struct{ tasks []*v1.TaskID }
)

// owner is the agent's state; only its goroutine touches it.
type owner struct {
	a     *Agent
	work  context.Context // of tasks; ends after run
	group *errgroup.Group // of tasks' goroutines

	identity checkpoint.Identity
	tasks    map[string]*task // all, ended ones too as long as their sandboxes are kept
	active   map[string]*task // those of them that still have something to do or to say
	jobs     map[string]*checkpoint.Job

	session    api.AgentSession // nil: none
	registered bool
	heartbeat  time.Duration
	rearm      bool // the heartbeat's timer is to be set
	shutdown   error
	reports    reports

	// What this turn (and earlier ones whose commit failed) has changed, and what is to be done once that is durable.
	change   checkpoint.Change
	urgent   bool // the change must be durable before this turn's acts; else it may wait for another's commit
	launches []*task
	resizes  []*task
	kills    []*task
	sends    []*v1.TaskStatus
	releases []*task

	nextCPU struct {
		at   time.Time
		used int64
	}
}

func newOwner(a *Agent, work context.Context, group *errgroup.Group) *owner {
	o := &owner{a: a, work: work, group: group, tasks: map[string]*task{}, active: map[string]*task{}, jobs: map[string]*checkpoint.Job{}}
	o.resetChange()
	return o
}

func (o *owner) resetChange() {
	o.change = checkpoint.Change{Tasks: map[string]*checkpoint.Task{}, Jobs: map[string]*checkpoint.Job{}}
}

// post sends an event to the owner, or gives up when the agent has ended.
func (a *Agent) post(ctx context.Context, e event) {
	select {
	case a.events <- e:
	case <-ctx.Done():
	}
}

const (
	maxBatch      = 128
	retryInterval = 5 * time.Second // unacknowledged updates are sent again after this
	stopPatience  = 20 * time.Second
)

// run takes events in batches: react to all, make the changes durable in one transaction, then act.
func (o *owner) run(ctx context.Context) error {
	beat := time.NewTimer(time.Hour)
	defer beat.Stop()
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	var stopping <-chan time.Time
	done := ctx.Done()
	o.urgent = true
	o.settle() // what recovery found out
	for {
		select {
		case <-done:
			if !o.a.o.KillOnStop {
				o.urgent = true
				o.settle()
				return o.shutdown
			}
			done = nil
			stopping = time.After(stopPatience)
			for _, t := range o.active {
				o.kill(t, 0, v1.TaskReason_TASK_REASON_KILL_ASKED, "the agent was stopped")
			}
		case <-stopping:
			return fmt.Errorf("%d tasks did not end with the agent", o.live())
		case e := <-o.a.events:
			o.react(e)
			for n := 1; n < maxBatch; n++ {
				select {
				case e := <-o.a.events:
					o.react(e)
					continue
				default:
				}
				break
			}
		case <-beat.C:
			o.beat()
		case <-retry.C:
			o.urgent = true
			o.resend(time.Now().Add(-retryInterval))
		}
		o.settle()
		if o.rearm {
			beat.Reset(o.heartbeat)
			o.rearm = false
		}
		if o.shutdown != nil && o.live() == 0 {
			return o.shutdown
		}
		if stopping != nil && o.live() == 0 {
			return nil
		}
	}
}

// live counts the tasks that have not ended. One whose end cannot be written down, as the disk is full, has ended all the
// same: its supervisor's exit record tells the next agent.
func (o *owner) live() int {
	n := 0
	for _, t := range o.active {
		if t.record.Phase != checkpoint.Ended {
			n++
		}
	}
	return n
}

func (o *owner) react(e event) {
	// A lost acknowledgement only makes the agent say something twice.
	if c, ok := e.(commanded); !ok || c.command.GetAcknowledge() == nil {
		o.urgent = true
	}
	switch e := e.(type) {
	case connected:
		o.register(e.session)
	case disconnected:
		if o.session == e.session {
			o.session, o.registered = nil, false
			o.a.ready.Store(false)
			o.a.metrics.registered.Set(0)
		}
	case commanded:
		if o.session == e.session {
			o.obey(e)
		}
	case launched:
		o.launched(e)
	case exited:
		o.exited(e)
	case concluded:
		o.finish(e.task, e.status)
	case serviceKill:
		if t := o.tasks[checkpoint.Key(e.id)]; t != nil {
			o.kill(t, e.grace, v1.TaskReason_TASK_REASON_KILL_ASKED, e.why)
		}
	case serviceReport:
		o.reported(e)
	case overQuota:
		if e.task.record.Phase != checkpoint.Ended && e.task.overQuota == 0 {
			e.task.overQuota = e.used
			o.end(e.task, 0)
		}
	case cleaning:
		e.answer <- o.cleanable(e)
	case cleaned:
		for _, id := range e.tasks {
			o.forget(checkpoint.Key(id))
		}
	}
}

// settle makes the turn's changes durable and then acts. If the disk refuses, what is new is refused, what was said
// already goes out, and nothing is released: the supervisors and their exit records keep what the checkpoint lacks.
func (o *owner) settle() {
	var failed error
	if o.urgent && !o.change.Empty() {
		begun := time.Now()
		if failed = o.a.store.Commit(&o.change); failed == nil {
			o.resetChange()
			o.a.metrics.checkpoint.Observe(time.Since(begun).Seconds())
		} else {
			o.a.log.Error("checkpoint cannot be written", zap.Error(failed))
		}
	}
	if failed == nil {
		o.urgent = false
	}
	launches := o.launches
	o.launches = nil
	for _, t := range launches {
		if failed != nil {
			o.launched(launched{task: t, failure: &launchFailure{v1.TaskReason_TASK_REASON_LAUNCH_FAILED, failed}})
			continue
		}
		o.group.Go(func() error {
			c, failure := o.a.launch(t.ctx, t)
			o.a.post(o.work, launched{t, c, failure})
			return nil
		})
	}
	if failed == nil {
		for _, t := range o.resizes {
			o.applySize(t)
		}
		o.resizes = nil
	}
	kills := o.kills
	o.kills = nil
	for _, t := range kills {
		o.end(t, t.grace)
	}
	sends := o.sends
	o.sends = nil
	for _, s := range sends {
		o.send(s)
	}
	if failed == nil {
		releases := o.releases
		o.releases = nil
		for _, t := range releases {
			c := t.container
			t.container = nil
			o.group.Go(func() error {
				if err := c.Release(); err != nil {
					o.a.log.Warn("container not removed", zap.String("task", t.key), zap.Error(err))
				}
				return nil
			})
		}
	}
	o.retire()
}

// retire drops tasks that have ended and been acknowledged from the active ones. Of those only what cleaning and logs
// need is kept.
func (o *owner) retire() {
	live, updates := 0, 0
	for key, t := range o.active {
		if t.record.Phase != checkpoint.Ended {
			live++
		} else if len(t.record.Updates) == 0 && t.container == nil {
			delete(o.active, key)
			s := t.record.Spec
			t.record.Spec = &v1.TaskSpec{Task: s.Task, JobId: s.JobId, JobSecret: s.JobSecret}
			t.spec, t.account = nil, nil
		}
		updates += len(t.record.Updates)
	}
	o.a.metrics.live.Set(float64(live))
	o.a.metrics.updates.Set(float64(updates))
}

// detach lets go of the containers that live on.
func (o *owner) detach() {
	for _, t := range o.active {
		if t.container != nil {
			t.container.Detach()
		}
	}
}
