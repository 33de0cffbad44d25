package allocator

import (
	"fairway/broker/resource"
	"fairway/broker/topology"
)

// Dense ids: small integers that the owner (core) hands out and reuses; names are interned at the edge.
type (
	AgentID     uint32
	HostID      = topology.HostID // a host that somebody prefers or that an agent is on; 0: none
	RackID      = topology.RackID // 0: none
	RoleID      uint32            // 0 is the root
	FrameworkID uint32
	GroupID     uint64 // chosen by the framework, unique within it
	OfferID     uint64 // from a counter, never reused
)

// EventKind says which fields of an Event count.
type EventKind uint8

// Events. Fields not named are ignored.
const (
	_ EventKind = iota
	// AgentAdd: Agent, Host, Rack, Resources (total). AgentUpdate: Agent, Resources (new total), Rack.
	AgentAdd
	AgentUpdate
	// AgentPause stops offers from an unreachable agent (live offers of it are rescinded); AgentResume
	// undoes it. AgentRemove forgets it with all that it held.
	AgentPause
	AgentResume
	AgentRemove
	// RoleSet: Role, Parent, Weight (thousandths, > 0), Guarantee and Limit (a slot of -1: none). Creates or changes.
	RoleSet
	// RoleRemove: Role; refused while it has children or frameworks.
	RoleRemove
	// FrameworkAdd: Framework, Role, Flag (true: classic offers). FrameworkRemove rescinds its offers and forgets its
	// groups; what its tasks use stays used until TaskEnd.
	FrameworkAdd
	FrameworkRemove
	// RequestSet: Framework, Request. RequestRemove: Framework, Group.
	RequestSet
	RequestRemove
	// Accept: Offer, Resources (what tasks take, at most the offer's), Count (of tasks), Filter. The rest goes back.
	Accept
	// Decline: Offer, Filter (ns; how long this agent is not offered for this group, or to this classic framework; 0: the
	// machine's default, < 0: not at all; the same in Accept, for a rest).
	Decline
	// Suppress and Revive: Framework. Suppress stops all offers to it; Revive restarts them and clears its filters.
	Suppress
	Revive
	// TaskStart: Agent, Framework, Resources: in use without an offer (loading state, re-registration). TaskEnd gives back.
	TaskStart
	TaskEnd
	// Rescind: Offer. The owner takes an offer back.
	Rescind
	// Pause and Resume: no offers at all to anyone (after a failover).
	Pause
	Resume
	// Reclaimable: Framework, Flag (resources may be reclaimed from it; at first they may not).
	Reclaimable
	// AgentDrain and AgentUndrain: Agent. As AgentPause and AgentResume, for one that is being emptied; each holds by itself.
	AgentDrain
	AgentUndrain
)

// Event is one input. It is a fixed-size record; Request is only read during Step.
type Event struct {
	Kind      EventKind
	Flag      bool
	Agent     AgentID
	Host      HostID
	Rack      RackID
	Role      RoleID
	Parent    RoleID
	Framework FrameworkID
	Count     uint32
	Weight    int64
	Offer     OfferID
	Group     GroupID
	Filter    int64
	Resources resource.Vector
	Guarantee resource.Vector
	Limit     resource.Vector
	Request   *Request
}

// Request is a request group: Total outstanding tasks of one shape, with wanted counts per host and rack.
type Request struct {
	Group     GroupID
	Version   uint64
	LastOffer OfferID // newest offer the framework had seen when it stated Total
	Shape     resource.Vector
	Total     uint32
	Minimum   uint32 // of a gang: none is offered unless so many can be at once, less those offered since LastOffer; at most Total
	Priority  int32
	Strict    bool
	NodeWait  int64 // ns; 0: the machine's default, < 0: none
	RackWait  int64
	Hosts     []HostCount
	Racks     []RackCount
	Excluded  []AgentID
}

// HostCount is how many of a group's tasks would like to run on a host; one task may be counted on several.
type HostCount struct {
	Host  HostID
	Rack  RackID
	Count uint32
}

// RackCount is the same for a rack.
type RackCount struct {
	Rack  RackID
	Count uint32
}

// Locality of an offer relative to its request.
type Locality uint8

// Localities, nearest first; Unspecified where nothing was preferred.
const (
	Unspecified Locality = iota
	Node
	Rack
	Any
)

// ActionKind says what an Action is.
type ActionKind uint8

