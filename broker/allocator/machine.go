package allocator

import (
	"errors"

	"fairway/broker/resource"
)

var errStub = errors.New("allocator: being built")

// Machine is the allocator. It is not safe for concurrent use.
type Machine struct{}

// New makes an empty machine: no agents, the root role only.
func New(c Config) *Machine { return &Machine{} }

// Step applies events at a time (ns, of the machine's clock, never going back) and decides. A refused event leaves the
// state as it was; the others count. The decisions are in Ready.
func (m *Machine) Step(now int64, events []Event) []Rejection { return nil }

// Ready is what the last Step decided.
func (m *Machine) Ready() Batch { return Batch{} }

// Check verifies every invariant from scratch; an error is a bug of this package.
func (m *Machine) Check() error { return errStub }

// Share is what a role and all below it hold and want.
type Share struct {
	Used       resource.Vector
	Offered    resource.Vector
	Dominant   float64 // largest share of the cluster, 0 to 1; used and offered
	FairShare  float64 // of the cluster, by weight among the roles that hold or want something
	Waiting    uint64  // outstanding count of all requests
	Groups     int     // with something outstanding
	Frameworks int
}

// RoleShare says what a role holds and wants. ok is false for a role that is not there.
func (m *Machine) RoleShare(role RoleID) (s Share, ok bool) { return Share{}, false }

// Shares calls each with every role, parents first.
func (m *Machine) Shares(each func(RoleID, Share)) {}

// FrameworkShare says what a framework holds and wants.
func (m *Machine) FrameworkShare(framework FrameworkID) (s Share, ok bool) { return Share{}, false }

// AgentShare says what an agent has.
func (m *Machine) AgentShare(agent AgentID) (total, used, offered resource.Vector, ok bool) {
	return total, used, offered, false
}

// Outstanding is how many tasks of a group still wait for an offer.
func (m *Machine) Outstanding(framework FrameworkID, group GroupID) (n uint32, ok bool) { return 0, false }

// Groups calls each with every group of a framework, in order of id.
func (m *Machine) Groups(framework FrameworkID, each func(GroupID)) {}

// Explanation says why a group waits.
type Explanation struct {
	Shape       resource.Vector
	Outstanding uint32
	Agents      int                // that were looked at
	Now         [NumReasons]int    // agents that cannot serve it now, by the reason that comes first
	CanServe    int                // agents that could serve it now
	Refused     [NumReasons]uint64 // refusals since the group came
	Unblock     Reason             // the reason whose end would help most; ReasonNone if it does not wait
	Waited      int64              // ns since it has waited for anything
	Role        RoleID
	LimitedBy   RoleID // the role whose limit is in the way, if Now[RoleLimit] > 0
	Reserved    bool   // an agent is kept for it
}

// Explain says, by reason, how many agents cannot serve a group now and what would unblock it. It reads all agents.
func (m *Machine) Explain(framework FrameworkID, group GroupID) (e Explanation, ok bool) {
	return Explanation{}, false
}
