package agent

import (
	"cmp"
	"errors"
	"slices"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
)

// recover takes up what an earlier agent on this work folder left: running tasks are watched again, tasks that ended in
// between are reported, and an intent that never became a container is a failed launch.
func (o *owner) recover() error {
	identity, tasks, jobs, err := o.a.store.Load()
	if err != nil {
		return err
	}
	o.identity, o.jobs = identity, jobs
	o.a.id.Store(&identity.AgentID)
	rebooted := identity.BootID != "" && identity.BootID != o.a.info.BootId
	if identity.BootID != o.a.info.BootId {
		o.identity.BootID = o.a.info.BootId
		o.remember()
	}
	for job, record := range jobs {
		o.a.served.setJob(job, o.a.tree.JobDir(job), record)
	}
	known := map[string]bool{}
	for key, record := range tasks {
		t := &task{key: key, record: record, spec: record.Spec, done: make(chan struct{})}
		o.tasks[key], o.active[key] = t, t
		o.a.served.setTask(t)
		if record.Phase == checkpoint.Ended {
			close(t.done)
			continue
		}
		known[record.Container] = true
		if record.Kill != "" {
			t.killed = v1.TaskReason_TASK_REASON_KILL_ASKED
			t.grace = t.killGrace()
		}
		o.takeUp(t, rebooted)
	}
	o.sweep(known)
	for job := range jobs {
		o.dropJob(job)
	}
	return nil
}

func (o *owner) takeUp(t *task, rebooted bool) {
	c, err := o.a.runtime.Attach(t.record.Container)
	if err == nil {
		o.a.log.Info("task taken up", zap.String("task", t.key))
		t.container = c
		if x := c.Ended(); x != nil {
			o.exited(o.a.examine(t, x, nil))
		} else {
			o.running(t)
			if t.record.Spec.GetRevision() > 0 {
				o.resizes = append(o.resizes, t) // the agent before this one may not have come to it
			}
		}
		return
	}
	if errors.Is(err, container.ErrNotStarted) && t.record.Phase == checkpoint.Launching && t.spec.GetService() != "" && t.killed == 0 {
		o.relaunch(t)
		return
	}
	if !errors.Is(err, container.ErrGone) {
		o.a.log.Warn("container not found again", zap.String("task", t.key), zap.Error(err))
	}
	s := &v1.TaskStatus{State: v1.TaskState_TASK_STATE_FAILED, Reason: v1.TaskReason_TASK_REASON_AGENT_RESTARTED, Message: oneLine(err.Error())}
	switch {
	case rebooted:
		s.Message = "the agent's host was started again"
	case t.record.Phase == checkpoint.Launching:
		s.Reason, s.Message = v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "the agent was restarted while it launched the task"
	}
	if t.killed != 0 {
		s.State, s.Reason, s.Message = v1.TaskState_TASK_STATE_KILLED, t.killed, t.record.Kill
	}
	o.conclude(t, s, t.record.Phase == checkpoint.Running)
}

// sweep ends containers that no live task owns: their end was reported by an agent that was killed before it released them.
func (o *owner) sweep(known map[string]bool) {
	ids, err := o.a.runtime.List()
	if err != nil {
		o.a.log.Warn("containers not listed", zap.Error(err))
		return
	}
	for _, id := range ids {
		if known[id] {
			continue
		}
		c, err := o.a.runtime.Attach(id)
		if err != nil {
			continue // and with that it is removed
		}
		o.group.Go(func() error {
			c.Kill(0)
			if _, err := c.Wait(o.work); err != nil && o.work.Err() != nil {
				c.Detach()
				return nil
			}
			if err := c.Release(); err != nil {
				o.a.log.Warn("container not removed", zap.String("container", id), zap.Error(err))
			}
			return nil
		})
	}
}

// maxEnded is how many ended tasks' sandboxes are kept, whatever their age.
const maxEnded = 10_000

// cleanable chooses ended tasks: those that are old, those above the number that is kept, and under pressure the oldest.
// Tasks with unacknowledged updates are left until they are ten times as old, when nobody is there to acknowledge them.
func (o *owner) cleanable(e cleaning) []*v1.TaskID {
	var kept []*task
	var chosen []*v1.TaskID
	for key, t := range o.tasks {
		switch {
		case o.active[key] == nil:
			if t.record.EndedAt <= e.before {
				chosen = append(chosen, t.record.Spec.Task)
			} else {
				kept = append(kept, t)
			}
		case t.record.Phase == checkpoint.Ended && t.container == nil && t.record.EndedAt+9*int64(o.a.o.SandboxMaxAge) <= e.before:
			chosen = append(chosen, t.record.Spec.Task)
		}
	}
	more := max(0, len(kept)-maxEnded)
	if e.pressure && len(chosen) == 0 {
		more = max(more, min(1, len(kept)))
	}
	if more > 0 {
		slices.SortFunc(kept, func(a, b *task) int { return cmp.Compare(a.record.EndedAt, b.record.EndedAt) })
		for _, t := range kept[:more] {
			chosen = append(chosen, t.record.Spec.Task)
		}
	}
	return chosen
}

func (o *owner) forget(key string) {
	if t := o.tasks[key]; t != nil && t.record.Phase == checkpoint.Ended {
		delete(o.tasks, key)
		delete(o.active, key)
		o.change.Tasks[key] = nil
		o.a.served.dropTask(key)
	}
}
