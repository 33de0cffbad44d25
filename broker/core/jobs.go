package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/state"
)

// retainEvery is how often what has ended long ago is looked for.
const retainEvery = time.Minute

// maxReport bounds a job's progress and its result, in bytes.
const maxReport = 2 << 20

func (m *machine) newJob(r *state.Job) *job {
	j := &job{num: r.Number, id: r.ID, role: m.roles[r.Role], user: r.User, submission: &v1.SubmitJobRequest{}, agents: map[*agent]struct{}{}}
	if j.role == nil {
		j.role = m.roles[0] // removed since the job has ended
	}
	if err := proto.Unmarshal(r.Submission, j.submission); err != nil {
		m.broken("submission of job %s: %w", r.ID, err)
	}
	if c := j.submission.Coordinator; c != nil {
		// Checked when it was submitted; kinds of resources are never forgotten.
		shape, err := vector(c.Resources, &m.kinds)
		if err != nil {
			m.broken("coordinator of job %s: %w", r.ID, err)
		}
		j.shape = shape
	}
	m.jobs[r.Number] = j
	return j
}

func (m *machine) jobsInOrder() []*job {
	return slices.SortedFunc(maps.Values(m.jobs), func(a, b *job) int { return int(a.num) - int(b.num) })
}

// createJob makes a job; its framework is on its way, or its coordinator is queued by the caller.
func (m *machine) createJob(ro *role, user string, r *v1.SubmitJobRequest, request string) *job {
	num := m.st.NextJob()
	m.fact(state.Fact{
		Kind: state.JobSubmitted, Job: num, Name: fmt.Sprintf("job-%s-%d", m.tag, num), Role: ro.num, User: user, Text: r.Name,
		Body: marshal(r), Wall: m.wall, Host: request,
	})
	j := m.newJob(m.st.Job(num))
	m.live = nil
	m.met.submitted.Inc()
	m.soil(j)
	return j
}

// changeJob changes a job durably; all that change does not touch stays.
func (m *machine) changeJob(j *job, change func(*state.Fact)) {
	r := m.record(j)
	f := state.Fact{Kind: state.JobChanged, Job: j.num, Status: r.Phase, Attempt: r.Attempt, Framework: r.Framework, Text: r.Message, Wall: m.wall}
	change(&f)
	m.fact(f)
	m.soil(j)
	m.live, m.urgent = nil, true
}

// jobRuns notes that a framework runs a job.
func (m *machine) jobRuns(j *job, f *framework) {
	j.framework = f
	m.changeJob(j, func(x *state.Fact) {
		x.Status, x.Framework, x.Text = state.JobRunning, f.num, ""
		x.Attempt = max(x.Attempt, 1)
		if j.killed {
			x.Text = m.record(j).Message
		}
	})
}

func (m *machine) jobProgress(f *framework, x *v1.JobProgress) {
	j := f.job
	if j == nil || m.record(j).HasEnded() {
		return
	}
	if n := proto.Size(x); n > maxReport {
		m.refuse(f, &v1.Refused{Call: "progress", Message: fmt.Sprintf("a report of %d bytes; %d are the most", n, maxReport)})
		return
	}
	x.Status = line(x.Status)
	j.progress = x
	m.soil(j)
}

// askToStop tells a job's framework that somebody wants the job to stop.
func (m *machine) askToStop(j *job) {
	m.say(j.framework, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_KillJob{KillJob: &v1.KillJob{JobId: j.id, Reason: m.record(j).Message}}})
}

// forceLater ends a job that was asked to stop and does not.
func (m *machine) forceLater(j *job) {
	j.killed = true
	m.timers.after(m.now+int64(m.cfg.KillGrace), func() {
		if r := m.record(j); r != nil && !r.HasEnded() {
			m.endJob(j, v1.JobPhase_JOB_PHASE_KILLED, r.Message, nil)
		}
	})
}

