package conf

import (
	_ "embed"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"
)

// Sample is a commented configuration with every key at its default.
//
//go:embed sample.yaml
var Sample string

// Config is the whole configuration. Daemons and clients read the same file; each uses its part.
type Config struct {
	Broker    Broker    `yaml:"broker"`
	Roles     []Role    `yaml:"roles"`
	Agent     Agent     `yaml:"agent"`
	Client    Client    `yaml:"client"`
	HDFS      HDFS      `yaml:"hdfs"`
	MapReduce MapReduce `yaml:"mapreduce"`
	YARN      YARN      `yaml:"yarn"`
	Log       Log       `yaml:"log"`
}

// Broker configures the broker daemon.
type Broker struct {
	Socket        string   `yaml:"socket"`   // Unix socket of clients on this machine
	Listen        string   `yaml:"listen"`   // TCP address of agents and remote clients
	Insecure      bool     `yaml:"insecure"` // listen beyond loopback without TLS
	TLS           TLS      `yaml:"tls"`
	TokenFile     string   `yaml:"token_file"` // what TCP callers must bear; written if absent
	Admin         string   `yaml:"admin"`      // metrics, health, profiles
	WorkDir       string   `yaml:"work_dir"`   // journal and snapshots
	Operators     []string `yaml:"operators"`  // accounts that operate the broker, beside root
	OfferTimeout  Duration `yaml:"offer_timeout"`
	NodeWait      Duration `yaml:"node_wait"`      // how long a request waits for a node-local place
	RackWait      Duration `yaml:"rack_wait"`      // and then for a rack-local one
	ReclaimAfter  Duration `yaml:"reclaim_after"`  // a role waits so long below its fair share until resources are reclaimed from others; 0: never
	Heartbeat     Duration `yaml:"heartbeat"`      // agents send one so often
	AgentTimeout  Duration `yaml:"agent_timeout"`  // silent for so long: unreachable
	AgentGone     Duration `yaml:"agent_gone"`     // unreachable for so long: gone
	Recovery      Duration `yaml:"recovery"`       // after a restart, how long offers wait for agents at most
	AgentRate     int      `yaml:"agent_rate"`     // registrations of agents a second
	LauncherShare float64  `yaml:"launcher_share"` // of a role, for coordinators
	JobsKept      int      `yaml:"jobs_kept"`      // ended jobs remembered
}

// TLS names PEM files.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"` // what agents and clients trust
}

// Role is a role of the configuration.
type Role struct {
	Path      string    `yaml:"path"`
	Weight    float64   `yaml:"weight"`
	Guarantee Resources `yaml:"guarantee"`
	Limit     Resources `yaml:"limit"`
}

// Resources by kind; an absent one is not stated.
type Resources struct {
	CPU    *CPU             `yaml:"cpu"`
	Memory *Bytes           `yaml:"memory"`
	Disk   *Bytes           `yaml:"disk"`
	GPUs   *int64           `yaml:"gpus"`
	Named  map[string]int64 `yaml:"named"`
}

// Agent configures an agent.
type Agent struct {
	Broker      string            `yaml:"broker"`
	TokenFile   string            `yaml:"token_file"`
	WorkDir     string            `yaml:"work_dir"`
	Listen      string            `yaml:"listen"` // logs and map output
	Admin       string            `yaml:"admin"`
	Host        string            `yaml:"host"`
	Addresses   []string          `yaml:"addresses"`
	Rack        string            `yaml:"rack"`
	Resources   Resources         `yaml:"resources"`
	Ports       string            `yaml:"ports"` // "31000-32000,40000"
	Attributes  map[string]string `yaml:"attributes"`
	SandboxAge  Duration          `yaml:"sandbox_age"`
	SandboxFree float64           `yaml:"sandbox_free"` // fraction of the disk kept free by removing old sandboxes
	CacheSize   Bytes             `yaml:"cache_size"`
}

// Client configures the command line.
type Client struct {
	Broker    string `yaml:"broker"`
	TokenFile string `yaml:"token_file"`
}

// HDFS says how HDFS is reached.
type HDFS struct {
	ConfDir string   `yaml:"conf_dir"` // core-site.xml and hdfs-site.xml
	Timeout Duration `yaml:"timeout"`  // of one call
}

// MapReduce configures the tasks of the native engine; 0 is its own choice.
type MapReduce struct {
	MapMemory    Bytes `yaml:"map_memory"`
	ReduceMemory Bytes `yaml:"reduce_memory"`
	MapCPU       CPU   `yaml:"map_cpu"`
	ReduceCPU    CPU   `yaml:"reduce_cpu"`
}

// Log configures the daemons' logs.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // json, console
}

// Default is the configuration without a file, found from the machine and the account.
func Default() *Config {
	run, lib := Folders()
	return &Config{
		Broker: Broker{
			Socket: filepath.Join(run, "broker.sock"), Listen: "127.0.0.1:5050", Admin: "127.0.0.1:5051",
			TokenFile: filepath.Join(lib, "token"), WorkDir: filepath.Join(lib, "broker"),
			OfferTimeout: Duration(30 * time.Second), NodeWait: Duration(3 * time.Second), RackWait: Duration(2 * time.Second), ReclaimAfter: Duration(30 * time.Second),
			Heartbeat: Duration(2 * time.Second), AgentTimeout: Duration(15 * time.Second), AgentGone: Duration(10 * time.Minute),
			Recovery: Duration(time.Minute), AgentRate: 1000, LauncherShare: 0.2, JobsKept: 1000,
		},
		Agent: Agent{
			Broker: "127.0.0.1:5050", TokenFile: filepath.Join(lib, "token"), WorkDir: filepath.Join(lib, "agent"),
			Listen: "127.0.0.1:5052", Admin: "127.0.0.1:5053",
			SandboxAge: Duration(24 * time.Hour), SandboxFree: 0.1, CacheSize: 10 << 30,
		},
		Client: Client{Broker: "unix://" + filepath.Join(run, "broker.sock"), TokenFile: ""},
		HDFS:   HDFS{ConfDir: os.Getenv("HADOOP_CONF_DIR"), Timeout: Duration(30 * time.Second)},
		YARN:   defaultYARN(),
		Log:    Log{Level: "info", Format: "json"},
	}
}

// Folders are where sockets (run) and state (lib) go: the system's for root, the account's own otherwise.
func Folders() (run, lib string) {
	if os.Geteuid() == 0 {
		return "/run/fairway", "/var/lib/fairway"
	}
	run = os.Getenv("XDG_RUNTIME_DIR")
	if run == "" {
		run = filepath.Join(os.TempDir(), fmt.Sprintf("fairway-%d", os.Geteuid()))
	} else {
		run = filepath.Join(run, "fairway")
	}
	home := os.Getenv("HOME")
	if home == "" {
		if u, err := user.Current(); err == nil {
			home = u.HomeDir
		}
	}
	return run, filepath.Join(home, ".fairway")
}
