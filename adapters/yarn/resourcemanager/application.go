package resourcemanager

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager/record"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/spark"
)

// application is one application, from its submission until it is forgotten. Its own goroutine speaks with the broker
// (session.go); calls of clients and of its master take mu. Nothing blocks while mu is held.
type application struct {
	m   *Manager
	id  id.ApplicationID
	log *zap.Logger

	// Fixed at submission.
	user        string
	name        string
	kind        string
	tags        []string
	submitted   time.Time
	shape       amount // of the master
	limit       int    // attempts
	validity    time.Duration
	keep        bool // containers outlive their attempt
	isUnmanaged bool
	label       string // of asks that name none; "": none
	masterLabel string
	viewers     string     // VIEW_APP of its submission
	wish        spark.Wish // of an application of Spark

	wake chan struct{} // of capacity one: something waits to be sent, or a time has changed

	mu         sync.Mutex
	submission *wire.ApplicationSubmissionContextProto // nil once it has ended
	queue      *queue
	former     *queue // while it moves; nil: it does not
	priority   int32
	expires    time.Time // zero: never
	state      wire.YarnApplicationStateProto
	final      wire.FinalApplicationStatusProto
	diagnostic string
	tracking   string // that the master gave
	launched   time.Time
	finished   time.Time
	attempts   []*attempt // the last is the current one
	refused    error      // why the broker did not take it
	admitted   bool       // its master may be asked for
	killed     string     // why it is being killed, "": it is not
	closing    bool       // Unregister was sent
	ended      bool       // durably

	// Of the conversation with the broker.
	session   api.FrameworkSession
	framework string
	job       string
	keys      token.Keyring
	out       []*v1.FrameworkCall // waits to be sent
	version   uint64              // of the state last saved
	durable   uint64              // version that the broker has confirmed
	nextTask  uint64
	lastGroup uint64
	lastOffer uint64
	restoring bool // until the broker's tasks are known
	onDurable []func()
	later     func(context.Context) // to be done by the goroutine of its own without mu

	containers map[uint64]*container   // live ones, by task
	census     tagCensus               // of the tags of containers
	retagged   bool                    // requests with constraints are to be looked at
	wasTagged  []*record.Tagged        // before this start of the manager
	settled    map[uint64]bool         // tasks whose end was told before their agent told it, or that were told once
	adopted    uint64                  // tasks below were launched before this start of the manager
	accepted   map[uint64][]*container // by offer, until the broker confirms
	recent     []*container            // the last that have ended
	resync     time.Time               // containers that nobody has begun after a restart end then; zero: none
	reclaim    *reclaim                // what the broker wants back; nil: nothing
	changed    chan struct{}           // closed at the next change that somebody may wait for; nil: nobody waits

	logs map[string]grant.LogState // how its logs fare, by the agents that aggregate some

	// Used in all, by containers that have ended; and held by those that live.
	memoryMillis, vcoreMillis int64
	preempted                 *record.Preempted // nil: nothing was taken
	ending                    int               // containers that are taken and have not ended
	held                      amount
	heldCount                 int
	baseline                  *snapshot // headroom is that of baseline ...
	baseHeld                  amount    // ... less what came to this
}

// attempt is one run of the master.
type attempt struct {
	id       id.AttemptID
	first    uint64 // task of its first container
	state    wire.YarnApplicationAttemptStateProto
	started  time.Time
	finished time.Time
	counted  bool // its failure counts against the limit

	master     *container
	masterID   id.ContainerID // also of one that has ended
	masterAsk  uint64         // group; 0: none
	node       id.NodeID
	nodeHTTP   string
	diagnostic string

	host     string
	port     int32
	tracking string
	progress float32
	shown    float32 // in the broker's jobs ...
	shownAt  time.Time
	pages    []*v1.Progress // what its pages say, in place of progress
	counters []*v1.Counter
	contact  time.Time     // when it was last heard; zero: it does not run
	came     time.Duration // from its master's launch to its registration
	works    time.Time     // when its first containers are taken to be at work, or none are awaited any more

	// calls is held through a whole call of the master, replies that are held back included. It is taken before the
	// application's mu.
	calls        sync.Mutex
	registered   bool
	unregistered bool
	responseID   int32
	last         *wire.AllocateResponseProto
	asks         *askTable
	gathers      bool             // it is a gang and has none of its first executors yet
	excluded     map[string]bool  // hosts and racks
	rules        map[string]*rule // that were registered, by tag
	ready        []*container     // confirmed, not handed over
	done         []*container     // ended, not told
	told         []*container     // ended, told in the last reply
	given        map[id.NodeID]bool
	updates      []*wire.NodeReportProto
	resized      []updated // to be told
	updateErrors []*wire.UpdateContainerErrorProto
	notBefore    time.Time    // its master is not asked for before; zero: at once
	previous     []*container // live ones of earlier attempts, to be told at registration
}

func (a *application) current() *attempt {
	if len(a.attempts) == 0 {
		return nil
	}
	return a.attempts[len(a.attempts)-1]
}

func (a *application) attempt(n int32) *attempt {
	for _, t := range a.attempts {
		if t.id.Number == n {
			return t
		}
	}
	return nil
}

// isFinal tells whether clients see it as ended.
func (a *application) isFinal() bool { return a.state >= wire.YarnApplicationStateProto_FINISHED }

