package resourcemanager

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// frameworkKind is what the jobs of applications are called in the broker.
const frameworkKind = "yarn"

// serviceName is that of the agents' side.
const serviceName = "yarn"

// Manager is the broker's side of YARN. It serves while Run runs.
type Manager struct {
	o       Options
	started time.Time
	stamp   atomic.Int64 // part of every application id it gives: its start in milliseconds, later than that of any other
	tokens  *delegations
	met     *metrics

	ready      chan struct{} // closed when all applications of before are known again
	isReady    sync.Once
	starts     chan *application // to be run
	over       chan struct{}     // closed when Run ends
	number     atomic.Int32      // of the last application id given
	snap       atomic.Pointer[snapshot]
	watcher    api.ClusterWatcher // the broker
	look       chan struct{}      // of capacity one: a snapshot is wanted
	rights     atomic.Pointer[map[string]Queue]
	masters    masters
	complaints complaints
	// begun says which containers of an agent were begun.
	begun func(ctx context.Context, a *application, t *attempt, where id.NodeID, all []*container) (map[id.ContainerID]bool, error)

	refreshing sync.Mutex                     // held while a snapshot is made
	told       map[string]wire.NodeStateProto // of agents, where it is not NS_RUNNING; guarded by refreshing

	mu      sync.Mutex // of what follows; never held while an application's is taken
	apps    map[id.ApplicationID]*application
	touched map[string]map[*application]struct{} // by agent
	old     []*application                       // ended, oldest first
	counts  struct{ submitted, completed, failed, killed int }
}

// New checks the options. Nothing is served before Run.
func New(o Options) (*Manager, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, o.Key)
	h.Write([]byte("fairway yarn delegation tokens"))
	m := &Manager{
		o: o, started: time.Now().Truncate(time.Millisecond), tokens: newDelegations(h.Sum(nil), o.Broker), ready: make(chan struct{}), starts: make(chan *application),
		over: make(chan struct{}), look: make(chan struct{}, 1), told: map[string]wire.NodeStateProto{}, apps: map[id.ApplicationID]*application{},
		touched: map[string]map[*application]struct{}{},
	}
	m.stamp.Store(m.started.UnixMilli())
	var watches bool
	if m.watcher, watches = o.Broker.(api.ClusterWatcher); !watches {
		return nil, fmt.Errorf("resourcemanager: a broker of another process does not tell of its agents")
	}
	s := newSnapshot(m.started)
	s.largest = amount{memory: 8192, vcores: 4}
	m.snap.Store(s)
	m.masters.queues = map[string]*masterQueue{}
	m.begun = m.askNode
	if m.met, err = newMetrics(m, o.Registerer); err != nil {
		return nil, fmt.Errorf("resourcemanager: %w", err)
	}
	if err := m.loadRights(); err != nil {
		return nil, fmt.Errorf("resourcemanager: %w", err)
	}
	return m, nil
}

func (m *Manager) loadRights() error {
	rights := map[string]Queue{}
	if m.o.Queues != nil {
		var err error
		if rights, err = m.o.Queues(); err != nil {
			return err
		}
	}
	m.rights.Store(&rights)
	return nil
}

// Ready is closed when the applications of an earlier broker are known and calls are answered.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run serves until ctx ends. It returns nil then, and otherwise why it cannot serve. It may be called once.
func (m *Manager) Run(ctx context.Context) error {
	defer close(m.over)
	group, ctx := errgroup.WithContext(ctx)
	servers, err := m.servers()
	if err != nil {
		return fmt.Errorf("resourcemanager: %w", err)
	}
	group.Go(func() error { return m.supervise(ctx, group) })
	group.Go(func() error {
		if err := m.recover(ctx); err != nil {
			return err
		}
		m.isReady.Do(func() { close(m.ready) })
		return m.watchCluster(ctx)
	})
	for _, s := range servers {
		group.Go(func() error { return s.server.Serve(ctx, s.listener) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("resourcemanager: %w", err)
	} else if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("resourcemanager: %w", err)
	}
	return nil
}

type door struct {
	server   *hadooprpc.Server
	listener net.Listener
}

func (m *Manager) servers() (out []door, err error) {
	for _, d := range []struct {
		listener net.Listener
		options  hadooprpc.Options
	}{
		{m.o.Client, hadooprpc.Options{Name: "client", Protocols: []hadooprpc.Protocol{m.clientProtocol()}, Simple: true, Secrets: m.clientSecret}},
		{m.o.Scheduler, hadooprpc.Options{Name: "scheduler", Protocols: []hadooprpc.Protocol{m.masterProtocol()}, Secrets: m.masterSecret}},
		{m.o.Admin, hadooprpc.Options{Name: "admin", Protocols: []hadooprpc.Protocol{m.adminProtocol(), m.stateProtocol()}, Simple: true}},
	} {
		if d.listener == nil {
			continue
		}
		d.options.Log, d.options.Registerer = m.o.Log.Named(d.options.Name), m.o.Registerer
		s, err := hadooprpc.NewServer(d.options)
		if err != nil {
			return nil, err
		}
		out = append(out, door{s, d.listener})
	}
	return out, nil
}

// supervise runs applications until ctx ends.
func (m *Manager) supervise(ctx context.Context, group *errgroup.Group) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-m.starts:
			group.Go(func() error {
				a.run(ctx)
				return nil
			})
		}
	}
}

