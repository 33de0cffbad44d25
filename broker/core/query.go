package core

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/state"
)

// Questions are answered by the owner, from what it has at hand; long answers come in pages.

// GetCluster implements api.Broker.
func (b *Broker) GetCluster(ctx context.Context, caller api.Caller) (*v1.Cluster, error) {
	return ask(ctx, b, func(m *machine, reply func(*v1.Cluster, error)) {
		x := &v1.Cluster{
			Version: m.version, ClusterId: m.cluster.ID, Epoch: m.epoch, StartedUnixNanos: m.started,
			Total: amounts(m.total, &m.kinds), Used: amounts(m.roles[0].used, &m.kinds), Tasks: uint32(m.st.LiveTasks()), State: "serving",
		}
		if m.paused {
			x.State = "recovering"
		}
		if s, ok := m.alloc.RoleShare(0); ok {
			x.Offered = amounts(s.Offered, &m.kinds)
		}
		x.Agents, x.AgentsUnreachable = uint32(m.census[state.AgentActive]), uint32(m.census[state.AgentUnreachable])
		for _, f := range m.frameworks {
			if !f.ended && !f.launcher {
				x.Frameworks++
			}
		}
		for j := range m.st.Jobs() {
			switch j.Phase {
			case state.JobRunning:
				x.JobsRunning++
			case state.JobWaiting:
				x.JobsWaiting++
			}
		}
		reply(x, nil)
	})
}

var agentStates = [...]string{state.AgentActive: "active", state.AgentUnreachable: "unreachable", state.AgentDraining: "draining", state.AgentGone: "gone"}

// ListAgents implements api.Broker; agents come in the order in which they were admitted.
func (b *Broker) ListAgents(ctx context.Context, caller api.Caller, r *v1.ListAgentsRequest) (*v1.ListAgentsResponse, error) {
	size, after := pageSize(r.GetPageSize(), 500), uint64(0)
	if r.GetPageToken() != "" {
		var err error
		if after, err = strconv.ParseUint(r.PageToken, 10, 32); err != nil {
			return nil, fmt.Errorf("%w: page token %q", api.ErrInvalid, r.PageToken)
		}
	}
	return ask(ctx, b, func(m *machine, reply func(*v1.ListAgentsResponse, error)) {
		out, last := &v1.ListAgentsResponse{}, uint32(0)
		for k := range m.st.Agents() {
			if uint64(k.Number) <= after {
				continue
			}
			if len(out.Agents) == size {
				out.NextPageToken = strconv.FormatUint(uint64(last), 10)
				break
			}
			out.Agents = append(out.Agents, m.agentMessageOf(m.agents[k.Number], k))
			last = k.Number
		}
		reply(out, nil)
	})
}

// agentMessageOf is an agent as the outside sees it.
func (m *machine) agentMessageOf(a *agent, k *state.Agent) *v1.Agent {
	x := &v1.Agent{
		Id: a.id, Info: a.info, State: m.stateOf(a), Tasks: uint32(m.st.LiveTasksOnAgent(a.num)),
		RegisteredUnixNanos: k.Admitted, SinceUnixNanos: k.Changed, Usage: a.usage,
	}
	if x.SinceUnixNanos == 0 {
		x.SinceUnixNanos = k.Admitted
	}
	if _, used, offered, ok := m.alloc.AgentShare(allocator.AgentID(a.num)); ok {
		x.Used, x.Offered = amounts(used, &m.kinds), amounts(offered, &m.kinds)
	}
	m.describeDraining(x, a, k)
	return x
}

// ListTasks implements api.Broker: the tasks of a job, its coordinators first, ended ones too unless live ones only are
// asked for. Tickets for logs are for the job's user and operators.
func (b *Broker) ListTasks(ctx context.Context, caller api.Caller, r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
	size, skip := pageSize(r.GetPageSize(), 500), 0
	if r.GetPageToken() != "" {
		var err error
		if skip, err = strconv.Atoi(r.PageToken); err != nil || skip < 0 {
			return nil, fmt.Errorf("%w: page token %q", api.ErrInvalid, r.PageToken)
		}
	}
	return ask(ctx, b, func(m *machine, reply func(*v1.ListTasksResponse, error)) {
		j, err := m.findJob(r.GetJobId())
		if err != nil {
			reply(nil, err)
			return
		}
		out, at := &v1.ListTasksResponse{}, 0
		tickets := mayManage(caller, j.user, j.id)
		for t := range m.tasksOfJob(j.num) {
			if r.LiveOnly && !t.Live() {
				continue
			}
			if at++; at <= skip {
				continue
			}
			if len(out.Tasks) == size {
				out.NextPageToken = strconv.Itoa(at - 1)
				break
			}
			x := m.taskMessage(j, t)
			if tickets {
				x.Ticket = logTicket(jobSecret(m.cluster.Key, j.id), x.Id.Framework, t.Sequence, (m.wall+int64(m.cfg.TicketLife))/1e9)
			}
			out.Tasks = append(out.Tasks, x)
		}
		reply(out, nil)
	})
}

