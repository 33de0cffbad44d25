package resourcemanager

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

// What pages show. All of these are copies; asking takes no lock for longer than one application's copy.

// Info is about the manager itself.
type Info struct {
	ID      int64 // its start in milliseconds, the cluster time stamp of the application ids that it gives
	Started time.Time
	Version string
	Host    string
}

// Application is an application as it stands.
type Application struct {
	ID           id.ApplicationID
	User         string
	Name         string
	Queue        string // root.a.b
	Type         string
	Tags         []string
	Priority     int32
	State        wire.YarnApplicationStateProto
	FinalStatus  wire.FinalApplicationStatusProto
	Progress     float32 // 0 to 1
	Diagnostics  string
	Submitted    time.Time
	Launched     time.Time // first master; zero: not yet
	Finished     time.Time // zero: not yet
	Expires      time.Time // end of its lifetime; zero: none
	Attempt      id.AttemptID
	Host         string // of the master, N/A until it has registered
	RPCPort      int32  // -1 until then
	TrackingURL  string // through the proxy, or the page about it
	OriginalURL  string // that the master gave; "" or N/A: none
	MasterNode   string // host:port; "": none
	MasterHTTP   string // host:port of the logs' server there
	MasterID     id.ContainerID
	Live         bool  // its resources count
	Containers   int   // live ones, the master included
	Pending      int64 // containers wanted
	Memory       int64 // MiB held
	VCores       int64
	MemorySecs   int64 // MiB seconds used
	VCoreSecs    int64
	Preempted    Preempted
	QueueShare   float32 // percent of its queue's resources
	ClusterShare float32 // percent of the cluster's
	Unmanaged    bool
	LogsURL      string                         // of the master's container; "": none
	LogStatus    wire.LogAggregationStatusProto // 0: unknown
	Label        string                         // of its asks that name none; "": none
	MasterLabel  string
}

// Preempted is what was taken from an application for other queues, as RMAppMetrics has it.
type Preempted struct {
	Memory     int64 // MiB, of all containers that were taken
	VCores     int64
	Containers int // masters apart
	Masters    int
	MemorySecs int64 // MiB seconds that they had used
	VCoreSecs  int64
}

// Attempt is one run of a master.
type Attempt struct {
	ID          id.AttemptID
	State       wire.YarnApplicationAttemptStateProto
	Host        string
	RPCPort     int32
	TrackingURL string
	OriginalURL string
	Diagnostics string
	Started     time.Time
	Finished    time.Time
	Master      id.ContainerID // zero: none yet
	Node        string         // host:port
	NodeHTTP    string
	LogsURL     string
}

// Container is a container that lives, or one of the last that have ended.
type Container struct {
	ID          id.ContainerID
	Node        id.NodeID
	NodeHTTP    string
	Memory      int64
	VCores      int32
	Priority    int32
	State       wire.ContainerStateProto
	ExitStatus  int32
	Diagnostics string
	Created     time.Time
	Finished    time.Time
	LogsURL     string
}

// Node is an agent that runs containers of YARN's.
type Node struct {
	ID         id.NodeID
	HTTP       string
	Rack       string
	State      wire.NodeStateProto
	Containers int
	Memory     int64 // MiB in all
	VCores     int64
	UsedMemory int64
	UsedVCores int64
	Health     string
	Heard      time.Time
	Version    string
	Label      string        // "": none
	Draining   time.Duration // what an operator gives its containers, of one that is decommissioned; 0: as long as they take
}

// QueueInfo is a role as a queue; the root is the first.
type QueueInfo struct {
	Name         string // a
	Path         string // root.a
	Children     []string
	Stopped      bool
	Capacity     float32 // of its parent, by weight: 0 to 1
	Absolute     float32 // of the cluster
	Maximum      float32 // of the cluster
	Used         float32 // of its own capacity; may be above 1
	AbsoluteUsed float32
	Memory       int64 // MiB held
	VCores       int64
	Containers   int
	Pending      int // containers wanted
	Running      int // applications
	Waiting      int // applications whose master does not run yet
	Available    int64
	AvailableCPU int64

	unpreempted bool // nothing is taken from it for other queues
}

// Metrics are counts over the cluster.
type Metrics struct {
	Submitted, Completed, Pending, Running, Failed, Killed int
	AvailableMB, AllocatedMB, PendingMB, TotalMB           int64
	AvailableVCores, AllocatedVCores, PendingVCores        int64
	TotalVCores                                            int64
	Containers, PendingContainers                          int64
	Nodes, Active, Lost, Decommissioning, Decommissioned   int
}

// Info is about the manager itself.
func (m *Manager) Info() Info {
	return Info{ID: m.stamp.Load(), Started: m.started, Version: m.o.Version, Host: m.o.Host}
}

// Applications are all that are known, newest first.
func (m *Manager) Applications() []Application {
	all := m.all()
	out := make([]Application, 0, len(all))
	for _, a := range all {
		out = append(out, a.describe())
	}
	slices.SortStableFunc(out, func(a, b Application) int {
		return cmp.Or(cmp.Compare(b.ID.Timestamp, a.ID.Timestamp), cmp.Compare(b.ID.Number, a.ID.Number))
	})
	return out
}

// Application is one application.
func (m *Manager) Application(i id.ApplicationID) (Application, bool) {
	a := m.find(i)
	if a == nil {
		return Application{}, false
	}
	return a.describe(), true
}

// Attempts are an application's, oldest first.
func (m *Manager) Attempts(i id.ApplicationID) ([]Attempt, bool) {
	a := m.find(i)
	if a == nil {
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Attempt
	for _, t := range a.attempts {
		out = append(out, a.describeAttempt(t))
	}
	return out, true
}

// Containers are those of an attempt that live, in order of their numbers.
func (m *Manager) Containers(i id.AttemptID) ([]Container, bool) {
	a := m.find(i.Application)
	if a == nil {
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attempt(i.Number) == nil {
		return nil, false
	}
	out := []Container{}
	for _, c := range a.containers {
		if c.id.Attempt == i && c.state >= granted {
			out = append(out, a.describeContainer(c))
		}
	}
	slices.SortFunc(out, func(x, y Container) int { return cmp.Compare(x.ID.ID, y.ID.ID) })
	return out, true
}

// Nodes are the agents that run containers, lost ones too, by name.
func (m *Manager) Nodes() []Node {
	s := m.cluster()
	out := make([]Node, 0, len(s.nodes))
	for _, n := range s.nodes {
		x := n.Node
		x.Heard = x.heard()
		out = append(out, x)
	}
	return out
}

// QueueTree are all queues, parents before children; the first is root.
func (m *Manager) QueueTree() []QueueInfo { return m.queues(m.cluster()) }

// ClusterMetrics counts over the cluster.
func (m *Manager) ClusterMetrics() Metrics { return m.metricsOf(m.cluster()) }

// Caller is who asks through a page.
type Caller struct {
	User   string
	Remote string // address, for diagnostics
}

// Kill ends an application on behalf of a caller and says whether it has ended. Its errors are *hadooprpc.Exception.
func (m *Manager) Kill(ctx context.Context, who Caller, i id.ApplicationID, diagnostics string) (bool, error) {
	return m.kill(ctx, who, i, diagnostics)
}
