package nodemanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairway/agent/service"
	"fairway/frameworks/storage"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Auxiliary is a service that applications use beside their containers, such as MapReduce's shuffle. Its methods may be
// called from any goroutine between Start and Stop.
type Auxiliary interface {
	Name() string // as clients know it: mapreduce_shuffle
	// Start returns when it serves.
	Start(ctx context.Context) error
	Stop() error
	// InitApplication tells of an application that has a container here: its user, the uid that its containers run as (-1:
	// any), what the client sent for the service, and its local folders. It may be called for every container.
	InitApplication(application, user string, uid int, data []byte, dirs []string) error
	// Metadata is what masters are told, such as a port.
	Metadata() []byte
	// EndApplication forgets an application.
	EndApplication(application string)
}

// Options of a Manager. Host and Files are needed.
type Options struct {
	// Host is the name or IPv4 address that masters and clients reach this agent by: clients cut at the first colon.
	Host       string
	Listen     string // host:port of container management; empty: any port of loopback
	HTTPListen string // host:port of logs; empty: any port of loopback
	// Files finds the file system of a URL for a user, and the path in it; storage.Mux.Resolve is one.
	Files     func(ctx context.Context, url, user string) (storage.FS, string, error)
	Auxiliary []Auxiliary

	// Env is what containers get unless their client says otherwise: JAVA_HOME, HADOOP_CONF_DIR, ... What it lacks is
	// looked for on this host.
	Env map[string]string
	// Account runs the containers of users without an OS account of their own (and root's) when the agent is root.
	Account    string
	HardCPU    bool  // containers get no more than their vcores
	CacheBytes int64 // of localised files that outlive applications; 0: 10 GiB

	Round       time.Duration // between two looks at containers' memory; 0: 3 s
	StartWait   time.Duration // for a master to start what it was granted; 0: 10 min
	KeyWait     time.Duration // for the first grant of an application whose token came first; 0: 10 s
	Logs        Logs
	ACLs        bool          // only owners, Admins and whom an application's VIEW_APP lists may see its logs (yarn.acl.enable)
	Admins      string        // "ann,bob staff": users, then groups, who may see all (yarn.admin.acl)
	LogServer   string        // URL of pages of logs that are no longer here (yarn.log.server.url); empty: none
	DeleteDelay time.Duration // how long folders of ended containers are kept, to look into them

	Log        *zap.Logger           // nil: the agent's
	Registerer prometheus.Registerer // nil: the agent's
}

// Logs configures what happens to containers' logs when their application has ended.
type Logs struct {
	Aggregate bool          // write them to Dir
	Dir       string        // yarn.nodemanager.remote-app-log-dir; empty: /tmp/logs
	Suffix    string        // yarn.nodemanager.remote-app-log-dir-suffix; empty: logs
	Retain    time.Duration // how long they stay here without aggregation; 0: 3 h
}

// Name of the service, as tasks say it.
const Name = "yarn"

// Names of the attributes that agents declare.
const (
	AttributeAddress = "yarn.address" // host:port of container management
	AttributeHTTP    = "yarn.http"    // host:port of logs
	AttributeLogs    = "yarn.logs"    // LogsAggregated; absent: they stay on the agent
)

// New checks the options; the agent starts it.
func New(o Options) (*Manager, error) {
	switch {
	case o.Host == "" || strings.ContainsAny(o.Host, ":/ \t\n"):
		return nil, fmt.Errorf("nodemanager: host %q is neither a host name nor an IPv4 address", o.Host)
	case o.Files == nil:
		return nil, errors.New("nodemanager: Files is needed")
	}
	o.Listen, o.HTTPListen = cmp.Or(o.Listen, "127.0.0.1:0"), cmp.Or(o.HTTPListen, "127.0.0.1:0")
	o.Round, o.StartWait, o.KeyWait = cmp.Or(o.Round, 3*time.Second), cmp.Or(o.StartWait, 10*time.Minute), cmp.Or(o.KeyWait, 10*time.Second)
	o.Logs.Dir, o.Logs.Suffix = cmp.Or(o.Logs.Dir, "/tmp/logs"), cmp.Or(o.Logs.Suffix, "logs")
	o.Logs.Retain = cmp.Or(o.Logs.Retain, 3*time.Hour)
	seen := map[string]bool{}
	for _, a := range o.Auxiliary {
		if seen[a.Name()] {
			return nil, fmt.Errorf("nodemanager: two services %q", a.Name())
		}
		seen[a.Name()] = true
	}
	return newManager(o), nil
}

var _ service.Service = (*Manager)(nil)

// LogsAggregated is the value of AttributeLogs of an agent that aggregates logs.
const LogsAggregated = "aggregated"
