package state

func (s *State) frameworkAdmitted(f *Fact) error {
	switch {
	case f.Framework != s.NextFramework():
		return contradicts("framework %d, not %d", f.Framework, s.NextFramework())
	case f.Name == "":
		return contradicts("no id")
	case s.frameworkIDs.has(f.Name):
		return contradicts("framework %s exists", f.Name)
	}
	if err := s.roleUsable(f.Role); err != nil {
		return err
	}
	if err := s.jobUsable(f.Job); err != nil {
		return err
	}
	s.frameworks.set(s.owner, f.Framework, &frameworkEntry{owner: s.owner, record: &Framework{
		Number: f.Framework, ID: f.Name, Role: f.Role, Job: f.Job, User: f.User, Name: f.Text, Classic: f.Flag,
		Failover: f.Duration, Attempt: f.Attempt, Admitted: f.Wall,
	}})
	s.frameworkIDs.put(f.Name, f.Framework)
	s.roleTaken(f.Role)
	if f.Job != 0 {
		e := s.job(f.Job)
		e.frameworks = append(e.frameworks, f.Framework)
	}
	return nil
}

// liveFramework is a framework that has not ended.
func (v *View) liveFramework(n uint32) (*frameworkEntry, error) {
	e := v.frameworks.get(n)
	if e == nil || e.record.HasEnded {
		return nil, contradicts("no framework %d, or it has ended", n)
	}
	return e, nil
}

func (s *State) frameworkChanged(f *Fact) error {
	e, err := s.liveFramework(f.Framework)
	if err != nil {
		return err
	}
	r := *e.record
	moves := f.Role != 0 && f.Role != r.Role
	if moves {
		if err := s.roleUsable(f.Role); err != nil {
			return err
		}
	}
	if f.Job != 0 && f.Job != r.Job {
		// Its tasks are found by the job through it, so it cannot change hands once there are some.
		if r.Job != 0 || e.records > 0 {
			return contradicts("framework %s is job %d's or has tasks", r.ID, r.Job)
		}
		if err := s.jobUsable(f.Job); err != nil {
			return err
		}
		r.Job = f.Job
		j := s.job(f.Job)
		j.frameworks = append(j.frameworks, f.Framework)
	}
	r.Failover, r.Attempt = f.Duration, f.Attempt
	old := r.Role
	if moves {
		r.Role = f.Role
	}
	s.framework(f.Framework).record = &r
	if moves {
		s.roleMoves(old, f.Role)
		if j := s.jobEntry(r.Job); j != nil && !j.record.HasEnded() && j.record.Role != f.Role {
			k := *j.record
			old, k.Role = k.Role, f.Role
			s.job(r.Job).record = &k
			s.roleMoves(old, f.Role)
		}
	}
	return nil
}

// roleMoves: something active that a role had is another's now.
func (s *State) roleMoves(from, to uint32) {
	s.roleTaken(to)
	s.roleIdle(from)
	s.roleLeft(from)
}

func (s *State) frameworkEnded(f *Fact) error {
	e, err := s.liveFramework(f.Framework)
	if err != nil {
		return err
	}
	r := *e.record
	r.HasEnded, r.Ended = true, f.Wall
	s.framework(f.Framework).record = &r
	s.roleIdle(r.Role)
	s.frameworkSweep(f.Framework)
	return nil
}

func (s *State) frameworkSaved(f *Fact) error {
	e, err := s.liveFramework(f.Framework)
	if err != nil {
		return err
	}
	r := *e.record
	r.Saved, r.SavedVersion = f.Body, f.Version
	s.framework(f.Framework).record = &r
	return nil
}

// frameworkSweep drops a framework that has ended when neither a task nor a job names it.
func (s *State) frameworkSweep(n uint32) {
	e := s.frameworks.get(n)
	if !e.record.HasEnded || e.records > 0 || e.record.Job != 0 {
		return
	}
	s.frameworks.set(s.owner, n, nil)
	s.frameworkIDs.remove(e.record.ID)
	s.roleLeft(e.record.Role)
}
