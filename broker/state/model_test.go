package state

import (
	"slices"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model folds facts the naive way, with maps and walks; it knows nothing of State.
type model struct {
	cluster    Cluster
	agents     map[uint32]*Agent
	roles      map[uint32]*Role
	frameworks map[uint32]*Framework
	high       map[uint32]uint64
	jobs       map[uint32]*Job
	lastJob    uint32
	tasks      map[TaskID]*Task
}

func newModel() *model {
	return &model{
		agents: map[uint32]*Agent{}, roles: map[uint32]*Role{}, frameworks: map[uint32]*Framework{}, high: map[uint32]uint64{},
		jobs: map[uint32]*Job{}, tasks: map[TaskID]*Task{},
	}
}

func free[T any](m map[uint32]T) uint32 {
	for n := uint32(1); ; n++ {
		if _, ok := m[n]; !ok {
			return n
		}
	}
}

func (m *model) countTasks(ok func(*Task) bool) (n int) {
	for _, t := range m.tasks {
		if ok(t) {
			n++
		}
	}
	return n
}

func (m *model) roleOK(n uint32) bool {
	r := m.roles[n]
	return n == 0 || (r != nil && !r.Removed)
}

func (m *model) jobOK(n uint32) bool {
	j := m.jobs[n]
	return n == 0 || (j != nil && !j.HasEnded())
}

// apply tells whether the fact fits.
func (m *model) apply(f *Fact) bool {
	if !m.fold(f) {
		return false
	}
	m.cluster.Now = max(m.cluster.Now, f.Now)
	m.sweep()
	return true
}

func (m *model) fold(f *Fact) bool {
	agent, fw, job := m.agents[f.Agent], m.frameworks[f.Framework], m.jobs[f.Job]
	switch f.Kind {
	case ClusterCreated:
		if m.cluster.ID != "" || f.Name == "" {
			return false
		}
		m.cluster.ID, m.cluster.Key = f.Name, f.Body
	case EpochBegun:
		if f.Epoch <= m.cluster.Epoch || f.Now < m.cluster.Now {
			return false
		}
		m.cluster.Epoch = f.Epoch
	case KindNamed:
		if f.Code < 5 || f.Code > 7 || (m.cluster.Kinds[f.Code] != "" && m.cluster.Kinds[f.Code] != f.Name) {
			return false
		}
		if i := slices.Index(m.cluster.Kinds[:], f.Name); i >= 0 && i != int(f.Code) {
			return false
		}
		m.cluster.Kinds[f.Code] = f.Name
	case AgentAdmitted:
		for _, a := range m.agents {
			if !a.Forgotten && a.ID == f.Name {
				return false
			}
		}
		if f.Agent != free(m.agents) {
			return false
		}
		m.agents[f.Agent] = &Agent{Number: f.Agent, ID: f.Name, Host: f.Host, Info: f.Body, Total: f.Resources, Boot: f.Text, Admitted: f.Wall, Changed: f.Wall}
	case AgentUpdated, AgentChanged, AgentDrained, AgentForgotten:
		if agent == nil || agent.Forgotten {
			return false
		}
		switch f.Kind {
		case AgentUpdated:
			agent.Host, agent.Info, agent.Total, agent.Boot = f.Host, f.Body, f.Resources, f.Text
		case AgentChanged:
			if f.Status > 3 {
				return false
			}
			agent.Status, agent.Why, agent.Changed = f.Status, f.Text, f.Wall
		case AgentDrained:
			if f.Duration < 0 || !f.Flag && f.Duration > 0 {
				return false
			}
			agent.Draining, agent.DrainUntil, agent.DrainSince = f.Flag, f.Duration, 0
			if f.Flag {
				agent.DrainSince = f.Wall
			}
		case AgentForgotten:
			if m.countTasks(func(t *Task) bool { return t.Agent == f.Agent && t.Live() }) > 0 {
				return false
			}
			agent.Forgotten = true
		}
	case RoleSet:
		if r := m.roles[f.Role]; r != nil {
			if r.Removed || r.Path != f.Name || r.Parent != f.Parent || f.Weight <= 0 {
				return false
			}
			r.Weight, r.Guarantee, r.Limit, r.Config = f.Weight, f.Guarantee, f.Limit, f.Flag
			return true
		}
		for _, r := range m.roles {
			if !r.Removed && r.Path == f.Name {
				return false
			}
		}
		if f.Role != free(m.roles) || f.Weight <= 0 || !m.roleOK(f.Parent) {
			return false
		}
		m.roles[f.Role] = &Role{Number: f.Role, Parent: f.Parent, Path: f.Name, Weight: f.Weight, Guarantee: f.Guarantee, Limit: f.Limit, Config: f.Flag}
	case RoleRemoved:
		r := m.roles[f.Role]
		if r == nil || r.Removed {
			return false
		}
		for _, c := range m.roles {
			if c.Parent == f.Role && !c.Removed {
				return false
			}
		}
		for _, c := range m.frameworks {
			if c.Role == f.Role && !c.HasEnded {
				return false
			}
		}
		for _, c := range m.jobs {
			if c.Role == f.Role && !c.HasEnded() {
				return false
			}
		}
		r.Removed = true
	case FrameworkAdmitted:
		for _, o := range m.frameworks {
			if o.ID == f.Name {
				return false
			}
		}
		if f.Framework != free(m.frameworks) || !m.roleOK(f.Role) || !m.jobOK(f.Job) {
			return false
		}
		m.frameworks[f.Framework] = &Framework{
			Number: f.Framework, ID: f.Name, Role: f.Role, Job: f.Job, User: f.User, Name: f.Text, Classic: f.Flag,
			Failover: f.Duration, Attempt: f.Attempt, Admitted: f.Wall,
		}
		delete(m.high, f.Framework)
	case FrameworkChanged, FrameworkEnded, FrameworkSaved:
		if fw == nil || fw.HasEnded {
			return false
		}
		switch f.Kind {
		case FrameworkChanged:
			if f.Job != 0 && f.Job != fw.Job {
				if fw.Job != 0 || m.countTasks(func(t *Task) bool { return t.Framework == f.Framework }) > 0 || !m.jobOK(f.Job) {
					return false
				}
				if f.Role != 0 && f.Role != fw.Role && !m.roleOK(f.Role) {
					return false
				}
				fw.Job = f.Job
			}
			if f.Role != 0 && f.Role != fw.Role {
				if !m.roleOK(f.Role) {
					return false
				}
				fw.Role = f.Role
				if j := m.jobs[fw.Job]; j != nil && !j.HasEnded() {
					j.Role = f.Role
				}
			}
			fw.Failover, fw.Attempt = f.Duration, f.Attempt
		case FrameworkEnded:
			fw.HasEnded, fw.Ended = true, f.Wall
		case FrameworkSaved:
			fw.Saved, fw.SavedVersion = f.Body, f.Version
		}
	case JobSubmitted:
		for _, j := range m.jobs {
			if j.ID == f.Name || (f.Host != "" && j.Request == f.Host && j.User == f.User) {
				return false
			}
		}
		if f.Job != m.lastJob+1 || !m.roleOK(f.Role) {
			return false
		}
		m.lastJob = f.Job
		m.jobs[f.Job] = &Job{
			Number: f.Job, ID: f.Name, Role: f.Role, User: f.User, Name: f.Text, Request: f.Host, Submission: f.Body,
			Phase: JobWaiting, Submitted: f.Wall, Changed: f.Wall,
		}
	case JobChanged:
		if job == nil || f.Status < 1 || f.Status > 5 || (job.HasEnded() && f.Status != job.Phase) ||
			(f.Framework != 0 && f.Framework != job.Framework && fw == nil) {
			return false
		}
		if f.Status == JobRunning && job.Started == 0 {
			job.Started = f.Wall
		}
		if !job.HasEnded() && f.Status >= 3 {
			job.Ended = f.Wall
		}
		job.Phase, job.Attempt, job.Framework, job.Message, job.Changed = f.Status, f.Attempt, f.Framework, f.Text, f.Wall
		job.KillAsked = job.KillAsked || f.Flag
		if f.Body != nil {
			job.Result = f.Body
		}
	case JobForgotten:
		if job == nil || !job.HasEnded() || m.countTasks(func(t *Task) bool { return t.Job == f.Job && t.Live() }) > 0 {
			return false
		}
		for _, o := range m.frameworks {
			if o.Job == f.Job && !o.HasEnded {
				return false
			}
		}
		delete(m.jobs, f.Job)
	case TaskLaunched:
		if fw == nil || fw.HasEnded || f.Sequence <= m.high[f.Framework] || agent == nil || agent.Forgotten || agent.Status == AgentGone {
			return false
		}
		of := fw.Job
		if of == 0 {
			of = f.Job
		}
		if (f.Job != 0 && f.Job != of) || !m.jobOK(of) {
			return false
		}
		m.high[f.Framework] = f.Sequence
		id := TaskID{f.Framework, f.Sequence}
		m.tasks[id] = &Task{
			TaskID: id, Agent: f.Agent, Job: of, Resources: f.Resources, Ports: f.Ports, Name: f.Name, Locality: uint8(f.Code),
			Coordinator: f.Flag, Launched: f.Wall,
		}
	case TaskEnded:
		t := m.tasks[TaskID{f.Framework, f.Sequence}]
		if t == nil || !t.Live() || f.Status < 3 || f.Status > 6 {
			return false
		}
		t.Status, t.Reason, t.Code, t.Ended = f.Status, f.Reason, f.Code, f.Wall
	case TaskResized:
		t := m.tasks[TaskID{f.Framework, f.Sequence}]
		if t == nil || !t.Live() || f.Version != t.Revision+1 {
			return false
		}
		t.Resources, t.Revision = f.Resources, f.Version
	default:
		return false
	}
	return true
}

// sweep drops what is kept for nothing, until nothing more goes.
func (m *model) sweep() {
	for again := true; again; {
		again = false
		for id, t := range m.tasks {
			if !t.Live() && m.jobs[t.Job] == nil {
				delete(m.tasks, id)
				again = true
			}
		}
		for n, f := range m.frameworks {
			if f.HasEnded && m.jobs[f.Job] == nil && m.countTasks(func(t *Task) bool { return t.Framework == n }) == 0 {
				delete(m.frameworks, n)
				again = true
			}
		}
		for n, a := range m.agents {
			if a.Forgotten && m.countTasks(func(t *Task) bool { return t.Agent == n }) == 0 {
				delete(m.agents, n)
				again = true
			}
		}
		for n, r := range m.roles {
			named := false
			for _, c := range m.roles {
				named = named || c.Parent == n
			}
			for _, c := range m.frameworks {
				named = named || c.Role == n
			}
			for _, c := range m.jobs {
				named = named || c.Role == n
			}
			if r.Removed && !named {
				delete(m.roles, n)
				again = true
			}
		}
	}
}

func (m *model) compare(t *rapid.T, v *View) {
	same := func(what string, got, want any) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s (-model +state):\n%s", what, d)
		}
	}
	same("cluster", v.Cluster(), m.cluster)
	same("next", []uint32{v.NextAgent(), v.NextFramework(), v.NextRole(), v.NextJob()},
		[]uint32{free(m.agents), free(m.frameworks), free(m.roles), m.lastJob + 1})
	var agents, roles, frameworks, jobs []uint32
	for n, a := range m.agents {
		same("agent", v.Agent(n), a)
		live := m.countTasks(func(t *Task) bool { return t.Agent == n && t.Live() })
		same("tasks on agent", []int{v.LiveTasksOnAgent(n), len(slices.Collect(v.TasksOnAgent(n)))}, []int{live, live})
		if !a.Forgotten {
			agents = append(agents, n)
			same("agent by id", v.AgentByID(a.ID), a)
		}
	}
	for n, r := range m.roles {
		same("role", v.Role(n), r)
		if !r.Removed {
			roles = append(roles, n)
			same("role by path", v.RoleByPath(r.Path), r)
		}
	}
	for n, f := range m.frameworks {
		same("framework", v.Framework(n), f)
		same("framework by id", v.FrameworkByID(f.ID), f)
		same("high water", v.HighWater(n), m.high[n])
		frameworks = append(frameworks, n)
		same("tasks of framework", len(slices.Collect(v.TasksOfFramework(n))), m.countTasks(func(t *Task) bool { return t.Framework == n }))
		same("live tasks of framework", v.LiveTasksOfFramework(n), m.countTasks(func(t *Task) bool { return t.Framework == n && t.Live() }))
	}
	for n, j := range m.jobs {
		same("job", v.Job(n), j)
		same("job by id", v.JobByID(j.ID), j)
		if j.Request != "" {
			same("job by request", v.JobByRequest(j.User, j.Request), j)
		}
		jobs = append(jobs, n)
		same("tasks of job", len(slices.Collect(v.TasksOfJob(n))), m.countTasks(func(t *Task) bool { return t.Job == n }))
		same("live tasks of job", v.LiveTasksOfJob(n), m.countTasks(func(t *Task) bool { return t.Job == n && t.Live() }))
		of := 0
		for f := range v.FrameworksOfJob(n) {
			same("framework of job", f.Job, n)
			of++
		}
		for _, f := range m.frameworks {
			if f.Job == n {
				of--
			}
		}
		same("frameworks of job", of, 0)
	}
	for id, want := range m.tasks {
		got, ok := v.Task(id.Framework, id.Sequence)
		if !ok {
			t.Fatalf("no task %v", id)
		}
		same("task", got, *want)
	}
	same("tasks", []int{v.TaskRecords(), v.LiveTasks()}, []int{len(m.tasks), m.countTasks((*Task).Live)})
	numbers := func(what string, got, want []uint32) {
		slices.Sort(want)
		same(what, got, want)
	}
	var got []uint32
	for a := range v.Agents() {
		got = append(got, a.Number)
	}
	numbers("agents", got, agents)
	got = nil
	for r := range v.Roles() {
		got = append(got, r.Number)
	}
	numbers("roles", got, roles)
	got = nil
	for f := range v.Frameworks() {
		got = append(got, f.Number)
	}
	numbers("frameworks", got, frameworks)
	got = nil
	for j := range v.Jobs() {
		got = append(got, j.Number)
	}
	slices.Reverse(got)
	numbers("jobs", got, jobs)
}
