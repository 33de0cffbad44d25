package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/adapters/hdfs"
	"fairway/broker/core"
	"fairway/broker/journal"
	"fairway/broker/server"
	"fairway/conf"
)

func (a *app) brokerCommand() *cobra.Command {
	var o struct{ listen, socket, workDir, admin string }
	var insecure bool
	c := &cobra.Command{
		Use: "broker", Short: "Run a broker", Args: cobra.NoArgs,
		Example: "  fairway broker\n  fairway broker --config /etc/fairway/fairway.yaml\n  FAIRWAY_BROKER_LISTEN=0.0.0.0:5050 fairway broker --insecure",
		RunE: func(c *cobra.Command, _ []string) error {
			b := &a.conf.Broker
			overrideString(c, "listen", &b.Listen, o.listen)
			overrideString(c, "socket", &b.Socket, o.socket)
			overrideString(c, "work-dir", &b.WorkDir, o.workDir)
			overrideString(c, "admin", &b.Admin, o.admin)
			b.Insecure = b.Insecure || insecure
			if a.tokenFile != "" {
				b.TokenFile = a.tokenFile
			}
			log, err := logger(a.conf.Log)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			d, err := newBrokerDaemon(c.Context(), a.conf, a.reload, log)
			if err != nil {
				return err
			}
			return d.Run(c.Context())
		},
	}
	c.Flags().StringVar(&o.listen, "listen", "", "TCP address for agents and remote clients")
	c.Flags().StringVar(&o.socket, "socket", "", "Unix socket for clients on this machine")
	c.Flags().StringVar(&o.workDir, "work-dir", "", "folder of the journal")
	c.Flags().StringVar(&o.admin, "admin", "", "address of metrics, health and profiles")
	c.Flags().BoolVar(&insecure, "insecure", false, "listen beyond loopback without TLS")
	return c
}

// overrideString lets a flag that was given win over the configuration.
func overrideString(c *cobra.Command, flag string, dst *string, v string) {
	if c.Flags().Changed(flag) {
		*dst = v
	}
}

// brokerDaemon is a broker with its journal and doors.
type brokerDaemon struct {
	conf    *conf.Config
	log     *zap.Logger
	journal *journal.Journal
	core    *core.Broker
	server  *server.Server
	admin   *admin
	yarn    *resourceManager // nil: off
}

// newBrokerDaemon opens the journal and the sockets. Whoever gets no error calls Run. reload reads the configuration again.
func newBrokerDaemon(ctx context.Context, c *conf.Config, reload func() (*conf.Config, error), log *zap.Logger) (_ *brokerDaemon, err error) {
	d := &brokerDaemon{conf: c, log: log}
	defer func() {
		if err != nil && d.journal != nil {
			err = errors.Join(err, d.journal.Close())
		}
	}()
	token, err := server.LoadToken(c.Broker.TokenFile)
	if err != nil {
		return nil, err
	}
	if d.admin, err = newAdmin(c.Broker.Admin, func() error {
		select {
		case <-d.core.Ready():
			return nil
		default:
			return errors.New("the journal is being recovered")
		}
	}); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Broker.WorkDir, 0o700); err != nil {
		return nil, fmt.Errorf("work folder of the broker: %w", err)
	}
	d.journal, err = journal.Open(ctx, journal.Options{Dir: c.Broker.WorkDir, Log: log.Named("journal"), Registerer: d.admin.registry})
	if err != nil {
		return nil, err
	}
	cc, err := coreConfig(c)
	if err != nil {
		return nil, err
	}
	d.core, err = core.New(core.Options{Journal: d.journal, Log: log.Named("core"), Registerer: d.admin.registry, Config: cc, Version: version})
	if err != nil {
		return nil, usageError{err}
	}
	so := server.Options{Broker: explained{d.core, d}, Socket: c.Broker.Socket, Listen: c.Broker.Listen, CertFile: c.Broker.TLS.Cert, KeyFile: c.Broker.TLS.Key,
		Insecure: c.Broker.Insecure, Token: token, VerifyJob: d.core.VerifyJobToken, Operators: c.Broker.Operators, Log: log.Named("server")}
	if so.Racks, err = racksOf(c, log); err != nil {
		return nil, err
	}
	if d.server, err = server.New(so); err != nil {
		return nil, err
	}
	if d.yarn, err = newResourceManager(c, reload, d.core, token, d.admin, log.Named("yarn")); err != nil {
		return nil, err
	}
	return d, nil
}

// racksOf asks the configured HDFS for racks; nil without one.
func racksOf(c *conf.Config, log *zap.Logger) (server.Racks, error) {
	url, err := hdfs.DefaultURL(hdfsOptions(c, log))
	if err != nil {
		return nil, usageError{err}
	}
	if !strings.HasPrefix(url, "hdfs:") {
		return nil, nil
	}
	racks, err := hdfs.NewRacks(hdfsOptions(c, log), "")
	if err != nil {
		return nil, usageError{err}
	}
	return racks, nil
}

func coreConfig(c *conf.Config) (core.Config, error) {
	b := c.Broker
	out := core.Config{
		OfferTimeout: time.Duration(b.OfferTimeout), NodeWait: time.Duration(b.NodeWait), RackWait: time.Duration(b.RackWait),
		Heartbeat: time.Duration(b.Heartbeat), AgentTimeout: time.Duration(b.AgentTimeout), AgentGone: time.Duration(b.AgentGone),
		RecoveryPause: time.Duration(b.Recovery), AgentRate: b.AgentRate, CoordinatorShare: b.LauncherShare, JobsKept: b.JobsKept,
		// A framework has time for a grace of its own, and for its tasks to end.
		ReclaimAfter: time.Duration(b.ReclaimAfter), ReclaimDeadline: max(30*time.Second, 2*time.Duration(c.YARN.Preemption)),
	}
	if out.ReclaimAfter == 0 {
		out.ReclaimAfter = -1
	}
	for _, r := range c.Roles {
		guarantee, err := resources(r.Guarantee, "")
		if err != nil {
			return out, err
		}
		limit, err := resources(r.Limit, "")
		if err != nil {
			return out, err
		}
		out.Roles = append(out.Roles, core.Role{Path: r.Path, Weight: r.Weight, Guarantee: guarantee, Limit: limit})
	}
	return out, nil
}

// Run serves until ctx ends, a signal most often.
func (d *brokerDaemon) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.journal.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.core.Run(ctx) })
	g.Go(func() error {
		// The sockets are open already and callers wait in them. Served earlier, a coordinator that comes back would hear
		// that its token is wrong, as the key that tells is still being recovered.
		select {
		case <-d.core.Ready():
			return d.server.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { return d.admin.Run(ctx) })
	if d.yarn != nil {
		g.Go(func() error { return d.yarn.run(ctx, d.core.Ready()) })
	}
	g.Go(func() error {
		select {
		case <-d.journal.Failed():
			return d.journal.Err()
		case <-ctx.Done():
			return nil
		}
	})
	d.log.Info("broker serves", zap.String("socket", d.conf.Broker.Socket), zap.String("listen", d.server.Address()), zap.String("admin", d.admin.Address()),
		zap.String("version", version))
	return g.Wait()
}
