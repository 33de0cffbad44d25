package state

import "fairway/broker/resource"

// Final states of a task, as in fairway.v1 TaskState. A live task's Status is 0: whether it stages or runs is not durable.
const (
	TaskFinished uint8 = 3
	TaskFailed   uint8 = 4
	TaskKilled   uint8 = 5
	TaskLost     uint8 = 6
)

// Phases of a job, as in fairway.v1 JobPhase.
const (
	JobWaiting   uint8 = 1
	JobRunning   uint8 = 2
	JobSucceeded uint8 = 3
	JobFailed    uint8 = 4
	JobKilled    uint8 = 5
)

// Cluster is what holds for the whole of a cluster.
type Cluster struct {
	ID    string
	Key   []byte
	Epoch uint64
	Now   int64                  // ns; the latest journalled value of the machine's clock
	Kinds [resource.Slots]string // names of the operator's kinds of resource, by slot
}

// Agent is a host that runs tasks. Records are immutable: a change puts a new one in its place.
type Agent struct {
	Number   uint32
	ID       string
	Host     string
	Info     []byte // opaque AgentInfo
	Total    resource.Vector
	Boot     string // boot id of the host
	Status   uint8  // AgentActive and so on
	Why      string // of the last change of Status
	Admitted int64  // Unix ns
	Changed  int64  // Unix ns of the last change of Status
	// Draining: an operator wants it empty. What still runs there is ended at DrainUntil (Unix ns; 0: never).
	Draining   bool
	DrainUntil int64
	DrainSince int64 // Unix ns; 0 if it is not
	// Forgotten: the agent is only kept because records of ended tasks name it. It is in no iterator or index.
	Forgotten bool
}

// Role is a node in the tree of those who frameworks work for.
type Role struct {
	Number    uint32
	Parent    uint32 // 0: the root
	Path      string
	Weight    int64 // thousandths
	Guarantee resource.Vector
	Limit     resource.Vector
	Config    bool // set by the configuration
	// Removed: the role is only kept because jobs or frameworks that have ended name it.
	Removed bool
}

// Framework is a scheduler that has registered.
type Framework struct {
	Number       uint32
	ID           string
	Role         uint32
	Job          uint32 // 0: none
	User         string
	Name         string // for display
	Classic      bool
	Failover     int64 // ns
	Attempt      uint32
	Admitted     int64 // Unix ns
	Ended        int64 // Unix ns
	HasEnded     bool
	Saved        []byte // opaque, at most MaxSaved
	SavedVersion uint64
}

// Job is what a user submitted.
type Job struct {
	Number     uint32
	ID         string
	Role       uint32
	User       string
	Name       string // for display
	Request    string // the submitter's request id, unique within User; may be empty
	Submission []byte // opaque
	Phase      uint8
	Attempt    uint32
	Framework  uint32 // that runs it now, 0: none
	Message    string
	Result     []byte // opaque: counters and result
	KillAsked  bool
	Submitted  int64 // Unix ns
	Started    int64 // Unix ns, when Phase was first JobRunning
	Changed    int64 // Unix ns
	Ended      int64 // Unix ns
}

// HasEnded tells whether the job's phase is final.
func (j *Job) HasEnded() bool { return j.Phase >= JobSucceeded }

// TaskID names a task for ever.
type TaskID struct {
	Framework uint32
	Sequence  uint64
}

// Task is a copy of a task's record.
type Task struct {
	TaskID
	Agent       uint32
	Job         uint32 // 0: none
	Resources   resource.Vector
	Revision    uint64               // how often Resources were changed
	Ports       []resource.PortRange // shared, read only
	Name        string
	Locality    uint8
	Coordinator bool
	Launched    int64 // Unix ns
	Status      uint8 // 0: live, else final
	Reason      uint8
	Code        int32 // exit code
	Ended       int64 // Unix ns
}

// Live tells whether the task has not ended.
func (t *Task) Live() bool { return t.Status == 0 }
