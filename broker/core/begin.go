package core

import (
	"math"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/allocator"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// newMachine makes the owner of a state. begin must be its first turn.
func newMachine(b *Broker, st *state.State) *machine {
	return &machine{
		cfg: b.o.Config, clock: b.o.Clock, version: b.o.Version, log: b.log, met: b.met, journal: b.o.Journal,
		st:     st,
		agents: map[uint32]*agent{}, frameworks: map[uint32]*framework{}, roles: map[uint32]*role{}, jobs: map[uint32]*job{},
		offers: map[allocator.OfferID]*offer{}, fits: map[resource.Vector]bool{}, watchers: map[*watcher]struct{}{}, onlookers: map[onlooker]struct{}{},
		readers: map[*reader]struct{}{}, hostAgents: map[allocator.HostID][]*agent{}, reclaims: map[uint64]*reclaiming{}, unplaced: map[*group]*framework{},
		durable: make(chan error, maxInFlight),
	}
}

// begin takes over a state: a new epoch, the allocator rebuilt, everybody awaited.
func (m *machine) begin() {
	m.base, m.origin = m.st.Now(), m.clock.Now()
	m.now, m.wall = m.base, m.clock.Wall().UnixNano()
	m.started = m.wall
	if m.st.Cluster().ID == "" {
		m.fact(state.Fact{Kind: state.ClusterCreated, Name: newClusterID(), Body: newKey(), Wall: m.wall})
	}
	m.cluster = m.st.Cluster()
	m.tag = m.cluster.ID[:min(4, len(m.cluster.ID))]
	m.epoch = m.st.Epoch() + 1
	m.fact(state.Fact{Kind: state.EpochBegun, Epoch: m.epoch, Now: m.now})
	m.alloc = allocator.New(allocator.Config{
		OfferTimeout: int64(m.cfg.OfferTimeout), Filter: int64(m.cfg.DeclineFilter),
		NodeWait: int64(m.cfg.NodeWait), RackWait: int64(m.cfg.RackWait),
		ReclaimAfter: int64(m.cfg.ReclaimAfter), ReclaimDeadline: int64(m.cfg.ReclaimDeadline),
		FirstOffer: allocator.OfferID(m.epoch << 40),
	})
	for slot, name := range m.cluster.Kinds {
		if name != "" {
			if err := m.kinds.Set(slot, name); err != nil {
				m.broken("kinds of resources: %w", err)
			}
		}
	}
	m.loadRoles()
	m.loadAgents()
	m.loadFrameworks()
	m.loadJobs()
	m.loadTasks()
	m.settleJobs()
	m.timers.after(m.now+int64(retainEvery), m.retain)
	m.log.Info("the broker begins", zap.String("cluster", m.cluster.ID), zap.Uint64("epoch", m.epoch), zap.Int("agents", len(m.agents)),
		zap.Int("frameworks", len(m.frameworks)), zap.Int("jobs", len(m.jobs)), zap.Int("tasks", m.st.LiveTasks()))
}

func (m *machine) loadAgents() {
	m.met.agents.Reset() // a machine before this one may have counted
	for _, name := range []string{"active", "draining", "drained", "unreachable", "gone"} {
		m.met.agents.WithLabelValues(name) // 0 is shown too
	}
	for a := range m.st.Agents() {
		info := &v1.AgentInfo{}
		if err := proto.Unmarshal(a.Info, info); err != nil {
			m.broken("what is known of agent %s: %w", a.ID, err)
		}
		n := m.newAgent(a.Number, a.ID)
		m.moveAgent(n, a.Status)
		n.since, n.heard = m.now, m.now
		m.describe(n, info, a.Total)
		m.loadDraining(n, a)
		if a.Status == state.AgentGone {
			continue
		}
		m.place(n)
		m.pauseAgent(n)
		if a.Status == state.AgentUnreachable {
			m.watchGone(n)
			continue
		}
		n.awaited = true
		m.awaited++
		m.watchAgent(n)
	}
	if m.awaited > 0 && m.cfg.RecoveryPause > 0 {
		m.paused = true
		m.event(allocator.Event{Kind: allocator.Pause})
		m.timers.after(m.now+int64(m.cfg.RecoveryPause), func() { m.resume("the time for it has passed") })
	}
}

// resume ends the pause after a restart.
func (m *machine) resume(why string) {
	if !m.paused {
		return
	}
	m.paused = false
	m.event(allocator.Event{Kind: allocator.Resume})
	m.consider = true
	m.log.Info("offers resume", zap.String("why", why), zap.Int("returned", m.returned), zap.Int("awaited", m.awaited))
}

// back counts an agent that has returned after a restart.
func (m *machine) back(a *agent) {
	if !a.awaited {
		return
	}
	a.awaited = false
	m.returned++
	if float64(m.returned) >= math.Ceil(m.cfg.RecoveryFraction*float64(m.awaited)) {
		m.resume("most agents are back")
	}
}

func (m *machine) loadFrameworks() {
	for r := range m.st.Frameworks() {
		f := m.newFramework(r.Number, r.ID)
		f.name, f.role, f.user, f.attempt, f.classic = r.Name, m.roles[r.Role], r.User, r.Attempt, r.Classic
		f.failover, f.ended, f.high = r.Failover, r.HasEnded, m.st.HighWater(r.Number)
		if f.role == nil {
			// Its role has been removed; it can only have ended, and counts for the root.
			f.role = m.roles[0]
		}
		if f.ended {
			if m.st.LiveTasksOfFramework(r.Number) == 0 {
				delete(m.frameworks, r.Number)
				continue
			}
			// The allocator needs to know whose role its tasks count for.
			m.addToAllocator(f)
			continue
		}
		m.addToAllocator(f)
		m.silence(f)
		if strings.HasPrefix(f.id, launcherPrefix) {
			f.launcher = true
			f.role.launcher = f
			m.openLauncher(f.role)
			continue
		}
		m.watchFailover(f)
	}
}

func (m *machine) loadJobs() {
	for r := range m.st.Jobs() {
		j := m.newJob(r)
		if len(r.Result) > 0 {
			j.final = &v1.Job{}
			if err := proto.Unmarshal(r.Result, j.final); err != nil {
				m.broken("result of job %s: %w", r.ID, err)
			}
		}
		if r.HasEnded() {
			continue
		}
		if f := m.frameworks[r.Framework]; f != nil && !f.ended {
			j.framework = f
		}
	}
	for _, f := range m.frameworks {
		if r := m.st.Framework(f.num); r.Job != 0 {
			f.job = m.jobs[r.Job]
		}
	}
}

func (m *machine) loadTasks() {
	for _, a := range m.agentsInOrder() {
		for r := range m.st.TasksOnAgent(a.num) {
			f := m.frameworks[r.Framework]
			if f == nil {
				m.broken("task %d of framework %d has no framework", r.Sequence, r.Framework)
			}
			t := &task{
				framework: f, seq: r.Sequence, agent: a, job: m.jobs[r.Job], resources: r.Resources, revision: r.Revision, ports: r.Ports,
				state: v1.TaskState_TASK_STATE_STAGING, coordinator: r.Coordinator,
			}
			if a.status == state.AgentUnreachable {
				t.state = v1.TaskState_TASK_STATE_UNREACHABLE
			}
			m.enlist(t)
			m.event(allocator.Event{
				Kind: allocator.TaskStart, Agent: allocator.AgentID(a.num), Framework: allocator.FrameworkID(f.num), Resources: r.Resources,
			})
			a.ports = a.ports.Sub(t.ports)
			if j := t.job; t.coordinator && j != nil {
				m.countCoordinator(t)
				if j.coordinator == nil || j.coordinator.seq < t.seq {
					j.coordinator, j.stage = t, started
				}
			}
			if f.ended {
				t.kill, t.why, t.because = true, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, "its framework has ended"
			}
		}
	}
	for r := range m.st.Frameworks() {
		if f := m.frameworks[r.Number]; f != nil && f.ended {
			m.event(allocator.Event{Kind: allocator.FrameworkRemove, Framework: allocator.FrameworkID(f.num)})
		}
	}
}

// settleJobs looks at each job that has not ended: does it need a coordinator, or an end?
func (m *machine) settleJobs() {
	for _, j := range m.jobsInOrder() {
		r := m.record(j)
		for t := range m.st.TasksOfJob(j.num) {
			if a := m.agents[t.Agent]; a != nil && !r.HasEnded() {
				j.agents[a] = struct{}{}
			}
		}
		if r.HasEnded() {
			// Its tasks should be gone; those of a broker that fell in between are killed when their agents come.
			for t := range m.st.TasksOfJob(j.num) {
				if t.Live() {
					x := m.frameworks[t.Framework].tasks[t.Sequence]
					x.kill, x.why, x.because = true, v1.TaskReason_TASK_REASON_JOB_ENDED, "its job has ended"
				}
			}
			continue
		}
		for _, t := range m.coordinatorsOf(j) {
			if t != j.coordinator {
				t.kill, t.why, t.because = true, v1.TaskReason_TASK_REASON_KILL_ASKED, "a newer attempt runs"
			}
		}
		if r.KillAsked {
			m.forceLater(j)
		}
		switch {
		case j.submission.GetCoordinator() == nil:
			if j.framework == nil {
				m.endJob(j, v1.JobPhase_JOB_PHASE_FAILED, "its framework is gone", nil)
			}
		case j.coordinator != nil:
			m.coordinatorCutOff(j.coordinator)
		case r.Attempt == 0:
			m.queueCoordinator(j)
		default:
			m.coordinatorLost(j, "its coordinator is gone")
		}
	}
	m.consider = true
}