// endJob ends a job: its framework, its tasks, its folders on the agents.
func (m *machine) endJob(j *job, phase v1.JobPhase, message string, x *v1.Unregister) {
	r := m.record(j)
	if r.HasEnded() {
		return
	}
	if j.killed && message == "" {
		message = r.Message
	}
	j.final = &v1.Job{Progress: j.progress.GetProgress(), Counters: j.progress.GetCounters(), Status: j.progress.GetStatus(), Labels: j.progress.GetLabels()}
	if x != nil {
		j.final.Result = x.Result
		if len(x.Counters) > 0 {
			j.final.Counters = x.Counters
		}
	}
	if j.coordinator != nil {
		j.final.Coordinator = m.statusOf(j.coordinator)
	} else if j.status != nil {
		j.final.Coordinator = j.status
	}
	m.cancelIfWanted(j)
	m.changeJob(j, func(f *state.Fact) {
		f.Status, f.Text, f.Body = uint8(phase), message, marshal(j.final)
	})
	m.met.jobsEnded.WithLabelValues(phaseName(phase)).Inc()
	m.log.Info("job ended", zap.String("job", j.id), zap.String("phase", phaseName(phase)), zap.String("message", message))
	if j.framework != nil {
		m.endFramework(j.framework, v1.TaskReason_TASK_REASON_JOB_ENDED, fmt.Errorf("%w: job %s has ended", api.ErrSessionEnded, j.id))
	}
	for _, t := range m.coordinatorsOf(j) {
		end := func() { m.killTask(t, v1.TaskReason_TASK_REASON_JOB_ENDED, 0, "its job has ended") }
		if x == nil || t != j.coordinator {
			end()
		} else {
			m.timers.after(m.now+lingering, end) // it ends by itself
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(j.agents), func(a, b *agent) int { return int(a.num) - int(b.num) }) {
		m.jobLeft(j, a)
	}
}

// coordinatorsOf are the coordinators of a job, of whichever attempt, that live.
func (m *machine) coordinatorsOf(j *job) (out []*task) {
	if j.role.launcher == nil {
		return nil
	}
	for _, t := range m.tasksOf(j.role.launcher) {
		if t.job == j && !terminal(t.state) {
			out = append(out, t)
		}
	}
	return out
}

func (m *machine) cancelIfWanted(j *job) {
	if j.stage == queued || j.stage == ordered {
		m.cancelCoordinator(j)
	}
}

// jobLeft tells an agent that a job has ended, once none of its tasks lives there.
func (m *machine) jobLeft(j *job, a *agent) {
	if _, was := j.agents[a]; !was {
		return
	}
	for t := range a.tasks {
		if t.job == j && !terminal(t.state) {
			return
		}
	}
	delete(j.agents, a)
	m.tell(a, &v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: j.id}}})
}

// retain forgets what ended long ago.
func (m *machine) retain() {
	m.timers.after(m.now+int64(retainEvery), m.retain)
	kept := 0
	var old []*job
	for r := range m.st.Jobs() {
		if !r.HasEnded() {
			continue
		}
		if kept++; (kept > m.cfg.JobsKept || m.wall-r.Ended > int64(m.cfg.JobRetention)) && m.st.LiveTasksOfJob(r.Number) == 0 {
			old = append(old, m.jobs[r.Number])
		}
	}
	for _, j := range old {
		for _, a := range slices.SortedFunc(maps.Keys(j.agents), func(a, b *agent) int { return int(a.num) - int(b.num) }) {
			m.jobLeft(j, a)
		}
		m.fact(state.Fact{Kind: state.JobForgotten, Job: j.num})
		delete(m.jobs, j.num)
		for _, f := range m.frameworks {
			if f.job == j {
				f.job = nil
			}
			for _, t := range f.tasks {
				if t.job == j {
					t.job = nil // it has ended, only its acknowledgement is missing
				}
			}
		}
	}
	m.forgetAgents()
}

func phaseName(p v1.JobPhase) string {
	switch p {
	case v1.JobPhase_JOB_PHASE_WAITING:
		return "waiting"
	case v1.JobPhase_JOB_PHASE_RUNNING:
		return "running"
	case v1.JobPhase_JOB_PHASE_SUCCEEDED:
		return "succeeded"
	case v1.JobPhase_JOB_PHASE_FAILED:
		return "failed"
	case v1.JobPhase_JOB_PHASE_KILLED:
		return "killed"
	}
	return "unknown"
}

