package state

func (s *State) agentAdmitted(f *Fact) error {
	switch {
	case f.Agent != s.NextAgent():
		return contradicts("agent %d, not %d", f.Agent, s.NextAgent())
	case f.Name == "":
		return contradicts("no id")
	case s.agentIDs.has(f.Name):
		return contradicts("agent %s exists", f.Name)
	}
	s.agents.set(s.owner, f.Agent, &agentEntry{owner: s.owner, record: &Agent{
		Number: f.Agent, ID: f.Name, Host: f.Host, Info: f.Body, Total: f.Resources, Boot: f.Text, Admitted: f.Wall, Changed: f.Wall,
	}})
	s.agentIDs.put(f.Name, f.Agent)
	return nil
}

// knownAgent is an agent that is not forgotten.
func (v *View) knownAgent(n uint32) (*agentEntry, error) {
	e := v.agents.get(n)
	if e == nil || e.record.Forgotten {
		return nil, contradicts("no agent %d", n)
	}
	return e, nil
}

func (s *State) agentUpdated(f *Fact) error {
	e, err := s.knownAgent(f.Agent)
	if err != nil {
		return err
	}
	a := *e.record
	a.Host, a.Info, a.Total, a.Boot = f.Host, f.Body, f.Resources, f.Text
	s.agent(f.Agent).record = &a
	return nil
}

func (s *State) agentChanged(f *Fact) error {
	e, err := s.knownAgent(f.Agent)
	if err != nil {
		return err
	}
	if f.Status > AgentGone {
		return contradicts("agent status %d", f.Status)
	}
	a := *e.record
	a.Status, a.Why, a.Changed = f.Status, f.Text, f.Wall
	s.agent(f.Agent).record = &a
	return nil
}

func (s *State) agentDrained(f *Fact) error {
	e, err := s.knownAgent(f.Agent)
	if err != nil {
		return err
	}
	if f.Duration < 0 || !f.Flag && f.Duration != 0 {
		return contradicts("agent %s ends its tasks at %d", e.record.ID, f.Duration)
	}
	a := *e.record
	a.Draining, a.DrainUntil, a.DrainSince = f.Flag, f.Duration, 0
	if f.Flag {
		a.DrainSince = f.Wall
	}
	s.agent(f.Agent).record = &a
	return nil
}

func (s *State) agentForgotten(f *Fact) error {
	e, err := s.knownAgent(f.Agent)
	if err != nil {
		return err
	}
	if len(e.tasks) > 0 {
		return contradicts("agent %s has %d live tasks", e.record.ID, len(e.tasks))
	}
	a := *e.record
	a.Forgotten = true
	s.agent(f.Agent).record = &a
	s.agentIDs.remove(a.ID)
	s.agentSweep(f.Agent)
	return nil
}

// agentSweep drops a forgotten agent that no record names any more.
func (s *State) agentSweep(n uint32) {
	if e := s.agents.get(n); e.record.Forgotten && e.records == 0 {
		s.agents.set(s.owner, n, nil)
	}
}