// signal wakes those that wait for a change. With mu held.
func (a *application) signal() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// await is closed at the next change. With mu held.
func (a *application) await() <-chan struct{} {
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.changed
}

// poke has the application's goroutine look at what is to be sent, and at the time.
func (a *application) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// describe copies what pages and reports show.
func (a *application) describe() Application {
	s := a.m.cluster()
	a.mu.Lock()
	defer a.mu.Unlock()
	x := Application{
		ID: a.id, User: a.user, Name: a.name, Queue: a.queue.name, Type: a.kind, Tags: a.tags, Priority: a.priority, State: a.state, FinalStatus: a.final,
		Diagnostics: a.diagnostic, Submitted: a.submitted, Launched: a.launched, Finished: a.finished, Expires: a.expires, Unmanaged: a.isUnmanaged,
		Host: "N/A", RPCPort: -1, OriginalURL: a.tracking, Live: !a.ended, Containers: a.heldCount, Memory: a.held.memory, VCores: int64(a.held.vcores),
		Label: a.label, MasterLabel: a.masterLabel,
	}
	memory, vcores := a.memoryMillis, a.vcoreMillis
	now := time.Now()
	x.LogStatus = a.logStatus(s, now)
	for _, c := range a.containers {
		age := now.Sub(c.created).Milliseconds()
		memory += c.amount.memory * age
		vcores += int64(c.amount.vcores) * age
	}
	x.MemorySecs, x.VCoreSecs = memory/1000, vcores/1000
	x.Preempted = preemptedOf(a.preempted)
	x.ClusterShare = float32(100 * dominant(a.held, s.total))
	if q := s.role(a.queue.role); q != nil && q.absolute > 0 {
		x.QueueShare = float32(100 * dominant(a.held, s.total) / q.absolute)
	}
	if t := a.current(); t != nil {
		x.Attempt, x.Progress, x.MasterID = t.id, t.progress, t.masterID
		if t.host != "" || t.registered {
			x.Host, x.RPCPort = t.host, t.port
		}
		if t.tracking != "" {
			x.OriginalURL = t.tracking
		}
		if t.node != (id.NodeID{}) {
			x.MasterNode, x.MasterHTTP = t.node.String(), t.nodeHTTP
			x.LogsURL = a.logsURL(t.nodeHTTP, t.masterID)
		}
		x.Pending = t.asks.outstanding()
		if t.masterAsk != 0 {
			x.Pending++
		}
	}
	if a.tracking != "" {
		x.OriginalURL = a.tracking
	}
	if t := a.current(); x.Diagnostics == "" && a.state == wire.YarnApplicationStateProto_ACCEPTED && t != nil && t.master == nil {
		x.Diagnostics = "Application is added to the scheduler and is not yet activated. Skipping AM assignment as cluster resource is empty or has no room."
		if !a.admitted {
			x.Diagnostics = "Application is added to the scheduler and is not yet activated. Queue's AM resource limit exceeded."
		}
	}
	if a.state == wire.YarnApplicationStateProto_FINISHED {
		x.Progress = 1
	}
	x.TrackingURL = a.m.trackingURL(a.id, a.state)
	if x.OriginalURL == "" {
		x.OriginalURL = "N/A"
	}
	return x
}

func (a *application) describeAttempt(t *attempt) Attempt {
	x := Attempt{
		ID: t.id, State: t.state, Host: "N/A", RPCPort: -1, OriginalURL: t.tracking, Diagnostics: t.diagnostic, Started: t.started, Finished: t.finished,
		Master: t.masterID, TrackingURL: a.m.trackingURL(a.id, a.state),
	}
	if t.host != "" {
		x.Host, x.RPCPort = t.host, t.port
	}
	if x.OriginalURL == "" {
		x.OriginalURL = "N/A"
	}
	if t.node != (id.NodeID{}) {
		x.Node, x.NodeHTTP, x.LogsURL = t.node.String(), t.nodeHTTP, a.logsURL(t.nodeHTTP, t.masterID)
	}
	return x
}

func (a *application) describeContainer(c *container) Container {
	x := Container{
		ID: c.id, Node: c.node, NodeHTTP: c.nodeHTTP, Memory: c.amount.memory, VCores: c.amount.vcores, Priority: c.priority,
		State: wire.ContainerStateProto_C_NEW, ExitStatus: -1000, Created: c.created, Finished: c.finished, LogsURL: a.logsURL(c.nodeHTTP, c.id),
	}
	switch {
	case c.status != nil:
		x.State, x.ExitStatus, x.Diagnostics = wire.ContainerStateProto_C_COMPLETE, c.status.GetExitStatus(), c.status.GetDiagnostics()
	case c.running:
		x.State = wire.ContainerStateProto_C_RUNNING
	}
	return x
}

// logsURL is where a container's logs are served while it runs.
func (a *application) logsURL(http string, c id.ContainerID) string {
	if http == "" || c.IsZero() {
		return ""
	}
	return "http://" + http + "/node/containerlogs/" + c.String() + "/" + a.user
}

// trackingURL is what a client shows: the proxy while a page may be behind it, else the page about the application.
func (m *Manager) trackingURL(i id.ApplicationID, s wire.YarnApplicationStateProto) string {
	if s == wire.YarnApplicationStateProto_FAILED || s == wire.YarnApplicationStateProto_KILLED {
		return "http://" + m.o.WebAddress + "/cluster/app/" + i.String()
	}
	return "http://" + m.o.WebAddress + "/proxy/" + i.String() + "/"
}
