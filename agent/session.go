package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/sandbox"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 10 * time.Second
	// A session that lasted so long was a good one: the next is tried soon.
	goodSession = 10 * time.Second
	// An answer to a registration takes the broker one commit; a broker that is silent for so long is stuck.
	registerPatience = time.Minute
)

// keepSession holds a session with the broker: one session is one registration, and any error ends it whole.
func (a *Agent) keepSession(ctx context.Context) error {
	backoff := firstBackoff
	for ctx.Err() == nil {
		begun := time.Now()
		err := a.oneSession(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > goodSession {
			backoff = firstBackoff
		}
		// Full jitter, so that thousands of agents do not come back in step.
		wait := firstBackoff + rand.N(backoff)
		a.log.Info("no session with the broker", zap.Error(err), zap.Duration("again_in", wait))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		backoff = min(2*backoff, lastBackoff)
	}
	return nil
}

func (a *Agent) oneSession(ctx context.Context) error {
	s, err := a.o.Connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	a.post(ctx, connected{s})
	patience := time.NewTimer(registerPatience)
	defer patience.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			if !a.ready.Load() {
				err = errors.New("the broker does not answer the registration")
				a.post(ctx, disconnected{s, err})
				return err
			}
		case c, ok := <-s.Commands():
			if !ok {
				if err = s.Err(); err == nil {
					err = api.ErrSessionEnded
				}
				a.post(ctx, disconnected{s, err})
				return err
			}
			e := commanded{session: s, command: c}
			if l := c.GetLaunch(); l != nil {
				// Here, since it may take a while and the owner must not wait.
				e.account, e.unknown = a.accounts.find(a.accountName(l))
			}
			a.post(ctx, e)
		}
	}
}

// register is the first message of a session: who the agent is, what it has, and every task that it holds.
func (o *owner) register(s api.AgentSession) {
	o.session, o.registered = s, false
	o.a.ready.Store(false)
	r := &v1.RegisterAgent{AgentId: o.identity.AgentID, Info: proto.CloneOf(o.a.info)}
	for _, s := range o.a.services {
		for k, v := range s.Attributes() {
			if r.Info.Attributes == nil {
				r.Info.Attributes = map[string]string{}
			}
			r.Info.Attributes[k] = v
		}
	}
	for _, t := range o.active {
		if t.record.Phase == checkpoint.Ended && len(t.record.Updates) == 0 {
			continue
		}
		running := &v1.RunningTask{Task: proto.CloneOf(t.record.Spec.Task), Resources: proto.CloneOf(t.record.Spec.Resources), JobId: t.record.Spec.JobId, Epoch: t.record.Epoch, Revision: t.record.Spec.Revision}
		switch {
		case t.record.Phase == checkpoint.Launching:
			running.State = v1.TaskState_TASK_STATE_STAGING
		case t.record.Last != nil:
			running.State = t.record.Last.State
		}
		r.Tasks = append(r.Tasks, running)
	}
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: r}}); err != nil {
		o.a.log.Warn("registration not sent", zap.Error(err))
		s.Close()
	}
}

// obey does what the broker says, unless it is a broker of the past.
func (o *owner) obey(e commanded) {
	c := e.command
	if id := c.GetRegistered().GetAgentId(); id != "" && o.identity.AgentID != "" && id != o.identity.AgentID {
		// A former leader of the same cluster would know this agent by its name.
		o.emigrate(c.Epoch)
	}
	if c.Epoch < o.identity.Epoch {
		o.a.metrics.refused.Inc()
		o.a.log.Warn("refused a command of a former leader", zap.Uint64("epoch", c.Epoch), zap.Uint64("known", o.identity.Epoch))
		return
	}
	if c.Epoch > o.identity.Epoch {
		o.identity.Epoch = c.Epoch
		o.remember()
	}
	switch m := c.Command.(type) {
	case *v1.AgentCommand_Registered:
		o.welcomed(m.Registered)
	case *v1.AgentCommand_Launch:
		o.launch(m.Launch, e)
	case *v1.AgentCommand_Resize:
		o.resize(m.Resize)
	case *v1.AgentCommand_Kill:
		o.killAsked(m.Kill)
	case *v1.AgentCommand_Acknowledge:
		o.acknowledged(m.Acknowledge.GetTask(), m.Acknowledge.GetSequence())
	case *v1.AgentCommand_JobEnded:
		o.jobEnded(m.JobEnded.GetJobId(), "its job has ended")
	case *v1.AgentCommand_Shutdown:
		o.sentAway(m.Shutdown.GetReason())
	}
}

// emigrate is what an agent does when it finds that the broker is another cluster's (or has lost its data): its tasks, their
// updates and its epoch mean nothing there.
func (o *owner) emigrate(epoch uint64) {
	o.a.log.Warn("the broker is another cluster's: the tasks of the former one are ended", zap.String("former_id", o.identity.AgentID))
	o.identity.Epoch = epoch
	for _, t := range o.active {
		t.orphan = true
		if len(t.record.Updates) > 0 {
			t.record.Updates = nil
			o.change.Tasks[t.key] = t.record
		}
		o.kill(t, t.killGrace(), v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, "its cluster is gone")
	}
	o.sends = nil
	o.reports = reports{}
}

func (o *owner) remember() {
	id := o.identity
	o.change.Identity = &id
}

