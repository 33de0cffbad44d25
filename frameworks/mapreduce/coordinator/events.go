package coordinator

import (
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/locality"
	"fairway/frameworks/mapreduce/spec"
)

// Event is one input of the Machine.
type Event interface{ event() }

// Inputs from the broker.
type (
	// Registered tells the lowest task sequence that may be used. It comes again after a lost session; offers made
	// before are void.
	Registered struct{ NextSequence uint64 }
	// Offered brings offers of one turn.
	Offered struct{ Offers []*v1.Offer }
	// StatusChanged tells how a task's container fares.
	StatusChanged struct{ Status *v1.TaskStatus }
	// AgentLost tells that an agent is cut off, or gone for good.
	AgentLost struct {
		Agent string
		Gone  bool
	}
	// RequestRefused tells that the broker will never serve a group's request as it is.
	RequestRefused struct {
		Group   uint64
		Message string
	}
	// KillAsked stops the job.
	KillAsked struct{ Reason string }
)

// Inputs from the shell.
type (
	// Planned brings the splits, and what an earlier attempt of the coordinator left that still serves.
	Planned struct {
		Splits    []spec.Split
		Maps      []RecoveredMap
		Committed []int // reduces (or maps of a map-only job) whose output is committed
	}
	// Ready tells that the output is set up and the job complete (cuts of a total order): attempts may be told what to
	// do. It comes after Planned.
	Ready struct{}
	// AlreadyDone tells that an earlier attempt of the coordinator has committed the output.
	AlreadyDone struct{}
	// Broken ends the job: the shell cannot go on.
	Broken struct{ Message string }
	// JobCommitted answers CommitJob.
	JobCommitted struct{ Err error }
	// JobAborted answers AbortJob.
	JobAborted struct{ Err error }
	// Tick is the time passing.
	Tick struct{}
)

// Inputs from attempts; Sequence is that of the broker's task.
type (
	// Hello is an attempt's first word in each stream.
	Hello struct {
		Sequence    uint64
		DataAddress string
		Resumed     bool // it has its assignment
	}
	// Reported tells how it fares.
	Reported struct {
		Sequence uint64
		Report   Report
	}
	// MapDone tells of a map's complete output file.
	MapDone struct {
		Sequence   uint64
		File       string
		Partitions []Range
		Report     Report
	}
	// FetchFailed tells that a reduce cannot have a map's output.
	FetchFailed struct {
		Sequence     uint64
		Map, Attempt int
		Message      string
	}
	// CommitAsked asks to make the attempt's output visible.
	CommitAsked struct{ Sequence uint64 }
	// Done tells that the attempt's output is committed.
	Done struct {
		Sequence uint64
		Report   Report
	}
	// Failed tells that the attempt's work failed.
	Failed struct {
		Sequence uint64
		Message  string
		Killed   bool // it was told to end
		Fatal    bool // another attempt cannot do better
		Report   Report
	}
)

func (Registered) event()     {}
func (Offered) event()        {}
func (StatusChanged) event()  {}
func (AgentLost) event()      {}
func (KillAsked) event()      {}
func (RequestRefused) event() {}
func (Planned) event()        {}
func (Ready) event()          {}
func (AlreadyDone) event()    {}
func (Broken) event()         {}
func (JobCommitted) event()   {}
func (JobAborted) event()     {}
func (Tick) event()           {}
func (Hello) event()          {}
func (Reported) event()       {}
func (MapDone) event()        {}
func (FetchFailed) event()    {}
func (CommitAsked) event()    {}
func (Done) event()           {}
func (Failed) event()         {}

// Report is how an attempt fares; counters are its totals.
type Report struct {
	Fraction float64
	Status   string
	Alive    bool // it moved since the last report
	Shuffled bool // a reduce that holds the output of every map
	Counters map[spec.CounterKey]int64
}

// Range is one partition in a map's output file.
type Range struct{ Offset, Length, Records int64 }

// RecoveredMap is a finished map that an earlier attempt of the coordinator wrote down.
type RecoveredMap struct {
	Map, Attempt int
	Agent        string
	Address      string
	File         string
	Partitions   []Range
	Counters     map[spec.CounterKey]int64
}

// Action is one decision of the Machine, to be done by the shell in order.
type Action interface{ action() }

// Decisions about the broker.
type (
	// Launch accepts an offer for attempts; what they leave of it goes back.
	Launch struct {
		Offer    uint64
		Attempts []Launched
	}
	// Decline gives an offer back; its agent stays away from the group for the default time with Filter, else it may
	// be offered again at once.
	Decline struct {
		Offer  uint64
		Filter bool
	}
	// Request states what is wanted of one group now.
	Request struct{ Group *v1.RequestGroup }
	// Kill ends a container.
	Kill struct {
		Sequence uint64
		Reason   string
	}
)

// Launched is one attempt to start.
type Launched struct {
	Sequence uint64
	Kind     string
	Index    int
	Attempt  int
	Shape    *v1.Resources
	Level    v1.Locality
}

// Decisions about attempts.
type (
	// Assign tells an attempt what to do.
	Assign struct {
		Sequence uint64
		Kind     string
		Index    int
		Attempt  int
		Maps     int
		Split    *spec.Split // of a map
	}
	// Push brings outputs of maps to a reduce.
	Push struct {
		Sequence uint64
		Outputs  []spec.MapOutput
	}
	// Answer answers CommitAsked.
	Answer struct {
		Sequence uint64
		Granted  bool
		Reason   string
	}
	// Stop ends an attempt that has no business any more.
	Stop struct {
		Sequence uint64
		Reason   string
	}
	// Finish tells an attempt that its final report was taken.
	Finish struct{ Sequence uint64 }
)

// Decisions about the job.
type (
	// Journal writes down a finished map, for another attempt of the coordinator.
	Journal struct{ Map RecoveredMap }
	// AbortTask removes what an attempt wrote to the output.
	AbortTask struct {
		Kind           string
		Index, Attempt int
	}
	// CommitJob makes the output visible; Parts of Kind there must be. JobCommitted answers.
	CommitJob struct {
		Kind  string
		Parts int
	}
	// AbortJob removes the unfinished output. JobAborted answers.
	AbortJob struct{}
	// End is the last action.
	End struct {
		Phase   v1.JobPhase
		Message string
	}
)

func (Launch) action()    {}
func (Decline) action()   {}
func (Request) action()   {}
func (Kill) action()      {}
func (Assign) action()    {}
func (Push) action()      {}
func (Answer) action()    {}
func (Stop) action()      {}
func (Finish) action()    {}
func (Journal) action()   {}
func (AbortTask) action() {}
func (CommitJob) action() {}
func (AbortJob) action()  {}
func (End) action()       {}

func offerHost(o *v1.Offer) locality.Host {
	return locality.Host{Name: o.Host, Addresses: o.Addresses, Rack: o.Rack}
}

func places(s *spec.Split) []locality.Place {
	p := make([]locality.Place, 0, len(s.Replicas))
	for _, r := range s.Replicas {
		p = append(p, locality.Place{Host: r.Host, Address: r.Address, Rack: r.Rack})
	}
	return p
}