// tasksOfJob yields coordinators, then the rest.
func (m *machine) tasksOfJob(num uint32) iter.Seq[state.Task] {
	return func(yield func(state.Task) bool) {
		for _, first := range [...]bool{true, false} {
			for t := range m.st.TasksOfJob(num) {
				if t.Coordinator == first && !yield(t) {
					return
				}
			}
		}
	}
}

// taskMessage is a task as the outside sees it.
func (m *machine) taskMessage(j *job, r state.Task) *v1.Task {
	x := &v1.Task{
		Id: &v1.TaskID{Sequence: r.Sequence}, Name: r.Name, State: v1.TaskState(r.Status), Resources: amounts(r.Resources, &m.kinds),
		LaunchedUnixNanos: r.Launched, Locality: v1.Locality(r.Locality), JobId: j.id,
	}
	x.Resources.PortRanges = portRanges(r.Ports)
	if f := m.st.Framework(r.Framework); f != nil {
		x.Id.Framework = f.ID
	}
	if a := m.agents[r.Agent]; a != nil {
		x.AgentId, x.Host, x.DataAddress = a.id, a.info.Host, a.info.DataAddress
	} else if a := m.st.Agent(r.Agent); a != nil {
		x.AgentId, x.Host = a.ID, a.Host
	}
	var t *task
	if f := m.frameworks[r.Framework]; f != nil {
		t = f.tasks[r.Sequence]
	}
	switch {
	case t != nil && r.Live():
		x.Status = m.statusOf(t)
		x.State = t.state
	default:
		x.Status = &v1.TaskStatus{
			Task: x.Id, State: x.State, Reason: v1.TaskReason(r.Reason), ExitCode: r.Code, AgentId: x.AgentId, AgentHost: x.Host, WallUnixNanos: r.Ended,
		}
		if s := j.final.GetCoordinator(); r.Coordinator && s != nil && s.GetTask().GetSequence() == r.Sequence {
			x.Status.Message = s.Message
		}
		if t != nil && t.last != nil {
			x.Status = t.last
		}
	}
	return x
}

// ExplainJob implements api.Broker.
func (b *Broker) ExplainJob(ctx context.Context, caller api.Caller, id string) (*v1.Explanation, error) {
	return ask(ctx, b, func(m *machine, reply func(*v1.Explanation, error)) {
		j, err := m.findJob(id)
		if err != nil {
			reply(nil, err)
			return
		}
		reply(m.explain(j), nil)
	})
}

