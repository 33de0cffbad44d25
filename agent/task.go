package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
)

// task is one task on this agent, from its launch command until its sandbox has gone. Its phase only moves forward:
// launching, running, ended.
type task struct {
	key       string
	record    *checkpoint.Task
	spec      *v1.TaskSpec // whole, while launching; then as in the record
	account   *account     // nil: not found, or found by an agent before this one
	container *container.Container
	ctx       context.Context // of the launch
	cancel    context.CancelFunc
	received  time.Time

	killed     v1.TaskReason // why it was killed by us; unspecified: it was not
	grace      time.Duration
	overQuota  int64 // bytes; 0: it is not
	sent       time.Time
	orphan     bool          // of another cluster: nobody wants to know
	concluding bool          // its service completes its last status
	done       chan struct{} // closed when it has ended
	applied    applied
}

// launch takes a new task: the intent is written before anything is done.
func (o *owner) launch(spec *v1.TaskSpec, e commanded) {
	key := checkpoint.Key(spec.GetTask())
	o.a.metrics.launches.Inc()
	if t := o.tasks[key]; t != nil {
		// The same command again. If the task has ended since, the broker may not know it.
		if t.record.Phase == checkpoint.Ended && len(t.record.Updates) == 0 && t.record.Last != nil {
			t.record.Updates = append(t.record.Updates, t.record.Last)
			o.change.Tasks[key] = t.record
			o.active[key] = t
			o.sends = append(o.sends, t.record.Last)
		}
		return
	}
	t := &task{key: key, spec: spec, received: time.Now(), done: make(chan struct{})}
	t.record = &checkpoint.Task{Spec: checkpoint.Slim(spec), Epoch: e.command.Epoch, Phase: checkpoint.Launching, UID: -1}
	t.ctx, t.cancel = context.WithCancel(o.work)
	o.tasks[key], o.active[key] = t, t
	o.change.Tasks[key] = t.record
	if err := o.prepare(t, e); err != nil {
		o.launched(launched{task: t, failure: &launchFailure{v1.TaskReason_TASK_REASON_LAUNCH_FAILED, err}})
		return
	}
	o.launches = append(o.launches, t)
}

// prepare checks the spec and settles where the task will live.
func (o *owner) prepare(t *task, e commanded) error {
	if err := check(t.spec, o.a.services); err != nil {
		return err
	}
	if e.unknown != nil {
		return e.unknown
	}
	account := e.account
	id := t.spec.Task
	t.account = account
	t.record.UID = account.uid
	t.record.Container = fmt.Sprintf("%s_%d", id.Framework, id.Sequence)
	t.record.Sandbox = o.a.tree.Dir(id.Framework, id.Sequence)
	if job := t.spec.JobId; job != "" {
		known := o.jobs[job]
		if known == nil {
			known = &checkpoint.Job{Secret: t.spec.JobSecret, UID: account.uid}
			o.jobs[job] = known
			o.change.Jobs[job] = known
			o.a.served.setJob(job, o.a.tree.JobDir(job), known)
		} else if known.UID != account.uid {
			return fmt.Errorf("job %s runs as another user on this host", job)
		} else if len(known.Secret) == 0 && len(t.spec.JobSecret) > 0 {
			known.Secret = t.spec.JobSecret
			o.change.Jobs[job] = known
			o.a.served.setJob(job, o.a.tree.JobDir(job), known)
		}
	}
	o.a.served.setTask(t)
	return nil
}

func (o *owner) launched(e launched) {
	t := e.task
	t.cancel()
	if t.spec.GetRevision() != t.record.Spec.GetRevision() {
		o.resizes = append(o.resizes, t) // while it was launched
	}
	t.spec = t.record.Spec
	if e.failure != nil {
		s := &v1.TaskStatus{State: v1.TaskState_TASK_STATE_FAILED, Reason: e.failure.reason, Message: oneLine(e.failure.err.Error())}
		if errors.Is(e.failure.err, syscall.ENOSPC) || errors.Is(e.failure.err, syscall.EDQUOT) {
			s.Reason = v1.TaskReason_TASK_REASON_DISK_LIMIT
		}
		if t.killed != 0 {
			s.State, s.Reason, s.Message = v1.TaskState_TASK_STATE_KILLED, t.killed, t.record.Kill
		}
		o.a.log.Info("task not started", zap.String("task", t.key), zap.String("reason", s.Message))
		o.conclude(t, s, false)
		return
	}
	t.container = e.container
	o.running(t)
	if !t.received.IsZero() {
		o.a.metrics.start.Observe(time.Since(t.received).Seconds())
	}
}

