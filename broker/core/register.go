package core

import (
	"fmt"
	"math"

	"go.uber.org/zap"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/state"
)

func (m *machine) registerFramework(s *frameworkSession, r *v1.RegisterFramework) error {
	if len(r.Name) > 255 || len(r.Kind) > 64 || len(r.User) > 255 || r.FailoverNanos < 0 || r.FailoverNanos > maxFailover {
		return fmt.Errorf("%w: a name of up to 255 bytes, a kind of up to 64, a failover of up to 30 days", api.ErrInvalid)
	}
	if c := s.caller; c.JobID != "" {
		if r.JobId != "" && r.JobId != c.JobID {
			return fmt.Errorf("%w: the token of job %s opens no other", api.ErrDenied, c.JobID)
		}
		r.JobId = c.JobID
	}
	failover := r.FailoverNanos
	if failover == 0 {
		failover = int64(m.cfg.Failover)
	}
	if s.internal {
		return m.registerLauncher(s, r)
	}
	if r.FrameworkId != "" {
		k := m.st.FrameworkByID(r.FrameworkId)
		if k == nil || k.HasEnded || m.frameworks[k.Number] == nil || m.frameworks[k.Number].launcher {
			return fmt.Errorf("%w: framework %s; it has unregistered, or was away for longer than its failover time", api.ErrNotFound, r.FrameworkId)
		}
		f := m.frameworks[k.Number]
		job := ""
		if f.job != nil {
			job = f.job.id
		}
		if !mayManage(s.caller, f.user, job) {
			return fmt.Errorf("%w: framework %s is of %s", api.ErrDenied, f.id, f.user)
		}
		if r.Attempt < f.attempt && r.Attempt != 0 {
			return fmt.Errorf("%w: attempt %d of job %s runs", api.ErrFenced, f.attempt, job)
		}
		if f.job != nil && r.Attempt > max(m.record(f.job).Attempt, 1) {
			return fmt.Errorf("%w: attempt %d of job %s was not launched", api.ErrInvalid, r.Attempt, job)
		}
		m.takeBack(f, s, max(r.Attempt, f.attempt), failover)
		return nil
	}
	if r.JobId != "" {
		return m.registerForJob(s, r, failover)
	}
	user, err := actsFor(s.caller, r.User)
	if err != nil {
		return err
	}
	ro, err := m.findRole(r.Role)
	if err != nil {
		return err
	}
	var j *job
	if !r.NoJob && !r.Classic {
		j = m.createJob(ro, user, &v1.SubmitJobRequest{Name: r.Name, Kind: r.Kind, Role: ro.path, User: user}, "")
	}
	f := m.admit(m.newID("fw"), r.Name, ro, user, j, 1, r.Classic, failover)
	if j != nil {
		m.jobRuns(j, f)
	}
	m.welcome(f, s)
	return nil
}

// registerForJob is a job's coordinator. A newer attempt takes the place of an older one; the same attempt that comes
// again has lost its session.
func (m *machine) registerForJob(s *frameworkSession, r *v1.RegisterFramework, failover int64) error {
	k := m.st.JobByID(r.JobId)
	if k == nil {
		return fmt.Errorf("%w: job %s", api.ErrNotFound, r.JobId)
	}
	j := m.jobs[k.Number]
	if !mayManage(s.caller, k.User, k.ID) {
		return fmt.Errorf("%w: job %s is of %s", api.ErrDenied, k.ID, k.User)
	}
	if k.HasEnded() {
		return fmt.Errorf("%w: job %s has ended", api.ErrFenced, k.ID)
	}
	attempt := r.Attempt
	if attempt == 0 {
		attempt = max(k.Attempt, 1)
	}
	if attempt < k.Attempt && !(j.framework != nil && j.framework.attempt == attempt && j.framework.session == nil) {
		return fmt.Errorf("%w: job %s is at attempt %d, this is %d", api.ErrFenced, k.ID, k.Attempt, attempt)
	}
	if attempt > max(k.Attempt, 1) {
		return fmt.Errorf("%w: attempt %d of job %s was not launched", api.ErrInvalid, attempt, k.ID)
	}
	if old := j.framework; old != nil {
		if old.attempt >= attempt {
			m.takeBack(old, s, attempt, failover)
			return nil
		}
		m.endFramework(old, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, fmt.Errorf("%w: attempt %d of job %s has registered", api.ErrFenced, attempt, k.ID))
	}
	f := m.admit(m.newID("fw"), r.Name, j.role, k.User, j, attempt, r.Classic, failover)
	m.jobRuns(j, f)
	m.welcome(f, s)
	if j.killed {
		m.askToStop(j)
	}
	return nil
}