// launch has an application run.
func (m *Manager) launch(a *application) error {
	select {
	case m.starts <- a:
		return nil
	case <-m.over:
		return hadooprpc.Errorf(hadooprpc.RetriableException, "the resource manager stops")
	}
}

// wait holds a call back until the applications of before are known: to say meanwhile that one is not would make its
// client submit it again.
func (m *Manager) wait(ctx context.Context) error {
	select {
	case <-m.ready:
		return nil
	default:
	}
	select {
	case <-m.ready:
		return nil
	case <-m.over:
		return hadooprpc.Errorf(hadooprpc.RetriableException, "the resource manager stops")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// find is the application of an id, nil if there is none.
func (m *Manager) find(i id.ApplicationID) *application {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apps[i]
}

// all are all applications, in no order.
func (m *Manager) all() []*application {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*application, 0, len(m.apps))
	for _, a := range m.apps {
		out = append(out, a)
	}
	return out
}

// retire keeps an application among those that have ended, and forgets the oldest beyond what is kept.
func (m *Manager) retire(a *application) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for agent, set := range m.touched {
		if delete(set, a); len(set) == 0 {
			delete(m.touched, agent)
		}
	}
	m.old = append(m.old, a)
	for len(m.old) > m.o.Kept {
		delete(m.apps, m.old[0].id)
		m.old = m.old[1:]
	}
}

// newID is an application id that nobody has.
func (m *Manager) newID() id.ApplicationID {
	return id.ApplicationID{Timestamp: m.stamp.Load(), Number: m.number.Add(1)}
}

// recover learns of the applications that an earlier broker left: live ones run again, ended ones are remembered.
func (m *Manager) recover(ctx context.Context) error {
	var jobs []*v1.Job
	ended := 0
	for page := ""; ; {
		r, err := m.o.Broker.ListJobs(ctx, operator, &v1.ListJobsRequest{PageSize: 1000, PageToken: page})
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			// The broker begins; it is in this process and says when it serves by serving.
			if !sleep(ctx, 10*time.Millisecond) {
				return nil
			}
			continue
		}
		for _, j := range r.Jobs {
			if j.Kind != frameworkKind {
				continue
			}
			if j.Phase >= v1.JobPhase_JOB_PHASE_SUCCEEDED {
				if ended++; ended > m.o.Kept {
					continue
				}
			}
			jobs = append(jobs, j)
		}
		if page = r.NextPageToken; page == "" {
			break
		}
	}
	if err := m.refresh(ctx); err != nil && ctx.Err() == nil {
		m.o.Log.Warn("the broker did not describe the cluster", zap.Error(err))
	}
	var live []*application
	for i := len(jobs) - 1; i >= 0; i-- { // oldest first
		j := jobs[i]
		if j.Phase >= v1.JobPhase_JOB_PHASE_SUCCEEDED {
			m.remember(j)
			continue
		}
		if j.FrameworkId == "" {
			continue
		}
		a := newApplication(m)
		a.framework, a.job, a.restoring = j.FrameworkId, j.Id, true
		a.name, a.user, a.queue = j.Name, j.User, queueOf(j.Role)
		live = append(live, a)
		if err := m.launch(a); err != nil {
			return nil
		}
	}
	for _, a := range live {
		for {
			a.mu.Lock()
			done, changed := !a.restoring, a.await()
			a.mu.Unlock()
			if done {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
	}
	for _, a := range m.all() {
		// The clock may have gone back since.
		if a.id.Timestamp >= m.stamp.Load() {
			m.stamp.Store(a.id.Timestamp + 1)
		}
	}
	if len(jobs) > 0 {
		m.o.Log.Info("applications are known again", zap.Int("live", len(live)), zap.Int("ended", len(jobs)-len(live)))
	}
	return nil
}

// sleep waits; it is false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
