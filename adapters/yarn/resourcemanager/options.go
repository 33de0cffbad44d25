package resourcemanager

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"fairway/broker/api"
	"fairway/frameworks/spark"
)

// Options are what a Manager is made of. Broker, Key and Host are required. Zero values mean the default in brackets.
type Options struct {
	Broker api.Broker
	Key    []byte // delegation tokens are proved with a key that is derived from it
	Host   string // name or IPv4 address of this machine, as clients and agents reach it

	// The listeners of ApplicationClientProtocol, ApplicationMasterProtocol and the administration protocol. Run closes
	// them. Nil ones are not served.
	Client, Scheduler, Admin net.Listener
	WebAddress               string // host:port of the pages, in tracking URLs [Host:8088]

	NodeExpiry   time.Duration // cut off for so long, an agent's containers are given up [1 min]
	AgentTimeout time.Duration // of the broker: silence after which it calls an agent unreachable [30 s]
	MasterExpiry time.Duration // a master silent for so long has failed [15 min]
	FinishGrace  time.Duration // a master that has unregistered is left alone for so long [1 min]
	// PreemptionGrace is how long a master has to release what is reclaimed for other queues until containers are ended
	// [15 s; below 0: none of its containers are].
	PreemptionGrace time.Duration
	ResyncGrace     time.Duration // after a restart, a container that nobody starts for so long ends [1 min]
	AskExpiry       time.Duration // a container granted may be started for so long [10 min]
	Hold            time.Duration // a reply waits so long for the allocator after a new ask, and four times as long for a launch that is on its way to the disk [20 ms]
	NodeWait        time.Duration // an ask waits so long for a node-local place, since its last one [10 s: a JVM's place takes about as long to come free]
	MaxAttempts     int           // of an application, at most [2]
	MinimumMemory   int64         // a container's memory is a multiple of it, in MiB [1024]
	MasterShare     float64       // part of a queue's share that masters may take; one always runs [0.2]
	MaxAsks         int           // rows of one master's ask table [65536]
	Kept            int           // applications that have ended and are remembered [10000]
	Spark           spark.Wish    // for applications of Spark whose tags do not say otherwise [spread, no gang]

	// Operators may do everything, in every queue.
	Operators []string
	// ACLs hides applications from others than their users, operators, administrators of their queues, Admins, and whom
	// VIEW_APP of their submissions names (yarn.acl.enable).
	ACLs   bool
	Admins string // may see all applications (yarn.admin.acl): users and groups as Hadoop writes them
	// Queues states rights and limits of queues, by path of the role ("a/b"); what it does not name has the defaults. It is
	// asked at the start and at `yarn rmadmin -refreshQueues`. Nil: defaults for all.
	Queues func() (map[string]Queue, error)

	Version    string // of Fairway
	Log        *zap.Logger
	Registerer prometheus.Registerer
}

// Queue is what an operator sets for one queue. Rights are inherited: who may do something in a parent may do it below.
type Queue struct {
	Stopped         bool   // takes no new applications
	MaxApplications int    // that live at once; 0: 10000
	Submit          string // "*", or users and groups as Hadoop writes them: "ann,bob staff"; "": everybody at the top level
	Administer      string // who may kill and move others' applications; "": operators
}

const defaultApplications = 10_000

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Broker == nil:
		return o, errors.New("resourcemanager: no broker")
	case len(o.Key) < 16:
		return o, fmt.Errorf("resourcemanager: a key of %d bytes; 16 are the least", len(o.Key))
	case o.Host == "":
		return o, errors.New("resourcemanager: no host")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	def := func(d *time.Duration, v time.Duration) { *d = cmp.Or(*d, v) }
	def(&o.NodeExpiry, time.Minute)
	def(&o.NodeWait, 10*time.Second)
	def(&o.AgentTimeout, 30*time.Second)
	def(&o.MasterExpiry, 15*time.Minute)
	def(&o.FinishGrace, time.Minute)
	def(&o.ResyncGrace, time.Minute)
	def(&o.PreemptionGrace, 15*time.Second)
	def(&o.AskExpiry, 10*time.Minute)
	def(&o.Hold, 20*time.Millisecond)
	o.FinishGrace = max(o.FinishGrace, 10*time.Second)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 2)
	o.MinimumMemory = cmp.Or(o.MinimumMemory, 1024)
	o.MasterShare = cmp.Or(o.MasterShare, 0.2)
	o.MaxAsks = cmp.Or(o.MaxAsks, 1<<16)
	o.Kept = cmp.Or(o.Kept, 10_000)
	o.WebAddress = cmp.Or(o.WebAddress, net.JoinHostPort(o.Host, "8088"))
	return o, nil
}