// running is where a started task and one that was found again meet.
func (o *owner) running(t *task) {
	if t.record.Phase != checkpoint.Running {
		t.record.Phase = checkpoint.Running
		o.report(t, &v1.TaskStatus{State: v1.TaskState_TASK_STATE_RUNNING})
	}
	c, spec := t.container, t.record.Spec
	o.group.Go(func() error {
		if s := o.a.services[spec.GetService()]; s != nil && o.a.awaitServices(o.work) {
			s.Started(spec, c)
		}
		x, err := c.Wait(o.work)
		if o.work.Err() != nil {
			return nil
		}
		o.a.post(o.work, o.a.examine(t, x, err))
		return nil
	})
	if quota := t.quota(); quota > 0 {
		o.group.Go(func() error {
			o.a.watchQuota(o.work, t, quota)
			return nil
		})
	}
	if t.killed != 0 {
		o.end(t, t.grace)
	}
}

func (t *task) quota() int64 {
	if q := t.record.Spec.GetSandboxQuotaBytes(); q > 0 {
		return q
	}
	return t.record.Spec.GetResources().GetDiskBytes()
}

// kill ends a task for a reason that its last status will give. The first reason stands.
func (o *owner) kill(t *task, grace time.Duration, reason v1.TaskReason, why string) {
	if t.record.Phase == checkpoint.Ended {
		return
	}
	if t.killed == 0 {
		t.killed = reason
		t.record.Kill = oneLine(why)
		if t.record.Kill == "" {
			t.record.Kill = "killed"
		}
		o.change.Tasks[t.key] = t.record
		o.urgent = true
	}
	t.grace = grace
	o.kills = append(o.kills, t) // once it is written down that it is one, so that an agent's death does not make it a failure
}

// end carries a kill to where the task is now.
func (o *owner) end(t *task, grace time.Duration) {
	if t.cancel != nil {
		t.cancel()
	}
	if c := t.container; c != nil && t.record.Phase == checkpoint.Running {
		if err := c.Kill(grace); err != nil {
			o.a.log.Warn("kill did not reach the supervisor", zap.String("task", t.key), zap.Error(err))
		}
	}
}

func (o *owner) exited(e exited) {
	t := e.task
	if t.record.Phase == checkpoint.Ended || t.concluding {
		return
	}
	s := outcome(t, e)
	o.a.log.Info("task ended", zap.String("task", t.key), zap.Stringer("state", s.State), zap.String("message", s.Message))
	o.conclude(t, s, true)
}

// outcome turns how a container ended into a status.
func outcome(t *task, e exited) *v1.TaskStatus {
	s := &v1.TaskStatus{State: v1.TaskState_TASK_STATE_FAILED}
	if e.err != nil {
		s.Reason, s.Message = v1.TaskReason_TASK_REASON_AGENT_RESTARTED, oneLine(e.err.Error())
		if t.killed != 0 {
			s.State, s.Reason, s.Message = v1.TaskState_TASK_STATE_KILLED, t.killed, t.record.Kill
		}
		return s
	}
	x := e.exit
	s.ExitCode, s.Signal = int32(x.Code), int32(x.Signal)
	s.MemoryPeakBytes, s.CpuTimeNanos = x.PeakBytes, x.CPUNanos
	s.MemoryLimitBytes = t.record.Spec.GetResources().GetMemoryBytes()
	because := ""
	if e.note != "" {
		because = ": " + e.note
	}
	switch {
	case t.overQuota > 0:
		s.Reason = v1.TaskReason_TASK_REASON_DISK_LIMIT
		s.Message = fmt.Sprintf("its sandbox holds %s, over the quota of %s", size(t.overQuota), size(t.quota()))
	case x.OOM && (t.killed == 0 || !x.Killed):
		s.Reason = v1.TaskReason_TASK_REASON_MEMORY_LIMIT
		s.Message = fmt.Sprintf("over its memory limit of %s (peak %s)", size(s.MemoryLimitBytes), size(x.PeakBytes))
	case t.killed != 0 && x.Killed:
		s.State, s.Reason, s.Message = v1.TaskState_TASK_STATE_KILLED, t.killed, t.record.Kill
	case x.StartFailure != "":
		s.Reason, s.Message = v1.TaskReason_TASK_REASON_LAUNCH_FAILED, oneLine(x.StartFailure)
	case x.Signal == 0 && x.Code == 0:
		s.State, s.Reason = v1.TaskState_TASK_STATE_FINISHED, v1.TaskReason_TASK_REASON_UNSPECIFIED
	case e.full:
		s.Reason = v1.TaskReason_TASK_REASON_DISK_LIMIT
		s.Message = "the agent's disk is full" + because
	case x.Signal != 0:
		s.Reason = v1.TaskReason_TASK_REASON_SIGNALLED
		s.Message = fmt.Sprintf("ended by signal %d (%v)%s", x.Signal, syscall.Signal(x.Signal), because)
	default:
		s.Reason = v1.TaskReason_TASK_REASON_EXITED
		s.Message = fmt.Sprintf("exit code %d%s", x.Code, because)
	}
	return s
}