// Actions.
const (
	_ ActionKind = iota
	// MakeOffer: Offer, Agent, Framework, Group (0: classic), Version, Count, Resources, Locality, Host.
	MakeOffer
	// RescindOffer: Offer, Agent, Framework, Reason.
	RescindOffer
)

// Action is one decision, a fixed-size record.
type Action struct {
	Kind      ActionKind
	Locality  Locality
	Reason    Reason
	Agent     AgentID
	Framework FrameworkID
	Count     uint32
	Host      HostID // the wanted host or agent's host that made it node-local
	Offer     OfferID
	Group     GroupID
	Version   uint64
	Resources resource.Vector
}

// Batch is what Ready returns; its slices are valid until the next Step.
type Batch struct {
	Actions  []Action
	Reclaims []Reclaim
	WakeAt   int64 // when Step should be called next with no event, 0: no need
}

// Reclaim asks a framework to give back what it holds, so that there is room for tasks of a group that waits. It is made
// with Count = Asked, made again with less when the group is served, and is over with Count 0: the group was served, does
// not wait any more, or the deadline has passed. A framework is asked by one at a time, and offered nothing meanwhile.
type Reclaim struct {
	ID        uint64      // from a counter, unique in this machine
	Framework FrameworkID // that is to give
	For       FrameworkID
	Group     GroupID // of For
	Asked     uint32
	Count     uint32
	Shape     resource.Vector
	Most      resource.Vector // what it gives may be at most, so that no role falls below its share; a slot of -1: any amount
	Deadline  int64
	Agents    []AgentID // when made: room counts on these only; empty: on any
}

// Rejection is an event that was refused; it left the state as it was.
type Rejection struct {
	Index int // in the events of the Step
	Err   error
}

// Reason is why an agent did not serve a request, or why an offer ended. Explanation.Now has agents by it, for the
// reasons that belong to an agent. Explanation.Refused has how often it happened: a pass looks at an agent when it has
// more room than before, and an agent that no pass looks at refuses nothing. Shapes are compared by class, exactly for
// the first 62 of the cluster; of all further ones together the smallest amounts count.
type Reason uint8

// Reasons.
const (
	ReasonNone Reason = iota
	// The agent had too little of it, of several kinds the first. Counted, from when the group began to wait, for each
	// look at an agent that was too full for the group's shape before anything was offered.
	NotEnoughCPU
	NotEnoughMemory
	NotEnoughDisk
	NotEnoughGPU
	NotEnoughPorts
	NotEnoughNamed
	// It would fit, but the group still waits for a place on a wanted host, or in a wanted rack. Counted once for each
	// time that it begins or goes on to wait instead of taking another place.
	WaitingForNode
	WaitingForRack
	// The group does not relax and the agent is not where it wants. Counted once for each search in vain.
	StrictPlace
	// By the request. Counted for each look at such an agent that has room.
	Excluded
	// Declined not long ago. Counted for each decline, and for each look at such an agent that has room.
	Filtered
	// The limit of the role or of one above it. Counted when a wanted place has room; a group without one is not looked
	// for while its limit is reached.
	RoleLimit
	// Others come first. Now: the agent is kept for a group that starves. Counted, from when the group began to wait, for
	// each look at an agent that had room for the group's shape, was filled, and gave the group nothing; whether to another
	// framework or to a group of its own that is served first.
	FairShare
	// The agent is cut off. Not counted: it is not looked at.
	AgentPaused
	// The framework wants no offers. Not counted.
	FrameworkSuppressed
	// No agent is large enough, even empty. Only what would unblock a group.
	LargerThanAny
	// After a restart. Not counted.
	OffersPaused
	// Only what would unblock a group.
	NoAgents
	// The group's offers that ended so; each is counted.
	OfferTimeout
	OfferRescinded
	AgentLost
	// An offer's framework ended; it has no group any more for which it could be counted.
	FrameworkGone
	// What becomes free goes to a group of the same framework of higher priority. Now: an agent that is large enough but
	// too full, which the framework's first group waits for too. Counted for each task of such a group that was served
	// where this group, not waiting for a place, had room.
	HigherPriority
	// The framework is to give resources back first. Not counted.
	GivingBack
	// The agent is being emptied; or an offer's agent began to be. As a reason of an agent it is not counted.
	AgentDraining
	// The group is a gang, and there is not room for all tasks at once with which it begins. Now: agents with room for some.
	// Counted each time that it was looked for room for all.
	WaitsWhole
	// All agents together, if they were empty, would not hold the tasks with which it begins. Only what would unblock a group.
	TooManyAtOnce
	NumReasons
)
