package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	shuffle "fairway/adapters/mapreduce"
	"fairway/adapters/spark"
	"fairway/adapters/yarn/nodemanager"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/resourcemanager/web"
	"fairway/agent/service"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
	"fairway/conf"
	executors "fairway/frameworks/spark"
)

// resourceManager is the broker's side of YARN: three protocols and the pages.
type resourceManager struct {
	manager *resourcemanager.Manager
	web     *web.Server
	pages   net.Listener
	log     *zap.Logger
}

// newResourceManager opens the sockets; nil if YARN is off. Whoever gets one calls run.
func newResourceManager(c *conf.Config, load func() (*conf.Config, error), broker api.Broker, token string, admin *admin, log *zap.Logger) (_ *resourceManager, err error) {
	y := c.YARN
	if !y.Enabled {
		return nil, nil
	}
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, l := range open {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	listen := func(key string, port int) (net.Listener, error) {
		l, err := net.Listen("tcp", net.JoinHostPort(y.Host, strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("yarn.%s: %w", key, err)
		}
		open = append(open, l)
		return l, nil
	}
	o := resourcemanager.Options{
		Broker: broker, Key: []byte(token), Host: y.Host, NodeExpiry: time.Duration(y.NodeExpiry), AgentTimeout: time.Duration(c.Broker.AgentTimeout),
		MasterExpiry: time.Duration(y.MasterExpiry), NodeWait: time.Duration(y.NodeWait), PreemptionGrace: time.Duration(y.Preemption), MaxAttempts: y.MaxAttempts, MinimumMemory: int64(y.MinimumMemory >> 20), MasterShare: c.Broker.LauncherShare,
		Spark: executors.Wish{Pack: y.Placement == conf.PlacementPack, Gang: y.Gang},
		Kept:  c.Broker.JobsKept, Operators: append([]string{"root"}, c.Broker.Operators...), ACLs: y.ACL.Enabled, Admins: admins(c), Version: version, Log: log, Registerer: admin.registry,
		Queues: func() (map[string]resourcemanager.Queue, error) {
			now, err := load()
			if err != nil {
				return nil, err
			}
			rights := map[string]resourcemanager.Queue{}
			for _, q := range now.YARN.Queues {
				rights[q.RolePath()] = resourcemanager.Queue{Stopped: q.Stopped, MaxApplications: q.MaxApplications, Submit: q.Submit, Administer: q.Administer}
			}
			return rights, nil
		},
	}
	if c.Broker.ReclaimAfter == 0 {
		o.PreemptionGrace = -1
	}
	if o.Client, err = listen("client_port", y.ClientPort); err != nil {
		return nil, err
	}
	if o.Scheduler, err = listen("scheduler_port", y.SchedulerPort); err != nil {
		return nil, err
	}
	if o.Admin, err = listen("admin_port", y.AdminPort); err != nil {
		return nil, err
	}
	r := &resourceManager{log: log.Named("drivers")}
	if r.pages, err = listen("web_port", y.WebPort); err != nil {
		return nil, err
	}
	o.WebAddress = net.JoinHostPort(y.Host, strconv.Itoa(r.pages.Addr().(*net.TCPAddr).Port))
	if r.manager, err = resourcemanager.New(o); err != nil {
		return nil, err
	}
	r.web, err = web.New(web.Options{Manager: r.manager, Log: log.Named("web"), Registerer: admin.registry})
	return r, err
}

// explained is a broker that says of YARN's applications also what only the resource manager knows.
type explained struct {
	*core.Broker
	d *brokerDaemon
}

// ExplainJob implements api.Broker.
func (e explained) ExplainJob(ctx context.Context, caller api.Caller, id string) (*v1.Explanation, error) {
	if e.d.yarn == nil {
		return e.Broker.ExplainJob(ctx, caller, id)
	}
	return e.d.yarn.manager.ExplainJob(ctx, caller, id)
}

// run serves until ctx ends, once the broker does.
func (r *resourceManager) run(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.manager.Run(ctx) })
	g.Go(func() error { return r.web.Serve(ctx, r.pages) })
	g.Go(func() error { return r.watchDrivers(ctx, r.log) })
	return g.Wait()
}

