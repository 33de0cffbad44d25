package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"fairway/integration/cluster"
	"fairway/integration/hadoop"
)

// Accounts of users: one that every Linux has, and one that none has.
const (
	WithAccount    = "daemon"
	WithoutAccount = "alice"
)

// Hosts are addresses: every process resolves them, and each agent listens on its own.
func Hosts() []hadoop.Host {
	return []hadoop.Host{{Name: "127.0.1.1", Rack: "/rack1"}, {Name: "127.0.1.2", Rack: "/rack1"}, {Name: "127.0.1.3", Rack: "/rack2"}}
}

// Cluster is a Fairway cluster with YARN's face and the configuration folder of its clients.
type Cluster struct {
	*cluster.Cluster
	ConfDir string
	Web     string // host:port of the ResourceManager's pages
}

// Options of Start.
type Options struct {
	YARN  cluster.YARN
	Roles string // YAML: {path: x}, ...
	CPU   string // of each agent; it has 6 GiB
	More  string // YAML for the yarn section, such as "node_expiry: 10s"
	Env   []string
}

// Start starts a cluster with an agent on each host of the HDFS.
func (b *Testbed) Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := os.MkdirTemp(b.Dir, "cluster-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
		return nil, err
	}
	c := &Cluster{ConfDir: filepath.Join(dir, "conf"), Web: o.YARN.Web()}
	if err := b.In.ClientConf(c.ConfDir, b.DFS, o.YARN.Addresses()); err != nil {
		return nil, err
	}
	var agents []cluster.Agent
	for _, h := range b.DFS.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Name, Rack: h.Rack, CPU: o.CPU, Memory: "6GiB"})
	}
	c.Cluster, err = cluster.Start(ctx, cluster.Options{
		Binary: b.Binary, Agents: agents, HadoopDir: c.ConfDir, Env: o.Env,
		Config: "roles: [" + o.Roles + "]\n" + o.YARN.Config(o.More) + "log: {level: debug, format: console}\n",
	})
	return c, err
}

// End stops a cluster, and says it when it does not end in good order.
func (c *Cluster) End() {
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the cluster:", err)
	}
}
