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
	"fairway/broker/state"
)

const (
	// launcherName is what the launcher's frameworks are called, launcherPrefix what their ids begin with. Only the
	// broker gives ids, so nobody else has one of them.
	launcherName   = "launcher"
	launcherPrefix = "launcher-"
	// maxSaved is how much opaque state a framework may save, in bytes.
	maxSaved = 1 << 20
	// maxFailover bounds how long a framework may be away.
	maxFailover = int64(30 * 24 * time.Hour)
)

func (m *machine) newFramework(num uint32, id string) *framework {
	f := &framework{
		num: num, id: id, tasks: map[uint64]*task{}, groups: map[allocator.GroupID]*group{}, offers: map[allocator.OfferID]*offer{},
	}
	m.frameworks[num] = f
	return f
}

func (m *machine) addToAllocator(f *framework) {
	m.event(allocator.Event{
		Kind: allocator.FrameworkAdd, Framework: allocator.FrameworkID(f.num), Role: allocator.RoleID(f.role.num), Flag: f.classic,
	})
}

// frameworkCall takes one call of a framework.
func (m *machine) frameworkCall(s *frameworkSession, c *v1.FrameworkCall) {
	f := s.framework
	if r := c.GetRegister(); r != nil {
		if f != nil {
			m.expel(s, "register", fmt.Errorf("%w: this session has registered already", api.ErrInvalid))
			return
		}
		if err := m.registerFramework(s, r); err != nil {
			m.log.Info("a framework was refused", zap.String("name", r.Name), zap.String("user", s.caller.User), zap.Error(err))
			m.expel(s, "register", err)
		} else if s.framework != nil {
			m.yield(s.framework, r.Reclaim)
		}
		return
	}
	if f == nil {
		m.expel(s, "first call", fmt.Errorf("%w: the first call of a session registers", api.ErrInvalid))
		return
	}
	if f.session != s || f.ended {
		return // fenced
	}
	switch x := c.Call.(type) {
	case *v1.FrameworkCall_Requests:
		m.updateRequests(f, x.Requests)
	case *v1.FrameworkCall_Accept:
		m.accept(f, x.Accept)
	case *v1.FrameworkCall_Decline:
		m.decline(f, x.Decline)
	case *v1.FrameworkCall_Suppress:
		if !f.suppressed {
			f.suppressed = true
			m.touch(f)
			m.event(allocator.Event{Kind: allocator.Suppress, Framework: allocator.FrameworkID(f.num)})
		}
	case *v1.FrameworkCall_Revive:
		f.suppressed = false
		m.event(allocator.Event{Kind: allocator.Revive, Framework: allocator.FrameworkID(f.num)})
	case *v1.FrameworkCall_Kill:
		m.frameworkKills(f, x.Kill)
	case *v1.FrameworkCall_Acknowledge:
		m.acknowledged(f, x.Acknowledge)
	case *v1.FrameworkCall_Reconcile:
		m.reconcile(f, x.Reconcile)
	case *v1.FrameworkCall_Progress:
		m.jobProgress(f, x.Progress)
	case *v1.FrameworkCall_Unregister:
		m.unregister(f, x.Unregister)
	case *v1.FrameworkCall_SaveState:
		m.saveState(f, x.SaveState)
	case *v1.FrameworkCall_ChangeRole:
		m.changeRole(f, x.ChangeRole)
	case *v1.FrameworkCall_Resize:
		m.resize(f, x.Resize)
	case *v1.FrameworkCall_Heartbeat:
	}
}

// expel ends a session, saying why.
func (m *machine) expel(s *frameworkSession, call string, err error) {
	m.acts = append(m.acts, action{framework: s, event: &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Refused{
		Refused: &v1.Refused{Call: call, Message: err.Error(), Fatal: true},
	}}})
	m.then(func() { s.finish(err) })
}

// refuse says no to one call.
func (m *machine) refuse(f *framework, r *v1.Refused) {
	m.met.refused.WithLabelValues(r.Call).Inc()
	m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Refused{Refused: r}})
}

