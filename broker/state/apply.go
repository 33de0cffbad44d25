package state

import (
	"fmt"

	"fairway/broker/resource"
)

// Apply folds one fact in, or refuses it with ErrContradiction, ErrRepeated, ErrTooLarge or ErrNewer and leaves the state
// as it was. It keeps the fact's slices: they must not be written afterwards. A Now that is later than the state's moves
// the state's clock, in a fact of any kind.
//
// An iterator over the state must not be in progress.
func (s *State) Apply(f *Fact) error {
	if err := s.apply(f); err != nil {
		return fmt.Errorf("apply %v: %w", f.Kind, err)
	}
	s.cluster.Now = max(s.cluster.Now, f.Now)
	return nil
}

func (s *State) apply(f *Fact) error {
	if err := bounded(f); err != nil {
		return err
	}
	switch f.Kind {
	case ClusterCreated:
		return s.clusterCreated(f)
	case EpochBegun:
		return s.epochBegun(f)
	case KindNamed:
		return s.kindNamed(f)
	case AgentAdmitted:
		return s.agentAdmitted(f)
	case AgentUpdated:
		return s.agentUpdated(f)
	case AgentChanged:
		return s.agentChanged(f)
	case AgentForgotten:
		return s.agentForgotten(f)
	case RoleSet:
		return s.roleSet(f)
	case RoleRemoved:
		return s.roleRemoved(f)
	case FrameworkAdmitted:
		return s.frameworkAdmitted(f)
	case FrameworkChanged:
		return s.frameworkChanged(f)
	case FrameworkEnded:
		return s.frameworkEnded(f)
	case FrameworkSaved:
		return s.frameworkSaved(f)
	case JobSubmitted:
		return s.jobSubmitted(f)
	case JobChanged:
		return s.jobChanged(f)
	case JobForgotten:
		return s.jobForgotten(f)
	case TaskLaunched:
		return s.taskLaunched(f)
	case TaskEnded:
		return s.taskEnded(f)
	case TaskResized:
		return s.taskResized(f)
	case AgentDrained:
		return s.agentDrained(f)
	}
	return ErrNewer
}

func (s *State) clusterCreated(f *Fact) error {
	switch {
	case s.cluster.ID != "":
		return contradicts("the cluster is %s already", s.cluster.ID)
	case f.Name == "":
		return contradicts("no cluster id")
	}
	s.cluster.ID, s.cluster.Key = f.Name, f.Body
	return nil
}

func (s *State) epochBegun(f *Fact) error {
	switch {
	case f.Epoch <= s.cluster.Epoch:
		return contradicts("epoch %d after %d", f.Epoch, s.cluster.Epoch)
	case f.Now < s.cluster.Now:
		return contradicts("the clock goes back from %d to %d", s.cluster.Now, f.Now)
	}
	s.cluster.Epoch = f.Epoch
	return nil
}

func (s *State) kindNamed(f *Fact) error {
	if f.Code < resource.Named || f.Code >= resource.Slots {
		return contradicts("slot %d is no named kind's", f.Code)
	}
	if f.Name == "" {
		return contradicts("no name")
	}
	for i, name := range s.cluster.Kinds {
		if (i == int(f.Code) && name != "" && name != f.Name) || (i != int(f.Code) && name == f.Name) {
			return contradicts("slot %d is %s already", i, name)
		}
	}
	s.cluster.Kinds[f.Code] = f.Name
	return nil
}

func (s *State) roleSet(f *Fact) error {
	if e := s.roles.get(f.Role); e != nil {
		switch {
		case e.record.Removed:
			return contradicts("role %d is removed", f.Role)
		case e.record.Path != f.Name || e.record.Parent != f.Parent:
			return contradicts("role %d is %s under %d", f.Role, e.record.Path, e.record.Parent)
		case f.Weight <= 0:
			return contradicts("weight %d", f.Weight)
		}
		r := *e.record
		r.Weight, r.Guarantee, r.Limit, r.Config = f.Weight, f.Guarantee, f.Limit, f.Flag
		s.role(f.Role).record = &r
		return nil
	}
	switch {
	case f.Role != s.NextRole():
		return contradicts("role %d, not %d", f.Role, s.NextRole())
	case f.Name == "":
		return contradicts("no path")
	case s.rolePaths.has(f.Name):
		return contradicts("role %s exists", f.Name)
	case f.Weight <= 0:
		return contradicts("weight %d", f.Weight)
	}
	if err := s.roleUsable(f.Parent); err != nil {
		return err
	}
	s.roles.set(s.owner, f.Role, &roleEntry{owner: s.owner, record: &Role{
		Number: f.Role, Parent: f.Parent, Path: f.Name, Weight: f.Weight, Guarantee: f.Guarantee, Limit: f.Limit, Config: f.Flag,
	}})
	s.rolePaths.put(f.Name, f.Role)
	s.roleTaken(f.Parent)
	return nil
}

func (s *State) roleRemoved(f *Fact) error {
	e := s.roles.get(f.Role)
	switch {
	case e == nil || e.record.Removed:
		return contradicts("no role %d", f.Role)
	case e.active > 0:
		return contradicts("role %s has %d children, frameworks and jobs", e.record.Path, e.active)
	}
	r := *e.record
	r.Removed = true
	s.role(f.Role).record = &r
	s.rolePaths.remove(r.Path)
	if r.Parent != 0 {
		s.role(r.Parent).active--
	}
	s.roleSweep(f.Role)
	return nil
}

// roleUsable tells whether something new may be put under a role; the root always is.
func (v *View) roleUsable(n uint32) error {
	if e := v.roles.get(n); n != 0 && (e == nil || e.record.Removed) {
		return contradicts("no role %d", n)
	}
	return nil
}

func (s *State) roleTaken(n uint32) {
	if n != 0 {
		e := s.role(n)
		e.active++
		e.refs++
	}
}

// roleIdle: something that the role had is not active any more but is still there.
func (s *State) roleIdle(n uint32) {
	if n != 0 {
		s.role(n).active--
	}
}

// roleLeft: something that the role had is gone.
func (s *State) roleLeft(n uint32) {
	if n != 0 {
		s.role(n).refs--
		s.roleSweep(n)
	}
}

// roleSweep drops a removed role that nothing names any more.
func (s *State) roleSweep(n uint32) {
	if e := s.roles.get(n); e.record.Removed && e.refs == 0 {
		s.roles.set(s.owner, n, nil)
		s.roleLeft(e.record.Parent)
	}
}