// finish gives a task its terminal status.
func (o *owner) finish(t *task, s *v1.TaskStatus) {
	t.record.Phase = checkpoint.Ended
	t.record.EndedAt = time.Now().UnixNano()
	o.report(t, s)
	if t.container != nil {
		o.releases = append(o.releases, t)
	}
	if t.cancel != nil {
		t.cancel()
	}
	close(t.done)
	o.a.metrics.ended.WithLabelValues(label(s.State.String(), "TASK_STATE_"), label(s.Reason.String(), "TASK_REASON_")).Inc()
	o.dropJob(t.record.Spec.GetJobId())
}

func label(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// report appends a status to the task's stream and sends it once it is durable.
func (o *owner) report(t *task, s *v1.TaskStatus) {
	t.record.Sequence++
	s.Task = t.record.Spec.Task
	s.AgentId, s.AgentHost, s.AgentDataAddress = o.identity.AgentID, o.a.info.Host, o.a.info.DataAddress
	s.Sequence = t.record.Sequence
	s.WallUnixNanos = time.Now().UnixNano()
	t.record.Last = s
	o.change.Tasks[t.key] = t.record
	if t.orphan {
		return
	}
	t.record.Updates = append(t.record.Updates, s)
	o.sends = append(o.sends, s)
}

// acknowledged takes an acknowledgement: of this update and those before it, since whoever has seen this one has seen more.
func (o *owner) acknowledged(id *v1.TaskID, sequence uint64) {
	t := o.tasks[checkpoint.Key(id)]
	if t == nil {
		return
	}
	n := 0
	for n < len(t.record.Updates) && t.record.Updates[n].Sequence <= sequence {
		n++
	}
	if n > 0 {
		t.record.Updates = append([]*v1.TaskStatus(nil), t.record.Updates[n:]...)
		o.change.Tasks[t.key] = t.record
	}
}

// dropJob removes the folder of a job that has ended as soon as none of its tasks runs.
func (o *owner) dropJob(job string) {
	record := o.jobs[job]
	if record == nil || !record.Ended {
		return
	}
	for _, t := range o.active {
		if t.record.Spec.GetJobId() == job && t.record.Phase != checkpoint.Ended {
			return
		}
	}
	delete(o.jobs, job)
	o.change.Jobs[job] = nil
	o.a.served.dropJob(job)
	o.group.Go(func() error {
		if err := o.a.tree.RemoveJob(job); err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.a.log.Warn("job folder not removed", zap.String("job", job), zap.Error(err))
		}
		if len(o.a.services) > 0 && o.a.awaitServices(o.work) {
			for _, s := range o.a.services {
				s.JobEnded(job)
			}
		}
		return nil
	})
}

// jobEnded kills what is left of a job and removes its folder.
func (o *owner) jobEnded(job, why string) {
	record := o.jobs[job]
	if record == nil {
		return
	}
	record.Ended = true
	o.change.Jobs[job] = record
	for _, t := range o.active {
		if t.record.Spec.GetJobId() == job {
			o.kill(t, t.killGrace(), v1.TaskReason_TASK_REASON_JOB_ENDED, why)
		}
	}
	o.dropJob(job)
}

const defaultGrace = 5 * time.Second

func (t *task) killGrace() time.Duration {
	if g := t.record.Spec.GetKillGraceNanos(); g > 0 {
		return time.Duration(g)
	}
	return defaultGrace
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "") + "…"
	}
	return s
}

func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strings.Replace(fmt.Sprintf("%.1f %ciB", v, units[i]), ".0 ", " ", 1)
}
