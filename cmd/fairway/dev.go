package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/agent"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/conf"
)

// devOptions are the flags of fairway dev.
type devOptions struct {
	agents      int
	hosts       []string
	racks       []string
	cpu, memory string
	workDir     string
	listen      string
	verbose     bool
}

func (a *app) devCommand() *cobra.Command {
	var o devOptions
	c := &cobra.Command{
		Use: "dev", Short: "Run a broker and agents in one command, for development", Args: cobra.NoArgs,
		Long: `Dev runs a whole cluster on this machine: a broker and one or more agents, with nothing
else needed. Other commands find it by themselves. Ctrl-C ends it and all its tasks.`,
		Example: "  fairway dev\n  fairway dev --agents 3 --hosts node1,node2,node3 --racks /r1,/r1,/r2 --cpus 2 --memory 4GiB",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.dev(c.Context(), o, func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format, args...) })
		},
	}
	c.Flags().IntVar(&o.agents, "agents", 1, "number of agents")
	c.Flags().StringSliceVar(&o.hosts, "hosts", nil, "host names of the agents, as HDFS knows them")
	c.Flags().StringSliceVar(&o.racks, "racks", nil, "racks of the agents (default: as HDFS says)")
	c.Flags().StringVar(&o.cpu, "cpus", "", "cpu of each agent (default: the machine's, divided)")
	c.Flags().StringVar(&o.memory, "memory", "", "memory of each agent (default: the machine's, divided)")
	c.Flags().StringVar(&o.workDir, "work-dir", "", "keep everything here (default: a temporary folder, removed at the end)")
	c.Flags().StringVar(&o.listen, "listen", "", "TCP address of the broker (default: the Unix socket only)")
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "log to the terminal")
	return c
}

func (a *app) dev(ctx context.Context, o devOptions, say func(string, ...any)) (err error) {
	if len(o.hosts) > 0 {
		o.agents = len(o.hosts)
	}
	if o.agents < 1 || o.agents > 100 {
		return usagef("--agents %d: want 1 to 100", o.agents)
	}
	if len(o.racks) > 0 && len(o.racks) != o.agents {
		return usagef("--racks names %d racks for %d agents", len(o.racks), o.agents)
	}
	dir := o.workDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "fairway-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := os.Chmod(dir, 0o755); err != nil { // tasks of other accounts pass through it
			return err
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log := zap.NewNop()
	if o.verbose {
		c := a.conf.Log
		c.Format = "console"
		if log, err = logger(c); err != nil {
			return err
		}
	}
	bc := *a.conf
	bc.Broker.WorkDir, bc.Broker.TokenFile = filepath.Join(dir, "broker"), filepath.Join(dir, "token")
	bc.Broker.Listen, bc.Broker.Admin = o.listen, ""
	bc.Broker.Recovery = conf.Duration(3 * time.Second)
	broker, err := newBrokerDaemon(ctx, &bc, a.reload, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return broker.Run(ctx) })
	select {
	case <-broker.core.Ready():
	case <-ctx.Done():
		return g.Wait()
	}
	for i := range o.agents {
		one, err := a.devAgent(&bc, o, i, dir, broker.core, log)
		if err != nil {
			return errors.Join(err, stopped(g))
		}
		g.Go(func() error { return one.Run(ctx) })
	}
	say("A cluster of %d agent(s) runs on %s. Try:\n\n  fairway agents\n  fairway submit mapreduce wordcount /path/of/text /path/of/output\n\nCtrl-C ends it.\n",
		o.agents, bc.Broker.Socket)
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stopped ends what runs in g after a failure to start the rest. Its context ends with the first error.
func stopped(g *errgroup.Group) error {
	g.Go(func() error { return context.Canceled })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// devAgent makes one agent that talks with the broker in this process.
func (a *app) devAgent(c *conf.Config, o devOptions, i int, dir string, broker api.Broker, log *zap.Logger) (*agent.Agent, error) {
	ac := *c
	ac.Agent.WorkDir = filepath.Join(dir, fmt.Sprintf("agent%d", i+1))
	ac.Agent.Listen = "127.0.0.1:0"
	if err := declare(&ac.Agent.Resources, o.cpu, o.memory); err != nil {
		return nil, err
	}
	if len(o.hosts) > 0 {
		ac.Agent.Host = o.hosts[i]
	} else if o.agents > 1 {
		ac.Agent.Host = fmt.Sprintf("agent%d", i+1)
	}
	if len(o.racks) > 0 {
		ac.Agent.Rack = o.racks[i]
	}
	ao, err := agentOptions(&ac, log, nil)
	if err != nil {
		return nil, err
	}
	if o.agents > 1 {
		ao.Addresses = []string{} // they share the machine's
		divide(&ao, o.agents)
	}
	ao.Connect = func(ctx context.Context) (api.AgentSession, error) {
		return broker.OpenAgent(ctx, api.Caller{User: account(), UID: os.Geteuid(), Operator: true, Remote: "dev"})
	}
	ao.BrokerAddress = "unix://" + c.Broker.Socket
	ao.KillOnStop = true
	return agent.New(ao)
}

// divide gives each of n agents on one machine its part of what is not declared.
func divide(o *agent.Options, n int) {
	found := agent.Discover(o.WorkDir)
	if o.Resources == nil {
		o.Resources = &v1.Resources{}
	}
	if o.Resources.CpuMilli == 0 {
		o.Resources.CpuMilli = max(found.CpuMilli/int64(n), 100)
	}
	if o.Resources.MemoryBytes == 0 {
		o.Resources.MemoryBytes = found.MemoryBytes / int64(n)
	}
	if o.Resources.DiskBytes == 0 {
		o.Resources.DiskBytes = found.DiskBytes / int64(n)
	}
}
