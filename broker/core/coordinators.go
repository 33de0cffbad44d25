package core

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core/launcher"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// Which job may have a coordinator when. The launcher, which takes the offers, only does what is decided here.

const (
	defaultAttempts = 2
	// lastWords is how long the end of a coordinator waits for what it may still have to say on its session: the end
	// comes by its agent, and may overtake it.
	lastWords = int64(2 * time.Second)
	// lingering is how long a coordinator may live after its job has ended.
	lingering = int64(10 * time.Second)
	// shareEvery is how often the share for coordinators is looked at again while some wait for it.
	shareEvery = int64(time.Second)
)

func (j *job) attempts() uint32 {
	if j.submission.GetCoordinator() == nil {
		return 1 // somebody else runs it
	}
	if n := j.submission.GetMaxAttempts(); n != 0 {
		return n
	}
	return defaultAttempts
}

// queueCoordinator says that a job wants one.
func (m *machine) queueCoordinator(j *job) {
	if j.stage == queued || j.stage == ordered {
		return
	}
	j.stage = queued
	j.role.waiting = append(j.role.waiting, j)
	m.consider = true
}

// cancelCoordinator takes back a wish that was not yet fulfilled.
func (m *machine) cancelCoordinator(j *job) {
	switch j.stage {
	case queued:
		j.role.waiting = slices.DeleteFunc(j.role.waiting, func(o *job) bool { return o == j })
	case ordered:
		j.role.coordinators = j.role.coordinators.Sub(j.shape)
		j.role.count--
		m.then(func() { m.launcher.Cancel(j.role.path, j.num) })
	}
	j.stage = idle
	m.consider = true
}

// placeCoordinators orders those that fit into their role's share.
func (m *machine) placeCoordinators() {
	m.consider = false
	if m.paused {
		return
	}
	wait := false
	for _, r := range m.rolesInOrder() {
		for len(r.waiting) > 0 {
			j := r.waiting[0]
			if why := m.tooLarge(j.shape); why != "" {
				m.endJob(j, v1.JobPhase_JOB_PHASE_FAILED, "its coordinator cannot run: "+why, nil)
				continue
			}
			if !m.roomForCoordinator(r, j.shape) {
				wait = true
				break
			}
			r.waiting = r.waiting[1:]
			j.stage = ordered
			r.coordinators = r.coordinators.Add(j.shape)
			r.count++
			order := launcher.Order{Role: r.path, Job: j.num, ID: j.id, Shape: amounts(j.shape, &m.kinds)}
			m.then(func() { m.launcher.Order(order) })
		}
	}
	if wait && !m.looking {
		m.looking = true
		m.timers.after(m.now+shareEvery, func() { m.looking, m.consider = false, true })
	}
}

// roomForCoordinator tells whether one more stays within the part of the role's share that coordinators may take.
func (m *machine) roomForCoordinator(r *role, shape resource.Vector) bool {
	if r.count == 0 {
		return true
	}
	share, ok := m.alloc.RoleShare(allocator.RoleID(r.num))
	if !ok {
		return false
	}
	taken, _ := r.coordinators.Add(shape).Dominant(m.total)
	return taken <= m.cfg.CoordinatorShare*max(share.Fair, share.Dominant)
}

// openLauncher has the launcher take back its framework of a role, for the coordinators that run.
func (m *machine) openLauncher(r *role) {
	path := r.path
	m.then(func() { m.launcher.Order(launcher.Order{Role: path}) })
}

func (m *machine) countCoordinator(t *task) {
	t.counted = true
	t.job.role.coordinators = t.job.role.coordinators.Add(t.resources)
	t.job.role.count++
}

// completeCoordinators makes the launcher's tasks into coordinators, with what only the broker knows.
func (m *machine) completeCoordinators(launches []*launch) error {
	for _, l := range launches {
		k := m.st.JobByID(l.spec.JobId)
		if k == nil || m.jobs[k.Number].stage != ordered || k.HasEnded() {
			return fmt.Errorf("%w: job %s wants no coordinator now", api.ErrInvalid, l.spec.JobId)
		}
		j := m.jobs[k.Number]
		if l.task.resources != j.shape {
			return fmt.Errorf("%w: the coordinator of job %s takes %s", api.ErrInvalid, k.ID, j.shape.Format(&m.kinds))
		}
		s := proto.Clone(j.submission.Coordinator).(*v1.TaskSpec)
		if s.Name == "" {
			s.Name = "coordinator"
		}
		s.JobId, s.Coordinator, s.JobSecret = k.ID, true, jobSecret(m.cluster.Key, k.ID)
		s.Command.User = k.User
		if s.Command.Env == nil {
			s.Command.Env = map[string]string{}
		}
		s.Command.Env["FAIRWAY_JOB_ATTEMPT"] = strconv.Itoa(int(k.Attempt) + 1)
		s.Command.Files = append(s.Command.Files, &v1.InlineFile{Target: ".fairway/token", Content: []byte(jobToken(m.cluster.Key, k.ID)), Mode: 0o600})
		l.spec, l.task.job, l.task.coordinator = s, j, true
	}
	return nil
}