// actsFor says as whom a caller's tasks run: the named user if the caller may, else itself.
func actsFor(c api.Caller, user string) (string, error) {
	if user == "" {
		user = c.User
	}
	if c.Operator {
		return user, nil
	}
	if user != c.User {
		return "", fmt.Errorf("%w: %s may not act for %s", api.ErrDenied, c.User, user)
	}
	if n, err := strconv.Atoi(user); c.UID != 0 && (user == "root" || err == nil && n == 0) {
		return "", fmt.Errorf("%w: only root and operators run tasks as root", api.ErrDenied)
	}
	return user, nil
}

// mayManage tells whether a caller may speak for a job or framework of user.
func mayManage(c api.Caller, user, job string) bool {
	if c.JobID != "" {
		return c.JobID == job && job != ""
	}
	return c.Operator || c.User == user && user != ""
}

// tasksOf are a framework's tasks by sequence.
func (m *machine) tasksOf(f *framework) []*task {
	all := make([]*task, 0, len(f.tasks))
	for _, t := range f.tasks {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *task) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return all
}

// frameworkGone notes that a session has ended without unregistering.
func (m *machine) frameworkGone(s *frameworkSession) {
	f := s.framework
	if f == nil || f.session != s || f.ended {
		return
	}
	m.loseSession(f)
	if f.launcher {
		return
	}
	m.watchFailover(f)
	if j := f.job; j != nil && j.framework == f && j.coordinator != nil {
		m.coordinatorCutOff(j.coordinator)
	}
}

// loseSession takes a framework's soft side away: it states its requests again when it is back.
func (m *machine) loseSession(f *framework) {
	f.session.framework = nil
	f.session = nil
	m.silence(f)
}

// silence stops offers to a framework without a session.
func (m *machine) silence(f *framework) {
	m.touch(f)
	m.yield(f, false)
	for _, g := range sortedGroups(f) {
		m.event(allocator.Event{Kind: allocator.RequestRemove, Framework: allocator.FrameworkID(f.num), Group: g})
		delete(m.unplaced, f.groups[g])
	}
	clear(f.groups)
	for _, o := range m.offersOf(f) {
		if f.classic && !o.dead {
			m.event(allocator.Event{Kind: allocator.Rescind, Offer: o.id})
		}
		o.dead = true
	}
	if f.classic {
		m.event(allocator.Event{Kind: allocator.Suppress, Framework: allocator.FrameworkID(f.num)})
	}
}

// watchFailover ends a framework that does not come back in time.
func (m *machine) watchFailover(f *framework) {
	f.away++
	away := f.away
	at := m.now + f.failover
	if at < m.now {
		return // for ever
	}
	m.timers.after(at, func() {
		if f.ended || f.session != nil || f.away != away {
			return
		}
		m.log.Warn("framework did not come back", zap.String("framework", f.id), zap.Duration("after", time.Duration(f.failover)))
		j := f.job
		runs := j != nil && j.framework == f
		m.endFramework(f, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, nil)
		if runs {
			m.runnerLost(j, fmt.Sprintf("its framework was away for more than %v", time.Duration(f.failover)))
		}
	})
}

// endFramework ends a framework: its offers return, its tasks are killed. err is why its session ends.
func (m *machine) endFramework(f *framework, why v1.TaskReason, err error) {
	if f.ended {
		return
	}
	m.touch(f)
	for _, o := range f.offers {
		o.dead = true
	}
	for _, g := range f.groups {
		delete(m.unplaced, g)
	}
	clear(f.groups)
	m.dropReclaims(f)
	m.event(allocator.Event{Kind: allocator.FrameworkRemove, Framework: allocator.FrameworkID(f.num)})
	f.ended = true
	m.fact(state.Fact{Kind: state.FrameworkEnded, Framework: f.num, Wall: m.wall})
	if s := f.session; s != nil {
		f.session, s.framework = nil, nil
		m.then(func() { s.finish(err) })
	}
	if f.job != nil && f.job.framework == f {
		f.job.framework = nil
	}
	for _, t := range m.tasksOf(f) {
		m.killTask(t, why, 0, "its framework has ended")
		for _, s := range t.pending {
			t.acked = s.Sequence
			m.acknowledge(t.agent, t.id(), s.Sequence)
		}
		t.pending = nil
		m.release1(t)
	}
	if len(f.tasks) == 0 {
		delete(m.frameworks, f.num)
	}
}