// jobMessage is a job as the outside sees it.
func (m *machine) jobMessage(j *job) *v1.Job {
	r := m.record(j)
	x := &v1.Job{
		Id: j.id, Name: r.Name, Kind: j.submission.Kind, Role: j.submission.Role, User: r.User, Phase: v1.JobPhase(r.Phase), Message: r.Message,
		Attempt: r.Attempt, MaxAttempts: j.attempts(), SubmittedUnixNanos: r.Submitted, StartedUnixNanos: r.Started, FinishedUnixNanos: r.Ended,
		Used: amounts(j.used, &m.kinds), TasksRunning: j.running, KillAsked: r.KillAsked,
	}
	if j.role.path != "" {
		x.Role = j.role.path
	}
	if f := m.st.Framework(r.Framework); f != nil && r.Framework != 0 {
		x.FrameworkId = f.ID
	}
	if f := j.final; f != nil {
		x.Progress, x.Counters, x.Status, x.Result, x.Coordinator = f.Progress, f.Counters, f.Status, f.Result, f.Coordinator
		x.Labels = labels(f.Labels, j.submission.Labels)
		if j.status != nil {
			x.Coordinator = j.status
		}
		return x
	}
	x.Progress, x.Counters, x.Status = j.progress.GetProgress(), j.progress.GetCounters(), j.progress.GetStatus()
	x.Labels = labels(j.progress.GetLabels(), j.submission.Labels)
	x.Coordinator = j.status
	if j.coordinator != nil {
		x.Coordinator = m.statusOf(j.coordinator)
	}
	if f := j.framework; f != nil && f.session != nil {
		if s, ok := m.alloc.FrameworkShare(allocator.FrameworkID(f.num)); ok {
			x.TasksWaiting = uint32(min(s.Waiting, 1<<31))
		}
	} else if j.stage == queued || j.stage == ordered {
		x.TasksWaiting = 1
	}
	return x
}

// labels are those that a job's framework says and those that it was submitted with, which win.
func labels(said, submitted map[string]string) map[string]string {
	if len(said) == 0 {
		return submitted
	}
	all := maps.Clone(said)
	maps.Copy(all, submitted)
	return all
}

// SubmitJob implements api.Broker. The job is durable when it returns.
func (b *Broker) SubmitJob(ctx context.Context, caller api.Caller, r *v1.SubmitJobRequest) (*v1.Job, error) {
	if caller.JobID != "" {
		return nil, fmt.Errorf("%w: the token of a job submits no others", api.ErrDenied)
	}
	user, err := actsFor(caller, r.GetUser())
	if err != nil {
		return nil, err
	}
	if user == "" {
		return nil, fmt.Errorf("%w: a job needs a user", api.ErrInvalid)
	}
	if len(r.Name) > 1024 || len(r.Kind) > 64 || len(r.RequestId) > 128 || proto.Size(r) > 2*maxTaskSize || r.MaxAttempts > 100 || len(user) > 255 {
		return nil, fmt.Errorf("%w: a name of up to 1024 bytes, a request id of up to 128, 100 attempts, 4 MiB in all", api.ErrInvalid)
	}
	if r.Coordinator == nil {
		return nil, fmt.Errorf("%w: a job without a coordinator to launch; a framework outside the cluster registers itself", api.ErrInvalid)
	}
	r = proto.Clone(r).(*v1.SubmitJobRequest)
	r.User, r.Coordinator.Task, r.Coordinator.JobSecret = user, nil, nil
	if r.Coordinator.Command == nil {
		r.Coordinator.Command = &v1.Command{}
	}
	if err := checkCommand(r.Coordinator); err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	return ask(ctx, b, func(m *machine, reply func(*v1.Job, error)) {
		if r.RequestId != "" {
			if k := m.st.JobByRequest(user, r.RequestId); k != nil {
				reply(m.jobMessage(m.jobs[k.Number]), nil)
				return
			}
		}
		ro, err := m.findRole(r.Role)
		if err != nil {
			reply(nil, err)
			return
		}
		r.Role = ro.path
		shape, err := vector(r.Coordinator.Resources, &m.kinds)
		if err == nil && len(r.Coordinator.Resources.GetPortRanges()) > 0 {
			err = fmt.Errorf("%w: it may ask for a number of ports, not for which", api.ErrInvalid)
		}
		if err == nil && shape.IsZero() {
			err = fmt.Errorf("%w: it asks for nothing to run with", api.ErrInvalid)
		}
		if err != nil {
			reply(nil, fmt.Errorf("coordinator: %w", err))
			return
		}
		j := m.createJob(ro, user, r, r.RequestId)
		m.queueCoordinator(j)
		m.log.Info("job submitted", zap.String("job", j.id), zap.String("name", r.Name), zap.String("user", user), zap.String("role", ro.path))
		reply(m.jobMessage(j), nil)
	})
}

