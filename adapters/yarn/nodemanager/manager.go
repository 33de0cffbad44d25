package nodemanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/localize"
	"fairway/adapters/yarn/nodemanager/logs"
	"fairway/adapters/yarn/nodemanager/memory"
	"fairway/adapters/yarn/tfile"
	"fairway/adapters/yarn/token"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

// Manager is the service.
type Manager struct {
	o     Options
	log   *zap.Logger
	host  service.Host
	found Found

	local, logs, private string // folders
	node                 id.NodeID
	httpPort             int
	begun                time.Time
	cache                *localize.Cache
	monitor              *memory.Monitor
	metrics              *metrics
	refusals             refusals
	aggregator           *logs.Aggregator
	auxiliary            []Auxiliary // that have started

	ctx  context.Context
	end  context.CancelFunc
	work *errgroup.Group

	mu         sync.Mutex
	apps       map[id.ApplicationID]*application
	containers map[id.ContainerID]*container
	appeared   chan struct{} // closed when an application becomes known, and made again
}

func newManager(o Options) *Manager {
	return &Manager{o: o, log: o.Log, apps: map[id.ApplicationID]*application{}, containers: map[id.ContainerID]*container{}, appeared: make(chan struct{})}
}

// Name implements service.Service.
func (*Manager) Name() string { return Name }

// Attributes implements service.Service.
func (m *Manager) Attributes() map[string]string {
	all := map[string]string{AttributeAddress: m.node.String(), AttributeHTTP: net.JoinHostPort(m.node.Host, strconv.Itoa(m.httpPort))}
	if m.aggregates() {
		all[AttributeLogs] = LogsAggregated
	}
	return all
}

// Handler implements service.Service: logs have a port of their own.
func (*Manager) Handler() http.Handler { return nil }

// Account implements service.Service: the submitter's own account if there is one that is not root, else the configured one.
func (m *Manager) Account(spec *v1.TaskSpec) string {
	g := &grant.Grant{}
	if proto.Unmarshal(spec.GetData(), g) == nil && tfile.ValidUser(g.User) {
		if a, err := m.host.Account(g.User); err == nil && a.Name == g.User && a.UID != 0 {
			return a.Name
		}
	}
	return m.o.Account
}

// Start implements service.Service.
func (m *Manager) Start(ctx context.Context, host service.Host) (err error) {
	m.host, m.begun = host, time.Now()
	if m.log == nil {
		m.log = cmp.Or(host.Log, zap.NewNop())
	}
	if m.o.Registerer == nil {
		m.o.Registerer = host.Registerer
	}
	m.local, m.logs, m.private = filepath.Join(host.WorkDir, "local"), filepath.Join(host.WorkDir, "logs"), filepath.Join(host.WorkDir, "private")
	for _, d := range []string{m.local, m.logs} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return err
		}
	}
	for _, d := range []string{"applications", "containers"} {
		if err := os.MkdirAll(filepath.Join(m.private, d), 0o700); err != nil {
			return err
		}
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	m.cache, err = localize.New(localize.Options{Dir: m.local, Private: filepath.Join(m.private, "cache"), BootID: string(boot), Files: m.o.Files, Bytes: m.o.CacheBytes, Log: m.log})
	if err != nil {
		return fmt.Errorf("localised files: %w", err)
	}
	m.ctx, m.end = context.WithCancel(context.WithoutCancel(ctx))
	m.work = &errgroup.Group{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Stop())
		}
	}()
	if err := m.loadApplications(); err != nil {
		return err
	}
	m.monitor = memory.New(memory.Options{Over: m.overLimit, Interval: m.o.Round, Log: m.log, Registerer: m.o.Registerer})
	if m.metrics, err = newMetrics(m); err != nil {
		return err
	}
	m.found = find(m.o.Env, os.Getenv, onPath, matches)
	m.tell()
	for _, aux := range m.o.Auxiliary {
		if err := aux.Start(m.ctx); err != nil {
			return fmt.Errorf("service %s: %w", aux.Name(), err)
		}
		m.auxiliary = append(m.auxiliary, aux)
	}
	rpc, err := listen(m.o.Listen, filepath.Join(m.private, "port"))
	if err != nil {
		return fmt.Errorf("container management: %w", err)
	}
	web, err := listen(m.o.HTTPListen, filepath.Join(m.private, "http.port"))
	if err != nil {
		return errors.Join(fmt.Errorf("logs: %w", err), rpc.Close())
	}
	m.node = id.NodeID{Host: m.o.Host, Port: int32(rpc.Addr().(*net.TCPAddr).Port)}
	m.httpPort = web.Addr().(*net.TCPAddr).Port
	server, err := hadooprpc.NewServer(hadooprpc.Options{Name: "nodemanager", Protocols: []hadooprpc.Protocol{m.protocol()}, Secrets: m.secret,
		Limits: hadooprpc.Limits{Connections: 4096}, Log: m.log, Registerer: m.o.Registerer})
	if err != nil {
		return errors.Join(err, rpc.Close(), web.Close())
	}
	m.serve("container management", func() error { return server.Serve(m.ctx, rpc) })
	m.serve("logs", func() error { return m.serveWeb(web) })
	m.work.Go(func() error { return m.monitor.Run(m.ctx) })
	m.work.Go(m.sweep)
	return m.startAggregation()
}

