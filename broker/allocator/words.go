package allocator

import "fmt"

var reasonWords = [NumReasons]string{
	ReasonNone:          "none",
	NotEnoughCPU:        "not enough cpu",
	NotEnoughMemory:     "not enough memory",
	NotEnoughDisk:       "not enough disk",
	NotEnoughGPU:        "not enough gpus",
	NotEnoughPorts:      "not enough ports",
	NotEnoughNamed:      "not enough of an operator-named kind",
	WaitingForNode:      "waiting for a wanted host",
	WaitingForRack:      "waiting for a wanted rack",
	StrictPlace:         "not a wanted place, and the request does not relax",
	Excluded:            "excluded by the request",
	Filtered:            "declined not long ago",
	RoleLimit:           "the role's limit",
	FairShare:           "others are due first",
	AgentPaused:         "agent unreachable",
	FrameworkSuppressed: "the framework wants no offers",
	LargerThanAny:       "larger than any agent",
	OffersPaused:        "offers are paused",
	NoAgents:            "no agents",
	OfferTimeout:        "offer not answered in time",
	OfferRescinded:      "offer taken back",
	AgentLost:           "agent lost",
	FrameworkGone:       "framework gone",
	HigherPriority:      "a request of higher priority comes first",
	GivingBack:          "its framework gives resources back first",
	AgentDraining:       "agent draining",
	WaitsWhole:          "not enough room for all at once",
	TooManyAtOnce:       "more at once than the cluster holds",
}

// String is the reason in words, for people.
func (r Reason) String() string {
	if r < NumReasons {
		return reasonWords[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

var localityWords = [...]string{Unspecified: "no preference", Node: "node-local", Rack: "rack-local", Any: "elsewhere"}

// String is the locality in words.
func (l Locality) String() string {
	if int(l) < len(localityWords) {
		return localityWords[l]
	}
	return fmt.Sprintf("locality %d", uint8(l))
}