// explain says why a job waits, or that it does not.
func (m *machine) explain(j *job) *v1.Explanation {
	r := m.record(j)
	x := &v1.Explanation{JobId: j.id, Role: j.role.path}
	if s, ok := m.alloc.RoleShare(allocator.RoleID(j.role.num)); ok {
		x.RoleShare, x.RoleFairShare = s.Dominant, s.Fair
	}
	f, only := j.framework, allocator.GroupID(0)
	if f == nil && j.stage == ordered {
		f, only = j.role.launcher, allocator.GroupID(j.num)
	}
	waiting := uint64(0)
	var first *v1.GroupExplanation // the one that is served first
	var highest int32
	if f != nil {
		ahead := m.ahead(f)
		m.alloc.Groups(allocator.FrameworkID(f.num), func(id allocator.GroupID) {
			if only != 0 && id != only {
				return
			}
			e, ok := m.alloc.Explain(allocator.FrameworkID(f.num), id)
			if !ok || e.Outstanding == 0 || len(x.Groups) >= 256 {
				return
			}
			g := m.explainGroup(id, &e)
			waiting += uint64(e.Outstanding)
			priority := f.priority(id)
			if n := ahead(priority); e.Unblock == allocator.HigherPriority {
				g.Unblock = fmt.Sprintf("%s (%d) come first", g.Unblock, n)
			} else if n > 0 && shortOfRoom(e.Unblock) {
				g.Unblock = fmt.Sprintf("%s (%d) come first; then %s", reasonTexts[allocator.HigherPriority].help, n, g.Unblock)
			}
			if first == nil || priority > highest {
				first, highest = g, priority
			}
			x.Groups = append(x.Groups, g)
		})
	}
	switch {
	case r.HasEnded():
		x.Summary = "it has ended: " + phaseName(v1.JobPhase(r.Phase))
		if r.Message != "" {
			x.Summary += ": " + r.Message
		}
	case m.paused:
		x.Summary = fmt.Sprintf("the broker was restarted; offers resume when most agents are back (%d of %d are)", m.returned, m.awaited)
	case m.total.IsZero():
		x.Summary = "there is no agent in the cluster"
	case j.stage == queued:
		x.Summary = fmt.Sprintf("its coordinator waits: coordinators of role %s take their part (%.0f %%) of its share already", j.role.path, 100*m.cfg.CoordinatorShare)
	case f == nil && j.stage == started:
		x.Summary = "its coordinator starts"
	case f == nil:
		x.Summary = "its coordinator has been ordered"
	case f.session == nil:
		x.Summary = "its framework has lost its session and is awaited"
	case first == nil && f.suppressed:
		x.Summary = "its framework wants no offers for now"
	case first == nil:
		x.Summary = fmt.Sprintf("it does not wait for resources; %d tasks run", j.running)
	default:
		what := "tasks wait"
		switch {
		case only != 0:
			what = "coordinator waits"
		case waiting == 1:
			what = "task waits"
		}
		x.Summary = fmt.Sprintf("%d %s: %s", waiting, what, first.Unblock)
	}
	if !r.HasEnded() {
		m.explainReclaims(x, f, only)
	}
	return x
}

// priority of a group; the launcher's have none.
func (f *framework) priority(id allocator.GroupID) int32 {
	if g := f.groups[id]; g != nil {
		return g.stated.GetPriority()
	}
	return 0
}

// ahead tells how many tasks wait in a framework's groups of a higher priority than the given one, and would take what becomes
// free: a gang that waits whole lets others pass.
func (m *machine) ahead(f *framework) func(priority int32) uint64 {
	waiting := map[int32]uint64{}
	m.alloc.Groups(allocator.FrameworkID(f.num), func(id allocator.GroupID) {
		if n, ok := m.alloc.Outstanding(allocator.FrameworkID(f.num), id); ok && n > 0 && m.alloc.AtOnce(allocator.FrameworkID(f.num), id) == 0 {
			waiting[f.priority(id)] += uint64(n)
		}
	})
	return func(priority int32) (n uint64) {
		for p, k := range waiting {
			if p > priority {
				n += k
			}
		}
		return n
	}
}

// shortOfRoom tells the reasons that end when something becomes free, for which groups of higher priority are due first.
func shortOfRoom(r allocator.Reason) bool {
	switch r {
	case allocator.NotEnoughCPU, allocator.NotEnoughMemory, allocator.NotEnoughDisk, allocator.NotEnoughGPU, allocator.NotEnoughPorts,
		allocator.NotEnoughNamed, allocator.RoleLimit, allocator.FairShare:
		return true
	}
	return false
}

func (m *machine) explainGroup(id allocator.GroupID, e *allocator.Explanation) *v1.GroupExplanation {
	g := &v1.GroupExplanation{
		Group: uint64(id), Shape: amounts(e.Shape, &m.kinds), Outstanding: e.Outstanding, Agents: uint32(e.Agents), WaitingNanos: e.Waited,
		AtOnce: e.Minimum, Fit: e.Fits,
	}
	for r := allocator.ReasonNone + 1; r < allocator.NumReasons; r++ {
		if e.Now[r] > 0 || e.Refused[r] > 0 {
			g.Refusals = append(g.Refusals, &v1.Refusal{Reason: reasonText(r), Agents: uint32(e.Now[r]), Count: e.Refused[r]})
		}
	}
	switch {
	case e.Unblock == allocator.LargerThanAny:
		g.Unblock = m.tooLarge(e.Shape)
		if g.Unblock == "" {
			g.Unblock = unblock(e.Unblock)
		}
	case e.Unblock == allocator.RoleLimit:
		g.Unblock = unblock(e.Unblock)
		if r := m.roles[uint32(e.LimitedBy)]; r != nil && r.path != "" {
			g.Unblock = "role " + r.path + " has reached its limit"
			if e.Minimum > 0 {
				g.Unblock = waitsWhole(e, " within the limit of role "+r.path)
			}
		}
	case e.Unblock == allocator.WaitsWhole, e.Unblock == allocator.TooManyAtOnce:
		g.Unblock = waitsWhole(e, "")
	case e.Reserved:
		g.Unblock = "an agent is kept for it until enough has ended there"
	case e.Unblock == allocator.ReasonNone && e.CanServe > 0:
		g.Unblock = fmt.Sprintf("%d agents can serve it; its turn is next", e.CanServe)
	default:
		g.Unblock = unblock(e.Unblock)
	}
	return g
}