// serve runs a server; that it ended early is said at once, and by Stop.
func (m *Manager) serve(what string, f func() error) {
	m.work.Go(func() error {
		err := f()
		if err != nil {
			m.log.Error("a server of this node has ended", zap.String("server", what), zap.Error(err))
		}
		return err
	})
}

// tell says what containers on this host get.
func (m *Manager) tell() {
	var fields []zap.Field
	for _, k := range slices.Sorted(maps.Keys(m.found.Env)) {
		if k != "PATH" {
			fields = append(fields, zap.String(k, m.found.Env[k]+" ("+m.found.From[k]+")"))
		}
	}
	m.log.Info("environment of YARN's containers", append(fields, zap.Int("java", m.found.Java))...)
	if m.found.Env["JAVA_HOME"] == "" {
		m.log.Warn("no Java was found: containers that need it will fail; set yarn.env.JAVA_HOME")
	}
}

// Found tells what containers get of this host. It may be called after Start.
func (m *Manager) Found() Found { return m.found }

// listen opens a port; where any will do, the one that it had the last time: others were told that address.
func listen(address, file string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		if b, err := os.ReadFile(file); err == nil {
			if l, err := net.Listen("tcp", net.JoinHostPort(host, string(b))); err == nil {
				return l, nil
			}
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, strconv.AppendInt(nil, int64(l.Addr().(*net.TCPAddr).Port), 10), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Stop implements service.Service.
func (m *Manager) Stop() error {
	m.end()
	err := m.work.Wait()
	for _, aux := range slices.Backward(m.auxiliary) {
		err = errors.Join(err, aux.Stop())
	}
	m.metrics.unregister()
	return errors.Join(err, m.cache.Close())
}

// secret finds the password of an NM token.
func (m *Manager) secret(ctx context.Context, identifier []byte) (hadooprpc.Secret, error) {
	t, err := token.ParseNM(identifier)
	if err != nil {
		return hadooprpc.Secret{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "not an NM token")
	}
	if t.Node != m.node {
		return hadooprpc.Secret{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "Given NMToken for application : %s is not valid for current node manager.expected : %s found : %s", t.Attempt, m.node, t.Node)
	}
	a, err := m.application(ctx, t.Attempt.Application)
	if err != nil {
		return hadooprpc.Secret{}, err
	}
	return hadooprpc.Secret{Password: token.Password(a.keys.NM, identifier), User: t.Attempt.String(), Kind: token.KindNM}, nil
}
