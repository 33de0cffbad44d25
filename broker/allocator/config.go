package allocator

import "fairway/broker/resource"

// Config is what an operator may set. The zero value of a field stands for its default.
type Config struct {
	// OfferTimeout takes an unanswered offer back after this many ns. Default 30 s; < 0: never.
	OfferTimeout int64
	// NodeWait and RackWait are the locality waits (ns) of groups that state none. Default 3 s and 1 s; < 0: none.
	NodeWait int64
	RackWait int64
	// Filter is how long (ns) a declined or timed-out agent is not offered again when the decline says 0. Default 5 s.
	Filter int64
	// MinOffer is what an agent must have free of cpu or of memory to be offered to a classic framework.
	// Default 10 milli-cpu, 32 MiB.
	MinOffer resource.Vector
	// StarveAfter is how long (ns) the request that is due first may find no room until an agent is reserved for it, or
	// several for a gang.
	// Default 10 s; < 0: never.
	StarveAfter int64
	// MaxReserved is how many agents may be reserved at a time. Default 4.
	MaxReserved int
	// ReclaimAfter is how long (ns) a request of a role below its fair share may wait until resources are reclaimed from
	// others. Default 30 s; < 0: never.
	ReclaimAfter int64
	// ReclaimDeadline is how long (ns) a framework has to give back what it is asked for. Default 30 s.
	ReclaimDeadline int64
	// FirstOffer is the id of the first offer; a new leader begins above all earlier ones. Default 1.
	FirstOffer OfferID
}
