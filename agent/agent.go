package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	"fairway/agent/fetch"
	"fairway/agent/sandbox"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Agent runs tasks on this host.
type Agent struct {
	o        Options
	log      *zap.Logger
	metrics  *metrics
	lock     *os.File
	store    *checkpoint.Store
	runtime  *container.Runtime
	tree     *sandbox.Tree
	fetcher  *fetch.Fetcher
	services map[string]service.Service
	listener net.Listener
	info     *v1.AgentInfo
	served   *served
	accounts accounts
	binary   string // absolute path of the fairway binary that tasks use

	id    atomic.Pointer[string]
	ready atomic.Bool

	serving chan struct{} // closed when all services have started

	events chan event // to the owner
}

// New checks the options, locks the work folder and starts listening; Run does the rest. Whoever does not call Run calls Close.
func New(o Options) (_ *Agent, err error) {
	if o.WorkDir == "" || o.Connect == nil {
		return nil, errors.New("agent: WorkDir and Connect are needed")
	}
	if o.WorkDir, err = filepath.Abs(o.WorkDir); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.DataListen == "" {
		o.DataListen = "127.0.0.1:0"
	}
	if o.SandboxMaxAge == 0 {
		o.SandboxMaxAge = 24 * time.Hour
	}
	if o.DiskPressure == 0 {
		o.DiskPressure = defaultDiskPressure
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 10 << 30
	}
	if o.QuotaInterval == 0 {
		o.QuotaInterval = 5 * time.Second
	}
	a := &Agent{o: o, log: o.Log, served: newServed(), services: map[string]service.Service{}, serving: make(chan struct{}), events: make(chan event, 1024)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	// Users other than the agent's pass through to their sandboxes; they cannot list anything on the way.
	if err := os.MkdirAll(o.WorkDir, 0o711); err != nil {
		return nil, fmt.Errorf("make work folder: %w", err)
	}
	if a.lock, err = lock(filepath.Join(o.WorkDir, "lock")); err != nil {
		return nil, err
	}
	if a.store, err = checkpoint.Open(filepath.Join(o.WorkDir, "checkpoint.db")); err != nil {
		return nil, err
	}
	if a.tree, err = sandbox.New(o.WorkDir); err != nil {
		return nil, fmt.Errorf("make sandboxes: %w", err)
	}
	a.runtime, err = container.New(container.Options{Dir: filepath.Join(o.WorkDir, "containers"), NoCgroups: o.NoCgroups, CgroupRoot: o.CgroupRoot})
	if err != nil {
		return nil, fmt.Errorf("prepare containers: %w", err)
	}
	sources := map[string]fetch.Source{"file": fetch.File{}}
	web := fetch.NewHTTP()
	sources["http"], sources["https"] = web, web
	for scheme, s := range o.Sources {
		sources[scheme] = s
	}
	if a.fetcher, err = fetch.New(fetch.Options{CacheDir: filepath.Join(o.WorkDir, "cache"), CacheBytes: o.CacheBytes, Sources: sources}); err != nil {
		return nil, err
	}
	for _, s := range o.Services {
		if a.services[s.Name()] != nil || !sandbox.ValidName(s.Name()) {
			return nil, fmt.Errorf("service name %q is not valid or used twice", s.Name())
		}
		a.services[s.Name()] = s
	}
	if a.binary, err = stage(o.Binary, o.WorkDir); err != nil {
		return nil, err
	}
	if a.listener, err = listen(o.DataListen, filepath.Join(o.WorkDir, "data.port")); err != nil {
		return nil, fmt.Errorf("listen for data: %w", err)
	}
	if a.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	if a.info, err = a.discover(); err != nil {
		return nil, err
	}
	empty := ""
	a.id.Store(&empty)
	return a, nil
}

// lock takes the work folder for this process. The kernel frees it with the process, whatever ends that.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock work folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock work folder: %w", err)
	}
	return f, nil
}

// listen opens the data server's port. Where any port will do, it takes the one that it had the last time, which is written
// down in file: tasks that outlived an earlier agent have told others that address.
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
	if _, port, err = net.SplitHostPort(l.Addr().String()); err == nil {
		err = os.WriteFile(file, []byte(port), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// DataAddress is where the data server listens, as others reach it: host:port.
func (a *Agent) DataAddress() string { return a.info.DataAddress }

// ID is the id that the broker gave; empty before the first registration.
func (a *Agent) ID() string { return *a.id.Load() }

// Info is what the agent tells the broker about its host. It must not be changed.
func (a *Agent) Info() *v1.AgentInfo { return a.info }

// Ready tells whether the agent is registered now.
func (a *Agent) Ready() bool { return a.ready.Load() }

// Run serves until ctx ends (nil), the broker sends the agent away (ErrShutdown) or something of its own breaks.
func (a *Agent) Run(ctx context.Context) error {
	defer a.Close()
	// The work of tasks goes on for a while after ctx when they are to be ended with it.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	tasks := &errgroup.Group{}
	o := newOwner(a, work, tasks)
	if err := o.recover(); err != nil {
		return err
	}
	for _, s := range a.o.Services {
		dir := filepath.Join(a.o.WorkDir, "services", s.Name())
		if err := serviceFolder(dir); err != nil {
			return err
		}
		if err := s.Start(ctx, a.hostOf(work, s.Name(), dir)); err != nil {
			return fmt.Errorf("start service %s: %w", s.Name(), err)
		}
		defer func() {
			if err := s.Stop(); err != nil {
				a.log.Warn("service did not stop cleanly", zap.String("service", s.Name()), zap.Error(err))
			}
		}()
	}
	close(a.serving)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.serveData(ctx) })
	g.Go(func() error { return a.keepSession(ctx) })
	g.Go(func() error { return a.clean(ctx) })
	g.Go(func() error {
		defer endWork()
		return o.run(ctx)
	})
	err := g.Wait()
	tasks.Wait()
	o.detach()
	a.runtime.Close()
	return err
}

// Close frees what New took; Run does it itself.
func (a *Agent) Close() error {
	var problems []error
	if a.listener != nil {
		if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
			problems = append(problems, err)
		}
	}
	if a.store != nil {
		problems = append(problems, a.store.Close())
	}
	if a.lock != nil {
		a.lock.Close()
	}
	a.metrics.unregister()
	return errors.Join(problems...)
}