func (o *owner) welcomed(r *v1.AgentRegistered) {
	if r.AgentId != "" && r.AgentId != o.identity.AgentID {
		o.identity.AgentID = r.AgentId
		o.remember()
		o.a.id.Store(&r.AgentId)
	}
	o.registered = true
	o.a.ready.Store(true)
	o.a.metrics.registered.Set(1)
	// Twice as often as asked: one lost to a busy moment does no harm.
	if o.heartbeat = time.Duration(r.HeartbeatNanos) / 2; o.heartbeat < 50*time.Millisecond {
		o.heartbeat = 5 * time.Second
	}
	o.rearm = true
	o.a.log.Info("registered", zap.String("agent", o.identity.AgentID), zap.Uint64("epoch", o.identity.Epoch))
	for _, id := range r.Kill {
		if t := o.tasks[checkpoint.Key(id)]; t != nil {
			o.kill(t, t.killGrace(), v1.TaskReason_TASK_REASON_KILL_ASKED, "the broker no longer wants it")
		}
	}
	live := map[string]bool{}
	for _, job := range r.LiveJobs {
		live[job] = true
	}
	for job := range o.jobs {
		if !live[job] && !o.jobHasTasks(job) {
			o.jobEnded(job, "its job has ended")
		}
	}
	o.removeStrangeJobs(live)
	o.tellJobs(live)
	o.resend(time.Now())
	o.repeatReports()
}

// removeStrangeJobs removes folders that neither the checkpoint nor the broker knows.
func (o *owner) removeStrangeJobs(live map[string]bool) {
	jobs, err := o.a.tree.Jobs()
	if err != nil {
		o.a.log.Warn("job folders not listed", zap.Error(err))
		return
	}
	jobs = slices.DeleteFunc(jobs, func(job string) bool { return live[job] || o.jobs[job] != nil })
	if len(jobs) == 0 {
		return
	}
	o.group.Go(func() error {
		for _, job := range jobs {
			if err := o.a.tree.RemoveJob(job); err != nil {
				o.a.log.Warn("job folder not removed", zap.String("job", job), zap.Error(err))
			}
		}
		return nil
	})
}

func (o *owner) jobHasTasks(job string) bool {
	for _, t := range o.active {
		if t.record.Spec.GetJobId() == job && t.record.Phase != checkpoint.Ended {
			return true
		}
	}
	return false
}

func (o *owner) killAsked(k *v1.KillTask) {
	t := o.tasks[checkpoint.Key(k.GetTask())]
	if t == nil {
		o.sends = append(o.sends, &v1.TaskStatus{Task: k.GetTask(), State: v1.TaskState_TASK_STATE_LOST,
			Reason: v1.TaskReason_TASK_REASON_UNKNOWN_TASK, Message: "this agent never had it", AgentId: o.identity.AgentID, AgentHost: o.a.info.Host})
		return
	}
	grace := time.Duration(k.GraceNanos)
	if grace <= 0 {
		grace = t.killGrace()
	}
	why := k.Reason
	if why == "" {
		why = "killed as asked"
	}
	o.kill(t, grace, v1.TaskReason_TASK_REASON_KILL_ASKED, why)
}

// sentAway ends the agent for good. One that was registered is believed gone, and its tasks have been replaced.
func (o *owner) sentAway(reason string) {
	o.shutdown = shutdownError(reason)
	if !o.registered {
		return
	}
	for _, t := range o.active {
		o.kill(t, t.killGrace(), v1.TaskReason_TASK_REASON_AGENT_GONE, "the broker sent the agent away: "+reason)
	}
}

type shutdownError string

func (e shutdownError) Error() string { return ErrShutdown.Error() + ": " + string(e) }
func (e shutdownError) Unwrap() error { return ErrShutdown }

// send hands a status to the session. If that fails it is sent again after the next registration, or by the retry timer.
func (o *owner) send(s *v1.TaskStatus) {
	if !o.registered {
		return
	}
	if t := o.tasks[checkpoint.Key(s.Task)]; t != nil {
		t.sent = time.Now()
	}
	if s.Sequence > 0 { // it may be of an agent before this one, which had another address, or no name yet
		s.AgentId, s.AgentDataAddress = o.identity.AgentID, o.a.info.DataAddress
	}
	// A sent message belongs to its receiver; ours may be needed again.
	err := o.session.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: proto.CloneOf(s)}})
	if err != nil && !errors.Is(err, api.ErrUnavailable) {
		o.session.Close()
	}
}

// resend sends the unacknowledged updates of all tasks that were last heard of before a time, in their order.
func (o *owner) resend(before time.Time) {
	if !o.registered {
		return
	}
	for _, t := range o.active {
		if len(t.record.Updates) > 0 && !t.sent.After(before) {
			o.sends = append(o.sends, t.record.Updates...)
		}
	}
}

// beat tells the broker that the agent lives, and how it fares.
func (o *owner) beat() {
	if !o.registered {
		return
	}
	o.rearm = true
	h := &v1.AgentHeartbeat{}
	if d, err := sandbox.DiskOf(o.a.o.WorkDir); err == nil {
		h.DiskFreeBytes = d.Free
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		h.MemoryUsedBytes = meminfo(string(b), "MemTotal") - meminfo(string(b), "MemAvailable")
	}
	if memory, cpu, ok := o.a.runtime.Usage(); ok {
		h.MemoryUsedBytes = memory
		now := time.Now()
		if d := now.Sub(o.nextCPU.at); !o.nextCPU.at.IsZero() && d > 0 {
			h.CpuUsedMilli = max(0, (cpu-o.nextCPU.used)*1000/int64(d))
		}
		o.nextCPU.at, o.nextCPU.used = now, cpu
	}
	o.session.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Heartbeat{Heartbeat: h}})
}
