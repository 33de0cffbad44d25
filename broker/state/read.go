package state

import "iter"

// NextAgent is the number that the next AgentAdmitted must bear; NextFramework, NextRole and NextJob alike.
func (v *View) NextAgent() uint32     { return v.agents.next() }
func (v *View) NextFramework() uint32 { return v.frameworks.next() }
func (v *View) NextRole() uint32      { return v.roles.next() }
func (v *View) NextJob() uint32       { return v.lastJob + 1 }

// Cluster is what holds for the whole cluster; its ID is empty before ClusterCreated.
func (v *View) Cluster() Cluster { return v.cluster }

// Epoch is the current leader's, 0 before the first.
func (v *View) Epoch() uint64 { return v.cluster.Epoch }

// Now is the latest journalled value of the machine's clock, in ns.
func (v *View) Now() int64 { return v.cluster.Now }

// Agent is the agent of that number, nil if there is none; it may be a forgotten one.
func (v *View) Agent(number uint32) *Agent {
	if e := v.agents.get(number); e != nil {
		return e.record
	}
	return nil
}

// Role is the role of that number, nil if there is none (and for the root, 0); it may be a removed one.
func (v *View) Role(number uint32) *Role {
	if e := v.roles.get(number); e != nil {
		return e.record
	}
	return nil
}

// Framework is the framework of that number, nil if there is none; it may have ended.
func (v *View) Framework(number uint32) *Framework {
	if e := v.frameworks.get(number); e != nil {
		return e.record
	}
	return nil
}

// Job is the job of that number, nil if there is none.
func (v *View) Job(number uint32) *Job {
	if e := v.jobEntry(number); e != nil {
		return e.record
	}
	return nil
}

// AgentByID is the agent of that id, nil if there is none. RoleByPath, FrameworkByID and JobByID are alike.
func (v *View) AgentByID(id string) *Agent {
	n, _ := v.agentIDs.get(id)
	return v.Agent(n)
}

func (v *View) RoleByPath(path string) *Role {
	n, _ := v.rolePaths.get(path)
	return v.Role(n)
}

func (v *View) FrameworkByID(id string) *Framework {
	n, _ := v.frameworkIDs.get(id)
	return v.Framework(n)
}

func (v *View) JobByID(id string) *Job {
	n, _ := v.jobIDs.get(id)
	return v.Job(n)
}

// JobByRequest is the job that a user submitted with that request id, nil if there is none.
func (v *View) JobByRequest(user, request string) *Job {
	n, _ := v.requests.get(requestKey(user, request))
	return v.Job(n)
}

// Task is a task that is live or whose record is kept.
func (v *View) Task(framework uint32, sequence uint64) (Task, bool) {
	e := v.frameworks.get(framework)
	if e == nil {
		return Task{}, false
	}
	p, i := e.locate(sequence)
	if p < 0 {
		return Task{}, false
	}
	page := e.pages[p].page
	return page.task(framework, &page.records[i]), true
}

// HighWater is the largest sequence that the framework has launched, 0 before the first.
func (v *View) HighWater(framework uint32) uint64 {
	if e := v.frameworks.get(framework); e != nil {
		return e.high
	}
	return 0
}

// Agents yields all agents that are not forgotten, by number.
func (v *View) Agents() iter.Seq[*Agent] {
	return func(yield func(*Agent) bool) {
		v.agents.each(func(_ uint32, e *agentEntry) bool { return e.record.Forgotten || yield(e.record) })
	}
}

// Roles yields all roles that are not removed, by number. A child may bear a smaller number than its parent.
func (v *View) Roles() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		v.roles.each(func(_ uint32, e *roleEntry) bool { return e.record.Removed || yield(e.record) })
	}
}

// Frameworks yields all frameworks, also those that have ended, by number.
func (v *View) Frameworks() iter.Seq[*Framework] {
	return func(yield func(*Framework) bool) {
		v.frameworks.each(func(_ uint32, e *frameworkEntry) bool { return yield(e.record) })
	}
}

// Jobs yields all jobs from the newest to the oldest.
func (v *View) Jobs() iter.Seq[*Job] {
	return func(yield func(*Job) bool) {
		v.jobs.Descend(func(r jobRef) bool { return yield(r.entry.record) })
	}
}

// FrameworksOfJob yields the frameworks that were registered for a job, in the order of their admission.
func (v *View) FrameworksOfJob(number uint32) iter.Seq[*Framework] {
	return func(yield func(*Framework) bool) {
		e := v.jobEntry(number)
		if e == nil {
			return
		}
		for _, f := range e.frameworks {
			if !yield(v.Framework(f)) {
				return
			}
		}
	}
}

// TasksOfFramework yields a framework's tasks, live and ended, by sequence.
func (v *View) TasksOfFramework(number uint32) iter.Seq[Task] {
	return func(yield func(Task) bool) {
		if e := v.frameworks.get(number); e != nil {
			e.each(func(p *page, r *record) bool { return yield(p.task(number, r)) })
		}
	}
}

// TasksOfJob yields a job's tasks, live and ended: first those of frameworks without a job (its coordinators), then
// those of its own frameworks.
func (v *View) TasksOfJob(number uint32) iter.Seq[Task] {
	return func(yield func(Task) bool) {
		e := v.jobEntry(number)
		if e == nil {
			return
		}
		for _, id := range e.foreign {
			if t, ok := v.Task(id.Framework, id.Sequence); ok && !yield(t) {
				return
			}
		}
		for _, f := range e.frameworks {
			if !v.frameworks.get(f).each(func(p *page, r *record) bool { return yield(p.task(f, r)) }) {
				return
			}
		}
	}
}

// TasksOnAgent yields the live tasks of an agent, by framework and sequence.
func (v *View) TasksOnAgent(number uint32) iter.Seq[Task] {
	return func(yield func(Task) bool) {
		e := v.agents.get(number)
		if e == nil {
			return
		}
		for _, id := range e.tasks {
			if t, ok := v.Task(id.Framework, id.Sequence); ok && !yield(t) {
				return
			}
		}
	}
}

// LiveTasks is the number of tasks that have not ended; TaskRecords counts the ended ones that are kept as well.
func (v *View) LiveTasks() int   { return v.live }
func (v *View) TaskRecords() int { return v.records }

// LiveTasksOfFramework, LiveTasksOnAgent and LiveTasksOfJob count those of one.
func (v *View) LiveTasksOfFramework(number uint32) int {
	if e := v.frameworks.get(number); e != nil {
		return e.live
	}
	return 0
}

func (v *View) LiveTasksOnAgent(number uint32) int {
	if e := v.agents.get(number); e != nil {
		return len(e.tasks)
	}
	return 0
}

func (v *View) LiveTasksOfJob(number uint32) int {
	if e := v.jobEntry(number); e != nil {
		return e.live
	}
	return 0
}
