package state

import "math"

// jobUsable tells whether a job may get a framework or a task; 0, no job, may.
func (v *View) jobUsable(n uint32) error {
	if n == 0 {
		return nil
	}
	if e := v.jobEntry(n); e == nil || e.record.HasEnded() {
		return contradicts("no job %d, or it has ended", n)
	}
	return nil
}

func (s *State) jobSubmitted(f *Fact) error {
	switch {
	case s.lastJob == math.MaxUint32:
		return contradicts("no numbers of jobs are left")
	case f.Job != s.NextJob():
		return contradicts("job %d, not %d", f.Job, s.NextJob())
	case f.Name == "":
		return contradicts("no id")
	case s.jobIDs.has(f.Name):
		return contradicts("job %s exists", f.Name)
	case f.Host != "" && s.requests.has(requestKey(f.User, f.Host)):
		return contradicts("request %s of %s has a job", f.Host, f.User)
	}
	if err := s.roleUsable(f.Role); err != nil {
		return err
	}
	s.jobs.ReplaceOrInsert(jobRef{f.Job, &jobEntry{owner: s.owner, record: &Job{
		Number: f.Job, ID: f.Name, Role: f.Role, User: f.User, Name: f.Text, Request: f.Host, Submission: f.Body,
		Phase: JobWaiting, Submitted: f.Wall, Changed: f.Wall,
	}}})
	s.lastJob = f.Job
	s.jobIDs.put(f.Name, f.Job)
	if f.Host != "" {
		s.requests.put(requestKey(f.User, f.Host), f.Job)
	}
	s.roleTaken(f.Role)
	return nil
}

// jobChanged replaces phase, attempt, framework and message. A final phase never changes, a kill that was asked for
// stays asked for, and a nil Body keeps the result that was there.
func (s *State) jobChanged(f *Fact) error {
	e := s.jobEntry(f.Job)
	if e == nil {
		return contradicts("no job %d", f.Job)
	}
	j := *e.record
	switch {
	case f.Status < JobWaiting || f.Status > JobKilled:
		return contradicts("phase %d", f.Status)
	case j.HasEnded() && f.Status != j.Phase:
		return contradicts("job %s has ended in phase %d", j.ID, j.Phase)
	case f.Framework != 0 && f.Framework != j.Framework && s.frameworks.get(f.Framework) == nil:
		return contradicts("no framework %d", f.Framework)
	}
	if f.Status == JobRunning && j.Started == 0 {
		j.Started = f.Wall
	}
	ends := !j.HasEnded() && f.Status >= JobSucceeded
	if ends {
		j.Ended = f.Wall
	}
	j.Phase, j.Attempt, j.Framework, j.Message, j.Changed = f.Status, f.Attempt, f.Framework, f.Text, f.Wall
	j.KillAsked = j.KillAsked || f.Flag
	if f.Body != nil {
		j.Result = f.Body
	}
	s.job(f.Job).record = &j
	if ends {
		s.roleIdle(j.Role)
	}
	return nil
}

// jobForgotten drops a job that has ended, with its frameworks and its tasks, which must have ended too.
func (s *State) jobForgotten(f *Fact) error {
	e := s.jobEntry(f.Job)
	switch {
	case e == nil:
		return contradicts("no job %d", f.Job)
	case !e.record.HasEnded():
		return contradicts("job %s has not ended", e.record.ID)
	case e.live > 0:
		return contradicts("job %s has %d live tasks", e.record.ID, e.live)
	}
	for _, n := range e.frameworks {
		if r := s.frameworks.get(n).record; !r.HasEnded {
			return contradicts("framework %s of job %s has not ended", r.ID, e.record.ID)
		}
	}
	for _, id := range e.foreign {
		fe := s.framework(id.Framework)
		p, i := fe.locate(id.Sequence)
		agent := fe.pages[p].page.records[i].agent
		fe.drop(s.owner, p, i)
		s.recordGone(agent)
		s.frameworkSweep(id.Framework)
	}
	for _, n := range e.frameworks {
		fe := s.framework(n)
		fe.each(func(_ *page, r *record) bool { s.recordGone(r.agent); return true })
		fe.pages, fe.records = nil, 0
		r := *fe.record
		r.Job = 0
		fe.record = &r
		s.frameworkSweep(n)
	}
	j := e.record
	s.jobs.Delete(jobRef{number: f.Job})
	s.jobIDs.remove(j.ID)
	if j.Request != "" {
		s.requests.remove(requestKey(j.User, j.Request))
	}
	s.roleLeft(j.Role)
	return nil
}

// recordGone: a task's record that named the agent is gone.
func (s *State) recordGone(agent uint32) {
	s.records--
	s.agent(agent).records--
	s.agentSweep(agent)
}
