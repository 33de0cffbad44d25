package agent

import (
	"context"
	"errors"
	"time"

	"fairway/agent/fetch"
	"fairway/agent/service"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options of an agent. Only WorkDir and Connect are needed.
type Options struct {
	// WorkDir holds everything that the agent keeps. Only one agent at a time may use it.
	WorkDir string
	// Connect dials the broker once. The agent calls it again, with growing delays, after each session's end.
	Connect func(ctx context.Context) (api.AgentSession, error)

	BrokerAddress string // for FAIRWAY_BROKER in tasks: "unix:///path" or "host:port"
	Binary        string // the fairway binary that "{fairway}" stands for; empty: this process's own
	DataListen    string // host:port of the data server; empty: 127.0.0.1:0
	DataAdvertise string // host or host:port that others reach it by; empty: as it listens, or Host if it listens on all
	AdminAddress  string // told to the broker, for pages

	// TaskEnv is in every task's environment, where its spec does not say otherwise: what all tasks on this host need to
	// know of the cluster, such as HADOOP_CONF_DIR.
	TaskEnv map[string]string

	Sources  map[string]fetch.Source // by URL scheme, beside file, http and https, which it has itself
	Services []service.Service

	// Resources declares capacity: a field that is not zero takes the place of what was found. Named kinds, GPUs and port
	// ranges exist only if declared here.
	Resources  *v1.Resources
	Host       string   // empty: the host's name
	Addresses  []string // further names and addresses; nil: those of the host's interfaces
	Rack       string
	Attributes map[string]string

	SandboxMaxAge time.Duration // ended tasks' sandboxes go after this; 0: 24 h
	DiskPressure  float64       // above this use of the disk (0 to 1) the oldest ended sandboxes and cached files go; 0: 0.9
	CacheBytes    int64         // bound of the fetch cache; 0: 10 GiB
	QuotaInterval time.Duration // how often a sandbox with a quota is measured; 0: 5 s

	NoCgroups  bool   // run tasks without cgroups even where they could be used
	CgroupRoot string // where cgroup file systems are mounted; empty: /sys/fs/cgroup

	// KillOnStop ends all tasks when Run ends, and leaves neither processes nor cgroups behind. Without it they live on
	// and are taken up by the next agent on this work folder.
	KillOnStop bool

	Log        *zap.Logger           // nil: none
	Registerer prometheus.Registerer // nil: none
	Version    string
}

const defaultDiskPressure = 0.9

// Errors of New and Run.
var (
	// ErrLocked: another agent uses the work folder.
	ErrLocked = errors.New("work folder is in use by another agent")
	// ErrShutdown: the broker told the agent to stop.
	ErrShutdown = errors.New("the broker told this agent to stop")
)
