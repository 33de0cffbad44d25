package conf

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// labelAttribute is the attribute of an agent that is its label in YARN; labelPattern is what YARN takes for one.
const labelAttribute = "yarn.label"

var labelPattern = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z_-]{0,254}$`)

// YARN configures the face that unmodified Hadoop and Spark clients see. Broker and agents read the same section.
type YARN struct {
	Enabled       bool              `yaml:"enabled"`
	Host          string            `yaml:"host"` // of the broker: the name or IPv4 address that clients and nodes reach it by
	ClientPort    int               `yaml:"client_port"`
	SchedulerPort int               `yaml:"scheduler_port"`
	AdminPort     int               `yaml:"admin_port"`
	WebPort       int               `yaml:"web_port"`
	NodeExpiry    Duration          `yaml:"node_expiry"`        // cut off for so long, an agent's containers are given up
	MasterExpiry  Duration          `yaml:"master_expiry"`      // an ApplicationMaster silent for so long has failed
	NodeWait      Duration          `yaml:"node_wait"`          // an ask waits so long for a node-local place, since its last one
	Preemption    Duration          `yaml:"preemption_grace"`   // a master has so long to release what is reclaimed, until containers are ended
	MaxAttempts   int               `yaml:"max_attempts"`       // of an application, at most
	MinimumMemory Bytes             `yaml:"minimum_memory"`     // a container's memory is a multiple of it
	NodePort      int               `yaml:"node_port"`          // of agents: container management
	NodeWebPort   int               `yaml:"node_web_port"`      // of agents: logs
	ShufflePort   int               `yaml:"shuffle_port"`       // of agents: MapReduce's map output
	SparkPort     int               `yaml:"spark_shuffle_port"` // of agents: Spark's external shuffle service
	Placement     string            `yaml:"spark_placement"`    // of executors whose application does not say: spread or pack
	Gang          bool              `yaml:"spark_gang"`         // applications of Spark begin with all executors that they ask for, or wait whole, unless they say otherwise
	Account       string            `yaml:"account"`            // runs containers of users without an account of their own
	Env           map[string]string `yaml:"env"`                // of containers: JAVA_HOME, HADOOP_CONF_DIR, ...
	HardCPU       bool              `yaml:"hard_cpu"`           // containers get no more than their vcores
	ACL           YARNACL           `yaml:"acl"`
	Logs          YARNLogs          `yaml:"logs"`
	Queues        []YARNQueue       `yaml:"queues"`
}

// How the executors of an application of Spark are placed.
const (
	PlacementSpread = "spread" // over the hosts of its data
	PlacementPack   = "pack"   // on few hosts
)

// YARNQueue says who may use a queue, which is a role: root.a.b is a/b.
type YARNQueue struct {
	Queue           string `yaml:"queue"`
	Stopped         bool   `yaml:"stopped"`          // takes no new applications
	MaxApplications int    `yaml:"max_applications"` // that live at once; 0: 10000
	Submit          string `yaml:"submit"`           // "ann,bob staff": users, then groups; "*"; empty: as its parent, at the top everybody
	Administer      string `yaml:"administer"`       // who may also kill and move others' applications; empty: operators
}

// RolePath is the role of a queue's name: root.a.b is a/b.
func (q YARNQueue) RolePath() string {
	return strings.ReplaceAll(strings.TrimPrefix(q.Queue, "root."), ".", "/")
}

// YARNACL says who may see applications and their logs; who may kill and move them is always checked.
type YARNACL struct {
	Enabled bool   `yaml:"enabled"` // yarn.acl.enable
	Admins  string `yaml:"admins"`  // yarn.admin.acl, beside broker.operators: "ann,bob staff": users, then groups; "*"
}

// YARNLogs configures the aggregation of containers' logs after an application's end.
type YARNLogs struct {
	Aggregate bool   `yaml:"aggregate"`
	Dir       string `yaml:"dir"`    // yarn.nodemanager.remote-app-log-dir
	Suffix    string `yaml:"suffix"` // yarn.nodemanager.remote-app-log-dir-suffix
	Server    string `yaml:"server"` // yarn.log.server.url
}

func defaultYARN() YARN {
	return YARN{
		Host: "127.0.0.1", ClientPort: 8032, SchedulerPort: 8030, AdminPort: 8033, WebPort: 8088,
		NodeExpiry: Duration(time.Minute), MasterExpiry: Duration(15 * time.Minute), NodeWait: Duration(10 * time.Second), Preemption: Duration(15 * time.Second), MaxAttempts: 2, MinimumMemory: 1 << 30,
		Env: map[string]string{}, Queues: []YARNQueue{}, NodePort: 8041, NodeWebPort: 8042, ShufflePort: 13562, SparkPort: 7337, Placement: PlacementSpread, Account: "nobody",
		Logs: YARNLogs{Aggregate: true, Dir: "/tmp/logs", Suffix: "logs"},
	}
}

func (y *YARN) validate(insecure bool) error {
	for key, p := range map[string]int{"client_port": y.ClientPort, "scheduler_port": y.SchedulerPort, "admin_port": y.AdminPort, "web_port": y.WebPort,
		"node_port": y.NodePort, "node_web_port": y.NodeWebPort, "shuffle_port": y.ShufflePort, "spark_shuffle_port": y.SparkPort} {
		if p < 0 || p > 65535 {
			return fmt.Errorf("yarn.%s: %d is not between 0 and 65535", key, p)
		}
	}
	switch {
	case y.Host == "" || strings.ContainsAny(y.Host, ":/ ") || net.ParseIP(y.Host).IsUnspecified(): // clients are told it
		return fmt.Errorf("yarn.host: %q is neither a host name nor an IPv4 address", y.Host)
	case y.MaxAttempts < 1:
		return fmt.Errorf("yarn.max_attempts: %d is below 1", y.MaxAttempts)
	case y.Placement != PlacementSpread && y.Placement != PlacementPack:
		return fmt.Errorf("yarn.spark_placement: %q is neither %s nor %s", y.Placement, PlacementSpread, PlacementPack)
	case y.MinimumMemory < 1<<20:
		return fmt.Errorf("yarn.minimum_memory: %d bytes is below 1MiB", y.MinimumMemory)
	case y.NodeExpiry <= 0 || y.MasterExpiry <= 0 || y.NodeWait <= 0 || y.Preemption <= 0:
		return errors.New("yarn.node_expiry, yarn.master_expiry, yarn.node_wait and yarn.preemption_grace must be above zero")
	}
	if u, err := url.Parse(y.Logs.Server); err != nil || y.Logs.Server != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("yarn.logs.server: %q is no URL; write it as http://history:19888/jobhistory/logs", y.Logs.Server)
	}
	seen := map[string]bool{}
	for i, q := range y.Queues {
		switch path := q.RolePath(); {
		case path == "" || strings.ContainsAny(q.Queue, "/ "):
			return fmt.Errorf("yarn.queues[%d].queue: %q is no queue; write it as root.analytics.reports", i, q.Queue)
		case seen[path]:
			return fmt.Errorf("yarn.queues[%d].queue: %s is there twice", i, q.Queue)
		case q.MaxApplications < 0:
			return fmt.Errorf("yarn.queues[%d].max_applications: %d is below 0", i, q.MaxApplications)
		default:
			seen[path] = true
		}
	}
	if ip := net.ParseIP(y.Host); y.Enabled && !insecure && y.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("yarn.host: YARN's clients say who they are and nobody checks it; to listen on %s beyond this machine set broker.insecure: true", y.Host)
	}
	return nil
}
