package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	rpc "fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

const (
	clientProtocol = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB"
	masterProtocol = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB"
	newAskEvery    = 100 // calls of a master: 1 %
	starting       = 16  // applications at a time
)

// Options of Run.
type Options struct {
	Client, Scheduler string        // addresses of ApplicationClientProtocol and ApplicationMasterProtocol
	Pid               int           // the resource manager's process
	Masters           int           // how many
	Warm              time.Duration // before it is measured
	For               time.Duration // that is measured
	User              string        // who submits
	MemoryMB          int64         // of each container that is asked for
}

// Result of Run. Calls, Asks and Containers are those of the time that was measured.
type Result struct {
	Cores      float64 // cpu time of the process by time that has passed
	Calls      int
	Asks       int // calls with a new ask
	Containers int // that arrived; each is given back with the next call
	P50, P99   time.Duration
	Max        time.Duration
}

// Run registers the masters, lets them call once a second, evenly spread, and ends them. It fails if a call fails or if
// less than 99 % of the calls that the time asks for were made.
func Run(ctx context.Context, o Options) (r Result, err error) {
	c, err := rpc.Dial(ctx, o.Client, rpc.ClientOptions{Protocol: clientProtocol, User: o.User})
	if err != nil {
		return r, err
	}
	defer c.Close()
	masters := make([]*master, o.Masters)
	defer func() {
		if e := end(context.WithoutCancel(ctx), masters); err == nil {
			err = e
		}
	}()
	g, starts := errgroup.WithContext(ctx)
	g.SetLimit(starting)
	for i := range masters {
		g.Go(func() error {
			m, err := start(starts, c, o, i)
			if err != nil {
				return fmt.Errorf("master %d: %w", i+1, err)
			}
			masters[i] = m
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return r, err
	}
	var t tally
	calls, stop := context.WithCancel(ctx)
	defer stop()
	h, beats := errgroup.WithContext(calls)
	for i, m := range masters {
		h.Go(func() error {
			if err := m.beat(beats, &t, time.Duration(i)*time.Second/time.Duration(o.Masters)); err != nil && calls.Err() == nil {
				return fmt.Errorf("master %d: %w", i+1, err)
			}
			return nil
		})
	}
	if err = pass(beats, o.Warm); err == nil {
		r, err = t.measure(beats, o)
	}
	stop()
	if e := h.Wait(); e != nil {
		return r, e
	}
	if err == nil && float64(r.Calls) < 0.99*float64(o.Masters)*o.For.Seconds() {
		err = fmt.Errorf("%d calls were made, not %.0f", r.Calls, float64(o.Masters)*o.For.Seconds())
	}
	return r, errors.Join(err, ctx.Err())
}

// pass waits.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tally is what the masters have seen while it was on.
type tally struct {
	mu               sync.Mutex
	on               bool
	took             []time.Duration
	asks, containers int
}

func (t *tally) add(took time.Duration, asked bool, containers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return
	}
	t.took = append(t.took, took)
	if asked {
		t.asks++
	}
	t.containers += containers
}

func (t *tally) measure(ctx context.Context, o Options) (Result, error) {
	before, err := spent(o.Pid)
	if err != nil {
		return Result{}, err
	}
	begin := time.Now()
	t.mu.Lock()
	t.on, t.took = true, make([]time.Duration, 0, int(float64(o.Masters)*(o.For.Seconds()+1)))
	t.mu.Unlock()
	if err := pass(ctx, o.For); err != nil {
		return Result{}, err
	}
	after, err := spent(o.Pid)
	if err != nil {
		return Result{}, err
	}
	passed := time.Since(begin)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on = false
	slices.Sort(t.took)
	r := Result{Cores: math.Round((after-before).Seconds()/passed.Seconds()*1000) / 1000, Calls: len(t.took), Asks: t.asks, Containers: t.containers}
	if n := len(t.took); n > 0 {
		r.P50, r.P99, r.Max = t.took[n/2], t.took[n*99/100], t.took[n-1]
	}
	return r, nil
}

// spent is the cpu time of a process, of all its threads.
func spent(pid int) (time.Duration, error) {
	const ticks = 100 // per second: USER_HZ, the same on every Linux that Go runs on
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command's name may hold spaces and brackets.
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	var user, system int64
	if _, err := fmt.Sscan(f[11], &user); err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(f[12], &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * time.Second / ticks, nil
}

// master is an ApplicationMaster.
type master struct {
	c        *rpc.Client
	at       int // its place among the masters: its new asks are spread by it
	memory   int64
	response int32
	release  []*wire.ContainerIdProto
	calls    int
}

// start submits an unmanaged application, waits for its token and registers its master.
func start(ctx context.Context, c *rpc.Client, o Options, at int) (*master, error) {
	var app wire.GetNewApplicationResponseProto
	if err := c.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, &app); err != nil {
		return nil, fmt.Errorf("get an application: %w", err)
	}
	submission := &wire.ApplicationSubmissionContextProto{
		ApplicationId: app.ApplicationId, ApplicationName: proto.String(fmt.Sprintf("heartbeat %d", at+1)), UnmanagedAm: proto.Bool(true),
		Resource: token.Resource(o.MemoryMB, 1), MaxAppAttempts: proto.Int32(1), AmContainerSpec: &wire.ContainerLaunchContextProto{},
	}
	if err := c.Call(ctx, "submitApplication", &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: submission}, &wire.SubmitApplicationResponseProto{}); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	var who writable.Token
	for {
		var a wire.GetApplicationReportResponseProto
		if err := c.Call(ctx, "getApplicationReport", &wire.GetApplicationReportRequestProto{ApplicationId: app.ApplicationId}, &a); err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		r := a.GetApplicationReport()
		if t := r.GetAmRmToken(); t != nil {
			who = writable.TokenFrom(t)
			break
		}
		if s := r.GetYarnApplicationState(); s > wire.YarnApplicationStateProto_ACCEPTED {
			return nil, fmt.Errorf("the application is %v: %s", s, r.GetDiagnostics())
		}
		if err := pass(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
	m := &master{at: at, memory: o.MemoryMB}
	var err error
	if m.c, err = rpc.Dial(ctx, o.Scheduler, rpc.ClientOptions{Protocol: masterProtocol, Token: &who}); err != nil {
		return nil, err
	}
	q := &wire.RegisterApplicationMasterRequestProto{Host: proto.String("localhost"), RpcPort: proto.Int32(-1), TrackingUrl: proto.String("")}
	if err := m.c.Call(ctx, "registerApplicationMaster", q, &wire.RegisterApplicationMasterResponseProto{}); err != nil {
		return nil, errors.Join(fmt.Errorf("register: %w", err), m.c.Close())
	}
	return m, nil
}

// beat calls once a second until ctx ends.
func (m *master) beat(ctx context.Context, t *tally, offset time.Duration) error {
	if err := pass(ctx, offset); err != nil {
		return nil
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if err := m.allocate(ctx, t); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *master) allocate(ctx context.Context, t *tally) error {
	q := &wire.AllocateRequestProto{ResponseId: proto.Int32(m.response), Progress: proto.Float32(0.5), Release: m.release}
	m.calls++
	asks := (m.calls+m.at)%newAskEvery == 0
	if asks {
		q.Ask = []*wire.ResourceRequestProto{{
			Priority: &wire.PriorityProto{Priority: proto.Int32(20)}, ResourceName: proto.String("*"), Capability: token.Resource(m.memory, 1),
			NumContainers: proto.Int32(1), RelaxLocality: proto.Bool(true),
		}}
	}
	var a wire.AllocateResponseProto
	begin := time.Now()
	if err := m.c.Call(ctx, "allocate", q, &a); err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	t.add(time.Since(begin), asks, len(a.GetAllocatedContainers()))
	m.response, m.release = a.GetResponseId(), nil
	for _, c := range a.GetAllocatedContainers() {
		m.release = append(m.release, c.GetId())
	}
	return nil
}

// end unregisters those that were started.
func end(ctx context.Context, masters []*master) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(starting)
	for i, m := range masters {
		if m == nil {
			continue
		}
		g.Go(func() error {
			q := &wire.FinishApplicationMasterRequestProto{Diagnostics: proto.String(""), TrackingUrl: proto.String(""), FinalApplicationStatus: wire.FinalApplicationStatusProto_APP_SUCCEEDED.Enum()}
			var a wire.FinishApplicationMasterResponseProto
			err := m.c.Call(ctx, "finishApplicationMaster", q, &a)
			if err == nil && !a.GetIsUnregistered() {
				err = errors.New("finishApplicationMaster did not answer true")
			}
			if err != nil {
				err = fmt.Errorf("master %d: finish: %w", i+1, err)
			}
			return errors.Join(err, m.c.Close())
		})
	}
	return g.Wait()
}
