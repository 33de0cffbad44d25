package state

import "fairway/broker/resource"

// Kind of a fact. A fact's kind and the version of its encoding are written with it; an unknown one stops the reader
// with ErrNewer. Kinds are never renumbered.
type Kind uint8

// Facts, with the fields that count. Numbers (Agent, Framework, Role, Job) are given by the state's own counters
// (NextAgent and so on), are dense, and name the same thing until it is forgotten; the allocator uses them as ids.
const (
	_ Kind = iota
	// ClusterCreated: Name (cluster id), Body (key material).
	ClusterCreated
	// EpochBegun: Epoch, Now. A leader's first fact.
	EpochBegun
	// KindNamed: Code (slot), Name. An operator-named resource kind.
	KindNamed
	// AgentAdmitted: Agent, Name (id), Host, Body (opaque: its AgentInfo), Resources (total), Text (boot id), Wall.
	AgentAdmitted
	// AgentUpdated: Agent, Host, Body, Resources, Text (boot id).
	AgentUpdated
	// AgentChanged: Agent, Status (AgentActive...), Wall, Text (why).
	AgentChanged
	// AgentForgotten: Agent. Its tasks must have ended.
	AgentForgotten
	// RoleSet: Role, Parent, Name (path), Weight, Guarantee, Limit, Flag (from the configuration).
	RoleSet
	// RoleRemoved: Role.
	RoleRemoved
	// FrameworkAdmitted: Framework, Name (id), Role, Job, User, Text (display name), Flag (classic), Duration (failover ns), Wall.
	FrameworkAdmitted
	// FrameworkChanged: Framework, Job, Duration, Attempt; re-registered. Role, if not 0: it works for another one now, and so does its live job.
	FrameworkChanged
	// FrameworkEnded: Framework, Wall. Its live tasks must end (the owner kills them); its number is kept until then.
	FrameworkEnded
	// FrameworkSaved: Framework, Version, Body (at most 1 MiB).
	FrameworkSaved
	// JobSubmitted: Job, Name (id), Role, User, Text (display name), Body (opaque: the submission), Wall, Host (request id).
	JobSubmitted
	// JobChanged: Job, Status (phase), Attempt, Framework, Text (message), Body (opaque: counters and result, when ended), Wall, Flag (kill asked).
	JobChanged
	// JobForgotten: Job, with its ended tasks.
	JobForgotten
	// TaskLaunched: Framework, Sequence, Agent, Job, Resources, Ports, Name, Locality in Code, Flag (coordinator), Wall.
	TaskLaunched
	// TaskEnded: Framework, Sequence, Status (final state), Code (exit), Reason, Wall.
	TaskEnded
	// TaskResized: Framework, Sequence, Resources, Version (its revision, one more than before).
	TaskResized
	// AgentDrained: Agent, Flag (it is to be emptied; else not any more), Duration (when what still runs is ended, Unix ns; 0: never), Wall.
	// It holds besides the agent's status, whatever becomes of that.
	AgentDrained
)

// Status of an agent.
const (
	AgentActive uint8 = iota
	AgentUnreachable
	AgentDraining
	AgentGone
)

// Fact is something decided. It is made durable before it is acted on.
type Fact struct {
	Kind      Kind
	Status    uint8
	Reason    uint8
	Flag      bool
	Code      int32
	Attempt   uint32
	Agent     uint32
	Framework uint32
	Role      uint32
	Parent    uint32
	Job       uint32
	Sequence  uint64
	Version   uint64
	Epoch     uint64
	Weight    int64
	Duration  int64 // ns
	Now       int64 // the machine's clock, never goes back
	Wall      int64 // Unix ns, for display
	Resources resource.Vector
	Guarantee resource.Vector
	Limit     resource.Vector
	Ports     []resource.PortRange
	Name      string
	Host      string
	User      string
	Text      string
	Body      []byte
}
