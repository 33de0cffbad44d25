package core

import (
	"fairway/broker/allocator"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// The soft half of what the owner knows. Numbers are those of the state, which are also the allocator's ids.

// agent is an agent that is not forgotten.
type agent struct {
	num     uint32
	id      string
	info    *v1.AgentInfo
	host    allocator.HostID
	rack    allocator.RackID
	learned bool // the rack, from a storage system
	total   resource.Vector
	status  uint8 // state.AgentActive and so on
	session *agentSession
	heard   int64 // when it last said something
	since   int64 // when it lost its session, or became unreachable; of the machine's clock
	tasks   map[*task]struct{}
	offers  map[allocator.OfferID]*offer
	ports   resource.PortSet // free ones
	usage   *v1.AgentHeartbeat
	placed  bool // the allocator knows it
	paused  bool
	drain   uint64 // counts drainings, so that an old timer knows it is late
	drains  bool   // an operator wants it empty
	shown   string // the state that the metric counts it in
	awaited bool   // known from before a restart and not back yet
}

// framework is one that has not ended, or that has and still has tasks.
type framework struct {
	num        uint32
	id         string
	name       string
	role       *role
	user       string
	job        *job // nil: none
	attempt    uint32
	classic    bool
	launcher   bool
	failover   int64
	session    *frameworkSession
	away       uint64 // counts losses of the session, so that an old timer knows it is late
	ended      bool
	tasks      map[uint64]*task
	groups     map[allocator.GroupID]*group
	offers     map[allocator.OfferID]*offer
	high       uint64 // largest sequence used
	touched    bool   // events of it wait for the allocator that may take offers back
	suppressed bool
	yields     bool             // resources may be reclaimed from it
	out        []*v1.Offer      // made in this step
	unheard    []*v1.TaskStatus // ends that the broker found while the framework was away
}

// secretName is whose secret the framework's tasks share: the job's, or its own if it has none.
func (f *framework) secretName() string {
	if f.job != nil {
		return f.job.id
	}
	return f.id
}

// group is a request group as last stated.
type group struct {
	shape    resource.Vector
	stated   *v1.RequestGroup
	last     uint64 // last_offer that came with it
	unplaced bool   // some wanted host bears no agent yet
	refused  bool   // its framework was told that no agent is large enough
}

// offer is live while the allocator holds it.
type offer struct {
	id        allocator.OfferID
	agent     *agent
	framework *framework
	group     allocator.GroupID
	count     uint32 // of shapes; 0 for a whole agent
	resources resource.Vector
	ports     resource.PortSet
	locality  allocator.Locality
	dead      bool // an event that ends it waits for the allocator
}

// task is one that lives, or that has ended with updates that nobody has acknowledged.
type task struct {
	framework   *framework
	seq         uint64
	agent       *agent
	job         *job
	resources   resource.Vector
	revision    uint64 // how often resources were changed
	ports       []resource.PortRange
	state       v1.TaskState
	coordinator bool
	counted     bool // in its role's coordinators
	lost        bool // ended by the broker itself: what the agent still says of it is not believed
	kill        bool // it is no longer wanted
	why         v1.TaskReason
	because     string
	seen        uint64           // highest status sequence that the agent has sent
	acked       uint64           // highest that the framework has acknowledged
	pending     []*v1.TaskStatus // forwarded and not acknowledged, in order
	last        *v1.TaskStatus
}

func (t *task) id() *v1.TaskID { return &v1.TaskID{Framework: t.framework.id, Sequence: t.seq} }

// role is a node of the tree; roles[0] is the root.
type role struct {
	num      uint32
	path     string
	parent   *role
	used     resource.Vector // by tasks, of it and all below it
	launched uint64          // tasks, by it and all below it, since the start
	running  uint32          // tasks, of it and all below it

	coordinators resource.Vector // ordered or running
	count        int             // of those
	waiting      []*job          // for a coordinator
	launcher     *framework
}

// stage of a job's coordinator.
type stage uint8

const (
	idle    stage = iota // none is wanted
	queued               // waits for room in its role's share
	ordered              // the launcher has been told
	started              // launched
)

// job is one that is not forgotten.
type job struct {
	num         uint32
	id          string
	role        *role
	user        string
	submission  *v1.SubmitJobRequest
	framework   *framework // that runs it now
	stage       stage
	shape       resource.Vector // of its coordinator
	coordinator *task           // of the newest attempt, while it lives
	status      *v1.TaskStatus  // last one of a coordinator
	agents      map[*agent]struct{}
	used        resource.Vector
	running     uint32
	progress    *v1.JobProgress
	final       *v1.Job // counters and result of one that has ended
	reports     map[reporter]*v1.ServiceReport
	dirty       bool
	killed      bool // somebody asked it to stop; the force timer runs
}

// record is the durable half of a job.
func (m *machine) record(j *job) *state.Job { return m.st.Job(j.num) }