// coordinatorLaunched counts an attempt; an older one that was cut off is killed.
func (m *machine) coordinatorLaunched(t *task) {
	j := t.job
	// It was counted when it was ordered.
	t.counted = true
	if old := j.coordinator; old != nil {
		m.killTask(old, v1.TaskReason_TASK_REASON_KILL_ASKED, 0, "a newer attempt runs")
	}
	j.coordinator, j.stage = t, started
	m.changeJob(j, func(f *state.Fact) { f.Attempt++ })
	m.log.Info("coordinator launched", zap.String("job", j.id), zap.Uint32("attempt", m.record(j).Attempt), zap.String("agent", t.agent.id))
}

// coordinatorCutOff looks at a job whose coordinator's agent is unreachable: unless the coordinator can still be heard,
// the next attempt begins.
func (m *machine) coordinatorCutOff(t *task) {
	j := t.job
	r := m.record(j)
	if j.coordinator != t || t.state != v1.TaskState_TASK_STATE_UNREACHABLE || r.HasEnded() || j.killed {
		return
	}
	if j.framework != nil && j.framework.session != nil || r.Attempt >= j.attempts() {
		return
	}
	m.log.Info("a coordinator is cut off, the next attempt begins", zap.String("job", j.id))
	m.queueCoordinator(j)
}

// coordinatorBack keeps a coordinator whose agent came back before the next attempt was launched.
func (m *machine) coordinatorBack(t *task) {
	j := t.job
	if j.coordinator == t && (j.stage == queued || j.stage == ordered) {
		m.cancelCoordinator(j)
		j.stage = started
	}
}

// coordinatorEnded looks at a job whose coordinator has ended.
func (m *machine) coordinatorEnded(t *task, s *v1.TaskStatus) {
	j := t.job
	if t.counted {
		j.role.coordinators = j.role.coordinators.Sub(t.resources)
		j.role.count--
	}
	m.consider = true
	j.status = proto.Clone(s).(*v1.TaskStatus)
	if j.coordinator != t {
		return
	}
	j.coordinator = nil
	if m.record(j).HasEnded() || j.stage != started {
		return // it is over, or the next attempt is on its way
	}
	j.stage = idle
	why := "its coordinator ended without a result: " + describeEnd(s)
	if t.kill {
		why = "its coordinator was killed: " + t.because
	}
	if j.framework == nil || j.framework.session == nil {
		m.coordinatorLost(j, why)
		return
	}
	m.timers.after(m.now+lastWords, func() {
		if j.coordinator == nil && j.stage == idle {
			m.coordinatorLost(j, why)
		}
	})
}

// describeEnd is a task's end in a few words.
func describeEnd(s *v1.TaskStatus) string {
	text := ""
	switch {
	case s.State == v1.TaskState_TASK_STATE_FINISHED:
		text = "it exited with code 0"
	case s.ExitCode != 0:
		text = fmt.Sprintf("exit code %d", s.ExitCode)
	case s.Signal != 0:
		text = fmt.Sprintf("signal %d", s.Signal)
	case s.State == v1.TaskState_TASK_STATE_KILLED:
		text = "it was killed"
	case s.State == v1.TaskState_TASK_STATE_LOST:
		text = "it was lost"
	default:
		text = "it failed"
	}
	if s.Message != "" {
		text += ": " + s.Message
	}
	return text
}

// coordinatorLost begins the next attempt of a job, or fails it.
func (m *machine) coordinatorLost(j *job, why string) {
	r := m.record(j)
	if r == nil || r.HasEnded() {
		return
	}
	if j.killed {
		m.endJob(j, v1.JobPhase_JOB_PHASE_KILLED, r.Message, nil)
		return
	}
	if j.framework != nil {
		m.endFramework(j.framework, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, fmt.Errorf("%w: its coordinator has ended", api.ErrFenced))
	}
	if r.Attempt >= j.attempts() {
		m.endJob(j, v1.JobPhase_JOB_PHASE_FAILED, why, nil)
		return
	}
	m.changeJob(j, func(f *state.Fact) {
		f.Status, f.Text = state.JobWaiting, fmt.Sprintf("attempt %d: %s; trying again", r.Attempt, why)
	})
	m.log.Info("the next attempt of a job begins", zap.String("job", j.id), zap.Uint32("attempt", r.Attempt+1), zap.String("why", why))
	m.queueCoordinator(j)
}

// runnerLost looks at a job whose framework did not come back.
func (m *machine) runnerLost(j *job, why string) {
	if m.record(j).HasEnded() {
		return
	}
	switch {
	case j.submission.GetCoordinator() == nil:
		m.endJob(j, v1.JobPhase_JOB_PHASE_FAILED, why, nil)
	case j.coordinator != nil && j.stage == started:
		m.killTask(j.coordinator, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, 0, why) // and its end begins the next attempt
		m.coordinatorCutOff(j.coordinator)
	case j.stage == idle:
		m.coordinatorLost(j, why)
	}
}

// launchRefused fails a job whose coordinator the launcher could not launch.
func (m *machine) launchRefused(num uint32, why string) {
	j := m.jobs[num]
	if j == nil || j.stage != ordered || m.record(j).HasEnded() {
		return
	}
	m.endJob(j, v1.JobPhase_JOB_PHASE_FAILED, "its coordinator cannot run: "+why, nil)
}