// findJob is the job of an id.
func (m *machine) findJob(id string) (*job, error) {
	if r := m.st.JobByID(id); r != nil {
		return m.jobs[r.Number], nil
	}
	return nil, fmt.Errorf("%w: job %q; `fairway jobs` lists those there are", api.ErrNotFound, id)
}

// GetJob implements api.Broker.
func (b *Broker) GetJob(ctx context.Context, caller api.Caller, id string) (*v1.Job, error) {
	return ask(ctx, b, func(m *machine, reply func(*v1.Job, error)) {
		j, err := m.findJob(id)
		if err != nil {
			reply(nil, err)
			return
		}
		reply(m.jobMessage(j), nil)
	})
}

// KillJob implements api.Broker. The job is asked to stop; it has stopped when its phase says so, after KillGrace at
// the latest. To kill a job that has ended is no error.
func (b *Broker) KillJob(ctx context.Context, caller api.Caller, id, reason string) (*v1.Job, error) {
	return ask(ctx, b, func(m *machine, reply func(*v1.Job, error)) {
		j, err := m.findJob(id)
		if err != nil {
			reply(nil, err)
			return
		}
		if !mayManage(caller, j.user, j.id) {
			reply(nil, fmt.Errorf("%w: job %s is of %s", api.ErrDenied, id, j.user))
			return
		}
		if !m.record(j).HasEnded() && !j.killed {
			why := "killed by " + caller.User
			if reason != "" {
				why += ": " + line(reason)
			}
			m.changeJob(j, func(f *state.Fact) { f.Flag, f.Text = true, why })
			if j.framework != nil {
				m.askToStop(j)
				m.forceLater(j)
			} else {
				j.killed = true
				m.endJob(j, v1.JobPhase_JOB_PHASE_KILLED, why, nil)
			}
		}
		reply(m.jobMessage(j), nil)
	})
}

// ListJobs implements api.Broker.
func (b *Broker) ListJobs(ctx context.Context, caller api.Caller, r *v1.ListJobsRequest) (*v1.ListJobsResponse, error) {
	size, before := pageSize(r.GetPageSize(), 100), uint64(0)
	if r.GetPageToken() != "" {
		var err error
		if before, err = strconv.ParseUint(r.PageToken, 10, 32); err != nil {
			return nil, fmt.Errorf("%w: page token %q", api.ErrInvalid, r.PageToken)
		}
	}
	return ask(ctx, b, func(m *machine, reply func(*v1.ListJobsResponse, error)) {
		out := &v1.ListJobsResponse{}
		for k := range m.st.Jobs() {
			if before != 0 && uint64(k.Number) >= before {
				continue
			}
			j := m.jobs[k.Number]
			if r.GetRole() != "" && j.role.path != r.Role || r.GetUser() != "" && j.user != r.User ||
				len(r.GetPhases()) > 0 && !slices.Contains(r.Phases, v1.JobPhase(k.Phase)) {
				continue
			}
			if len(out.Jobs) == size {
				// The next page begins below the last job of this one.
				out.NextPageToken = strconv.FormatUint(uint64(m.st.JobByID(out.Jobs[size-1].Id).Number), 10)
				break
			}
			out.Jobs = append(out.Jobs, m.jobMessage(j))
		}
		reply(out, nil)
	})
}

// pageSize bounds the size of a page.
func pageSize(want uint32, standard int) int {
	if want == 0 {
		return standard
	}
	return min(int(want), 1000)
}
