package state

import "github.com/google/btree"

// View is what can be read of a state. A View that Snapshot returned is frozen and may be read by many goroutines.
// Records that it returns are immutable.
type View struct {
	cluster    Cluster
	agents     table[agentEntry]
	roles      table[roleEntry]
	frameworks table[frameworkEntry]
	jobs       *btree.BTreeG[jobRef]
	lastJob    uint32
	live       int // tasks
	records    int // tasks, live or ended

	agentIDs     names
	rolePaths    names
	frameworkIDs names
	jobIDs       names
	requests     names
}

// State is the fold of facts. It belongs to one goroutine.
type State struct {
	View
	owner *owner
}

// New returns the state before the first fact.
func New() *State {
	return &State{
		owner: new(owner),
		View: View{
			jobs:     btree.NewG(16, func(a, b jobRef) bool { return a.number < b.number }),
			agentIDs: newNames(), rolePaths: newNames(), frameworkIDs: newNames(), jobIDs: newNames(), requests: newNames(),
		},
	}
}

func (v *View) clone() View {
	c := *v
	c.jobs = v.jobs.Clone()
	c.agentIDs, c.rolePaths, c.frameworkIDs = v.agentIDs.clone(), v.rolePaths.clone(), v.frameworkIDs.clone()
	c.jobIDs, c.requests = v.jobIDs.clone(), v.requests.clone()
	return c
}

// Snapshot freezes the state as it is now, in constant time.
func (s *State) Snapshot() *View {
	s.owner = new(owner)
	v := s.View.clone()
	return &v
}

// Clone returns an independent copy, in constant time; what both share is copied when one of them writes it.
func (s *State) Clone() *State {
	s.owner = new(owner)
	return &State{View: s.View.clone(), owner: new(owner)}
}

// The entries below are to be written: the ones that are frozen are copied first. The number must be in use.

func (s *State) agent(n uint32) *agentEntry {
	e := s.agents.get(n)
	if e.owner != s.owner {
		e = e.clone(s.owner)
		s.agents.set(s.owner, n, e)
	}
	return e
}

func (s *State) role(n uint32) *roleEntry {
	e := s.roles.get(n)
	if e.owner != s.owner {
		e = e.clone(s.owner)
		s.roles.set(s.owner, n, e)
	}
	return e
}

func (s *State) framework(n uint32) *frameworkEntry {
	e := s.frameworks.get(n)
	if e.owner != s.owner {
		e = e.clone(s.owner)
		s.frameworks.set(s.owner, n, e)
	}
	return e
}

func (s *State) job(n uint32) *jobEntry {
	e := s.jobEntry(n)
	if e.owner != s.owner {
		e = e.clone(s.owner)
		s.jobs.ReplaceOrInsert(jobRef{n, e})
	}
	return e
}

func (v *View) jobEntry(n uint32) *jobEntry {
	r, _ := v.jobs.Get(jobRef{number: n})
	return r.entry
}