func (m *machine) unregister(f *framework, x *v1.Unregister) {
	j := f.job
	m.log.Info("framework unregistered", zap.String("framework", f.id), zap.Stringer("phase", x.Phase), zap.String("message", x.Message))
	m.endFramework(f, v1.TaskReason_TASK_REASON_JOB_ENDED, fmt.Errorf("%w: unregistered", api.ErrSessionEnded))
	if j == nil || m.record(j).HasEnded() {
		return
	}
	if n := proto.Size(x); n > maxReport {
		m.log.Warn("the result of a job is dropped", zap.String("job", j.id), zap.Int("bytes", n))
		x.Result, x.Counters = nil, nil
	}
	phase, message := x.Phase, line(x.Message)
	if !ended(phase) {
		phase = v1.JobPhase_JOB_PHASE_FAILED
		if message == "" {
			message = "its framework unregistered without saying how the job ended"
		}
	}
	m.endJob(j, phase, message, x)
}

func (m *machine) frameworkKills(f *framework, x *v1.KillTask) {
	t := f.tasks[x.GetTask().GetSequence()]
	if x.GetTask().GetFramework() != "" && x.Task.Framework != f.id {
		m.refuse(f, &v1.Refused{Call: "kill", Message: "this task is of another framework", Tasks: []*v1.TaskID{x.Task}})
		return
	}
	if t == nil {
		m.reconcile(f, &v1.Reconcile{Tasks: []*v1.TaskID{x.GetTask()}})
		return
	}
	m.killTask(t, v1.TaskReason_TASK_REASON_KILL_ASKED, max(x.GraceNanos, 0), line(x.Reason))
}

// reconcile says how things stand with the tasks that a framework asks for; of those that nobody knows it says so.
func (m *machine) reconcile(f *framework, x *v1.Reconcile) {
	if len(x.GetTasks()) == 0 {
		for _, t := range m.tasksOf(f) {
			if !terminal(t.state) {
				m.sendStatus(f, m.statusOf(t))
			}
		}
		return
	}
	for _, id := range x.Tasks {
		if t := f.tasks[id.GetSequence()]; t != nil {
			m.sendStatus(f, m.statusOf(t))
			continue
		}
		s := &v1.TaskStatus{
			Task: &v1.TaskID{Framework: f.id, Sequence: id.GetSequence()}, State: v1.TaskState_TASK_STATE_LOST,
			Reason: v1.TaskReason_TASK_REASON_UNKNOWN_TASK, Message: "the broker does not know this task", WallUnixNanos: m.wall,
		}
		if r, ok := m.st.Task(f.num, id.GetSequence()); ok && !r.Live() {
			s.State, s.Reason, s.ExitCode, s.Message = v1.TaskState(r.Status), v1.TaskReason(r.Reason), r.Code, ""
			if a := m.st.Agent(r.Agent); a != nil {
				s.AgentId, s.AgentHost = a.ID, a.Host
			}
		}
		m.sendStatus(f, s)
	}
}

func (m *machine) saveState(f *framework, x *v1.SaveState) {
	k := m.st.Framework(f.num)
	switch {
	case len(x.State) > maxSaved:
		m.refuse(f, &v1.Refused{Call: "save_state", Message: fmt.Sprintf("state of %d bytes is more than %d", len(x.State), maxSaved)})
	case x.Version <= k.SavedVersion:
		m.refuse(f, &v1.Refused{Call: "save_state", Message: fmt.Sprintf("version %d is not newer than %d", x.Version, k.SavedVersion)})
	default:
		m.fact(state.Fact{Kind: state.FrameworkSaved, Framework: f.num, Version: x.Version, Body: x.State})
		m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_StateSaved{StateSaved: &v1.StateSaved{Version: x.Version}}})
	}
}
