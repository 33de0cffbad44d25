package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/agent"
	"fairway/agent/fetch"
	"fairway/agent/service"
	"fairway/broker/api"
	"fairway/broker/api/client"
	"fairway/broker/resource"
	"fairway/conf"
	"fairway/frameworks/storage"
)

func (a *app) agentCommand() *cobra.Command {
	var endTasks bool
	var o struct{ workDir, listen, admin, host, rack, cpu, memory string }
	c := &cobra.Command{
		Use: "agent", Short: "Run an agent on this host", Args: cobra.NoArgs,
		Example: "  fairway agent --broker broker.example.com:5050 --token-file /etc/fairway/token\n  fairway agent --host node7.example.com --cpus 8 --memory 24GiB",
		RunE: func(c *cobra.Command, _ []string) error {
			g := &a.conf.Agent
			overrideString(c, "work-dir", &g.WorkDir, o.workDir)
			overrideString(c, "listen", &g.Listen, o.listen)
			overrideString(c, "admin", &g.Admin, o.admin)
			overrideString(c, "host", &g.Host, o.host)
			overrideString(c, "rack", &g.Rack, o.rack)
			if a.broker != "" {
				g.Broker = a.broker
			}
			if a.tokenFile != "" {
				g.TokenFile = a.tokenFile
			}
			if err := declare(&g.Resources, o.cpu, o.memory); err != nil {
				return err
			}
			log, err := logger(a.conf.Log)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			d, err := newAgentDaemon(a.conf, log, endTasks)
			if err != nil {
				return err
			}
			return d.Run(c.Context())
		},
	}
	c.Flags().StringVar(&o.workDir, "work-dir", "", "folder of sandboxes, cache and checkpoint")
	c.Flags().StringVar(&o.listen, "listen", "", "address of logs and map output")
	c.Flags().StringVar(&o.admin, "admin", "", "address of metrics, health and profiles")
	c.Flags().StringVar(&o.host, "host", "", "this host's name, as HDFS knows it")
	c.Flags().StringVar(&o.rack, "rack", "", "this host's rack (default: as HDFS says)")
	c.Flags().BoolVar(&endTasks, "end-tasks", false, "end all tasks when the agent stops (default: they live on)")
	c.Flags().StringVar(&o.cpu, "cpus", "", "cpu to offer (default: found)")
	c.Flags().StringVar(&o.memory, "memory", "", "memory to offer (default: found)")
	return c
}

// declare puts amounts from flags over the configuration's.
func declare(r *conf.Resources, cpu, memory string) error {
	if cpu != "" {
		v, err := resource.ParseCPU(cpu)
		if err != nil {
			return usageError{err}
		}
		r.CPU = (*conf.CPU)(&v)
	}
	if memory != "" {
		v, err := resource.ParseBytes(memory)
		if err != nil {
			return usageError{err}
		}
		r.Memory = (*conf.Bytes)(&v)
	}
	return nil
}

// agentDaemon is an agent with its connection to the broker.
type agentDaemon struct {
	agent  *agent.Agent
	client *client.Client
	admin  *admin
	log    *zap.Logger
}

func newAgentDaemon(c *conf.Config, log *zap.Logger, endTasks bool) (*agentDaemon, error) {
	d := &agentDaemon{log: log}
	token := c.Agent.TokenFile
	if _, err := os.Stat(token); err != nil && len(c.Agent.Broker) > 0 && (c.Agent.Broker[0] == '/' || len(c.Agent.Broker) > 5 && c.Agent.Broker[:5] == "unix:") {
		token = "" // a Unix socket needs none
	}
	var err error
	if d.client, err = client.Dial(client.Options{Address: c.Agent.Broker, TokenFile: token, CAFile: c.Broker.TLS.CA}); err != nil {
		return nil, usageError{err}
	}
	if d.admin, err = newAdmin(c.Agent.Admin, func() error {
		if !d.agent.Ready() {
			return errors.New("not registered with the broker")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	o, err := agentOptions(c, log, d.admin.registry)
	if err != nil {
		return nil, err
	}
	o.Connect = func(ctx context.Context) (api.AgentSession, error) { return d.client.OpenAgent(ctx, api.Caller{}) }
	o.KillOnStop = endTasks
	o.BrokerAddress, o.AdminAddress, o.Registerer = c.Agent.Broker, d.admin.Address(), d.admin.registry
	d.agent, err = agent.New(o)
	return d, err
}

// agentOptions are the options that the configuration decides; metrics are of what is opened for them, nil: of none.
func agentOptions(c *conf.Config, log *zap.Logger, metrics prometheus.Registerer) (agent.Options, error) {
	g := c.Agent
	declared, err := resources(g.Resources, g.Ports)
	if err != nil {
		return agent.Options{}, err
	}
	env := map[string]string{}
	if dir := c.HDFS.ConfDir; dir != "" {
		if env["HADOOP_CONF_DIR"], err = filepath.Abs(dir); err != nil {
			return agent.Options{}, err
		}
	}
	if ca := c.Broker.TLS.CA; ca != "" {
		env["FAIRWAY_BROKER_TLS_CA"] = ca
	}
	mux := storage.NewMux(openers(c, log), "")
	var services []service.Service
	if yarn, err := nodeManager(c, log, metrics); err != nil {
		return agent.Options{}, err
	} else if yarn != nil {
		services = append(services, yarn)
	}
	return agent.Options{
		Services: services,
		TaskEnv:  env,
		WorkDir:  g.WorkDir, DataListen: g.Listen, Resources: declared, Host: g.Host, Addresses: g.Addresses, Rack: g.Rack, Attributes: g.Attributes,
		Sources: map[string]fetch.Source{"hdfs": storedFiles{mux}}, SandboxMaxAge: time.Duration(g.SandboxAge), DiskPressure: 1 - g.SandboxFree,
		CacheBytes: int64(g.CacheSize), Log: log.Named("agent"), Version: version,
	}, nil
}

// Run serves until ctx ends; tasks live on.
func (d *agentDaemon) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.client.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := d.agent.Run(ctx); err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		return nil
	})
	g.Go(func() error { return d.admin.Run(ctx) })
	d.log.Info("agent runs", zap.String("broker", d.client.Address()), zap.String("data", d.agent.DataAddress()), zap.String("admin", d.admin.Address()),
		zap.String("version", version))
	return g.Wait()
}