// nodeManager is an agent's side of YARN; nil if YARN is off.
func nodeManager(c *conf.Config, log *zap.Logger, metrics prometheus.Registerer) (service.Service, error) {
	y := c.YARN
	if !y.Enabled {
		return nil, nil
	}
	host := c.Agent.Host
	if host == "" {
		var err error
		if host, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	at, err := ownAddress(host, y.Host, net.LookupHost)
	if err != nil {
		return nil, usageError{err}
	}
	work, err := filepath.Abs(c.Agent.WorkDir)
	if err != nil {
		return nil, err
	}
	listen := func(port int) string { return net.JoinHostPort(at, strconv.Itoa(port)) }
	env := maps.Clone(y.Env)
	if _, ok := env["HADOOP_CONF_DIR"]; !ok && c.HDFS.ConfDir != "" {
		if env == nil {
			env = map[string]string{}
		}
		if env["HADOOP_CONF_DIR"], err = filepath.Abs(c.HDFS.ConfDir); err != nil {
			return nil, err
		}
	}
	mux, err := fileSystems(c, log)
	if err != nil {
		return nil, err
	}
	shuffle := shuffle.New(shuffle.Options{Listen: listen(y.ShufflePort), StateDir: filepath.Join(work, "shuffle"), Log: log.Named("shuffle"), Registerer: metrics})
	sparkShuffle := spark.New(spark.Options{Listen: listen(y.SparkPort), StateDir: filepath.Join(work, "spark_shuffle"), Log: log.Named("spark_shuffle"), Registerer: metrics})
	return nodemanager.New(nodemanager.Options{
		Host: host, Listen: listen(y.NodePort), HTTPListen: listen(y.NodeWebPort), Files: mux.Resolve, Auxiliary: []nodemanager.Auxiliary{shuffle, sparkShuffle},
		Env: env, Account: y.Account, HardCPU: y.HardCPU, ACLs: y.ACL.Enabled, Admins: admins(c), LogServer: y.Logs.Server, CacheBytes: int64(c.Agent.CacheSize),
		Logs: nodemanager.Logs{Aggregate: y.Logs.Aggregate, Dir: y.Logs.Dir, Suffix: y.Logs.Suffix}, Log: log.Named("yarn"),
	})
}

// admins is the access list of those who may see all applications and logs: operators, root, and who is configured so.
func admins(c *conf.Config) string {
	users, groups, _ := strings.Cut(c.YARN.ACL.Admins, " ")
	if strings.TrimSpace(users) == "*" {
		return "*"
	}
	list := append([]string{"root"}, c.Broker.Operators...)
	if users != "" {
		list = append(list, users)
	}
	return strings.Join(list, ",") + " " + groups
}

// ownAddress is the IPv4 address of this machine that a host name stands for: what masters dial must be where we listen.
// With a resource manager that other hosts reach, an address that they cannot reach is refused.
func ownAddress(host, manager string, lookup func(string) ([]string, error)) (string, error) {
	v4 := func(name string) (found net.IP) {
		addrs, err := lookup(name)
		if err != nil {
			return nil
		}
		for _, a := range addrs {
			if ip := net.ParseIP(a).To4(); ip != nil && (found == nil || found.IsLoopback()) {
				found = ip
			}
		}
		return found
	}
	if _, err := lookup(host); err != nil {
		return "", fmt.Errorf("agent.host %q does not resolve, and YARN's masters must reach this agent by it: set a name that every host resolves, or an IPv4 address", host)
	}
	ip := v4(host)
	switch m := v4(manager); {
	case ip == nil:
		return "", fmt.Errorf("agent.host %q has no IPv4 address, and YARN's clients know no other", host)
	case ip.IsUnspecified():
		return "", fmt.Errorf("agent.host %q is no address that others could reach: set this host's own name or IPv4 address", host)
	case ip.IsLoopback() && m != nil && !m.IsLoopback():
		return "", fmt.Errorf("agent.host %q is %s here, which no other host reaches (/etc/hosts?), but yarn.host is %s: set a name that every host resolves, or an IPv4 address", host, ip, manager)
	}
	return ip.String(), nil
}