// waitsWhole says what a gang waits for; within is a limit that is in the way, or nothing.
func waitsWhole(e *allocator.Explanation, within string) string {
	if e.Most < e.Minimum {
		return fmt.Sprintf("it begins with %d at once or waits whole, and there would be room for %d only%s if nothing else ran", e.Minimum, e.Most, within)
	}
	text := fmt.Sprintf("it begins with %d at once or waits whole, and there is room for %d%s now", e.Minimum, e.Fits, within)
	if e.Reserved {
		text += "; what becomes free on some agents is kept for it"
	}
	return text
}

// reasonText is a reason in a few words.
func reasonText(r allocator.Reason) string {
	if int(r) < len(reasonTexts) && reasonTexts[r].what != "" {
		return reasonTexts[r].what
	}
	return "reason " + strconv.Itoa(int(r))
}

// unblock says what would end a reason.
func unblock(r allocator.Reason) string {
	if int(r) < len(reasonTexts) && reasonTexts[r].help != "" {
		return reasonTexts[r].help
	}
	return strings.TrimSpace("waits: " + reasonText(r))
}

var reasonTexts = [allocator.NumReasons]struct{ what, help string }{
	allocator.ReasonNone:          {"none", "its turn is next"},
	allocator.NotEnoughCPU:        {"not enough cpu", "cpu becomes free when tasks end"},
	allocator.NotEnoughMemory:     {"not enough memory", "memory becomes free when tasks end"},
	allocator.NotEnoughDisk:       {"not enough disk", "disk becomes free when tasks end"},
	allocator.NotEnoughGPU:        {"not enough gpus", "gpus become free when tasks end"},
	allocator.NotEnoughPorts:      {"not enough ports", "ports become free when tasks end"},
	allocator.NotEnoughNamed:      {"not enough of a named resource", "it becomes free when tasks end"},
	allocator.WaitingForNode:      {"waiting for a place on the node", "it waits a moment for the hosts that hold its data"},
	allocator.WaitingForRack:      {"waiting for a place in the rack", "it waits a moment for the racks that hold its data"},
	allocator.StrictPlace:         {"not a wanted host", "it takes only the hosts and racks that it names"},
	allocator.Excluded:            {"excluded by the framework", "its framework excludes these agents"},
	allocator.Filtered:            {"declined not long ago", "its framework declined these agents and is offered them again soon"},
	allocator.RoleLimit:           {"role limit", "its role has reached its limit"},
	allocator.FairShare:           {"others come first", "roles below their fair share come first"},
	allocator.AgentPaused:         {"agent cut off", "agents that are cut off come back"},
	allocator.FrameworkSuppressed: {"offers suppressed", "its framework wants no offers for now"},
	allocator.LargerThanAny:       {"larger than any agent", "no agent is large enough; ask for less, or add a larger agent"},
	allocator.OffersPaused:        {"broker recovering", "the broker was restarted; offers resume when most agents are back"},
	allocator.NoAgents:            {"no agents", "there is no agent in the cluster"},
	allocator.OfferTimeout:        {"offer timed out", "offers were not answered in time"},
	allocator.OfferRescinded:      {"offer taken back", "an offer was taken back"},
	allocator.AgentLost:           {"agent lost", "an agent was lost"},
	allocator.FrameworkGone:       {"framework gone", "its framework has gone"},
	allocator.HigherPriority:      {"higher priority first", "requests of higher priority of the same framework"},
	allocator.GivingBack:          {"gives resources back", "its framework gives resources back first, as its role is above its fair share"},
	allocator.WaitsWhole:          {"not room for all at once", "it begins with some at once or waits whole"},
	allocator.TooManyAtOnce:       {"more at once than the cluster holds", "ask for fewer at once, or add agents"},
	allocator.AgentDraining:       {"agent draining", "an operator is draining these agents (fairway agents); the others have to serve it, or 'fairway undrain' puts one back"},
}