// registerLauncher makes or takes back the launcher's framework of a role.
func (m *machine) registerLauncher(s *frameworkSession, r *v1.RegisterFramework) error {
	ro, err := m.findRole(r.Role)
	if err != nil {
		return err
	}
	if f := ro.launcher; f != nil {
		m.takeBack(f, s, 0, f.failover)
		return nil
	}
	f := m.admit(m.newID("launcher"), launcherName, ro, "", nil, 0, false, math.MaxInt64)
	f.launcher, ro.launcher = true, f
	m.welcome(f, s)
	return nil
}

// admit makes a framework.
func (m *machine) admit(id, name string, ro *role, user string, j *job, attempt uint32, classic bool, failover int64) *framework {
	num := m.st.NextFramework()
	x := state.Fact{
		Kind: state.FrameworkAdmitted, Framework: num, Name: id, Role: ro.num, User: user, Text: name, Flag: classic, Duration: failover,
		Attempt: attempt, Wall: m.wall,
	}
	if j != nil {
		x.Job = j.num
	}
	m.fact(x)
	f := m.newFramework(num, id)
	f.name, f.role, f.user, f.job, f.attempt, f.classic, f.failover = name, ro, user, j, attempt, classic, failover
	m.addToAllocator(f)
	return f
}

// attempt notes that a newer attempt speaks for a framework, or with another failover time.
func (m *machine) attempt(f *framework, attempt uint32, failover int64) {
	if f.attempt == attempt && f.failover == failover {
		return
	}
	f.attempt, f.failover = attempt, failover
	x := state.Fact{Kind: state.FrameworkChanged, Framework: f.num, Duration: failover, Attempt: attempt}
	if f.job != nil {
		x.Job = f.job.num
	}
	m.fact(x)
}

// takeBack gives a framework to a newer session.
func (m *machine) takeBack(f *framework, s *frameworkSession, attempt uint32, failover int64) {
	if old := f.session; old != nil {
		m.loseSession(f)
		m.then(func() { old.finish(fmt.Errorf("%w: framework %s has registered again", api.ErrFenced, f.id)) })
	}
	m.attempt(f, attempt, failover)
	f.away++
	if f.classic || f.suppressed {
		f.suppressed = false
		m.event(allocator.Event{Kind: allocator.Revive, Framework: allocator.FrameworkID(f.num)})
	}
	m.welcome(f, s)
	unheard := f.unheard
	f.unheard = nil
	for _, x := range unheard {
		m.sendStatus(f, x)
	}
	for _, t := range m.tasksOf(f) {
		if n := len(t.pending); n > 0 {
			m.sendStatus(f, t.pending[n-1]) // its acknowledgement is that of all before it
		}
	}
	if j := f.job; j != nil && j.killed {
		m.askToStop(j)
	}
}

// welcome answers a registration.
func (m *machine) welcome(f *framework, s *frameworkSession) {
	s.framework, f.session = f, s
	k := m.st.Framework(f.num)
	x := &v1.FrameworkRegistered{
		FrameworkId: f.id, Epoch: m.epoch, NextSequence: f.high + 1, JobSecret: jobSecret(m.cluster.Key, f.id),
		StateVersion: k.SavedVersion, State: k.Saved,
	}
	if f.job != nil {
		x.JobId, x.JobSecret = f.job.id, jobSecret(m.cluster.Key, f.job.id)
	}
	for _, t := range m.tasksOf(f) {
		if !terminal(t.state) {
			x.Tasks = append(x.Tasks, m.statusOf(t))
			if t.revision > 0 {
				x.Resized = append(x.Resized, m.resized(t))
			}
		}
	}
	m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Registered{Registered: x}})
	m.log.Info("framework registered", zap.String("framework", f.id), zap.String("name", f.name), zap.String("role", f.role.path),
		zap.String("job", x.JobId), zap.Uint32("attempt", f.attempt), zap.Int("tasks", len(x.Tasks)))
}
