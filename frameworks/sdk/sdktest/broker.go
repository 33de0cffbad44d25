package sdktest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Agent is a host that runs tasks.
type Agent struct {
	ID, Host, Rack string
	Addresses      []string
	DataAddress    string
	CPUMilli       int64
	Memory         int64
}

// Exit is how a task's process ended; the zero value is exit code 0.
type Exit struct {
	Code    int32
	Reason  v1.TaskReason
	Message string
}

// Runner runs a task until it ends or ctx does, which is a kill.
type Runner func(ctx context.Context, a Agent, t *v1.TaskSpec) Exit

// Broker is a broker for tests. Its methods are safe for concurrent use.
type Broker struct {
	Secret []byte
	run    Runner

	mu         sync.Mutex
	wg         sync.WaitGroup
	agents     []*agent
	frameworks map[string]*framework
	offers     map[uint64]*offer
	nextOffer  uint64
	nextID     int
	sessions   []*session
	down       bool
	refusals   int
	trace      func(string)
}

type agent struct {
	Agent
	freeCPU, freeMemory int64
	cut, gone           bool
	held                []*v1.TaskStatus // statuses of an agent that is cut off
	from                []*task
}

type framework struct {
	id, job  string
	session  *session
	groups   map[uint64]*v1.RequestGroup
	tasks    map[uint64]*task
	next     uint64
	final    *v1.Unregister
	ended    chan struct{}
	progress *v1.JobProgress
}

type task struct {
	fw     *framework
	spec   *v1.TaskSpec
	agent  *agent
	state  v1.TaskState
	last   *v1.TaskStatus // terminal, until acknowledged
	kill   context.CancelFunc
	killed bool
}

type offer struct {
	id    uint64
	fw    *framework
	agent *agent
	group *v1.RequestGroup
	shape *v1.Resources
}

// New returns a broker whose agents run tasks by run.
func New(run Runner, agents ...Agent) *Broker {
	b := &Broker{Secret: []byte("a job's secret"), run: run, frameworks: make(map[string]*framework), offers: make(map[uint64]*offer)}
	for _, a := range agents {
		b.AddAgent(a)
	}
	return b
}

// AddAgent adds a host.
func (b *Broker) AddAgent(a Agent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agents = append(b.agents, &agent{Agent: a, freeCPU: a.CPUMilli, freeMemory: a.Memory})
	b.allocate()
}

// Trace has f called with a line for each thing that happens.
func (b *Broker) Trace(f func(string)) { b.trace = f }

func (b *Broker) tracef(format string, args ...any) {
	if b.trace != nil {
		b.trace(fmt.Sprintf(format, args...))
	}
}

// Dial is an sdk.Dial.
func (b *Broker) Dial(context.Context) (api.FrameworkSession, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, api.ErrUnavailable
	}
	s := &session{b: b, events: make(chan *v1.FrameworkEvent), wake: make(chan struct{}, 1), done: make(chan struct{})}
	b.sessions = append(b.sessions, s)
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		s.pump()
	}()
	return s, nil
}

// Close ends all sessions and tasks and waits for them.
func (b *Broker) Close() {
	b.mu.Lock()
	for _, s := range b.sessions {
		s.end(api.ErrSessionEnded)
	}
	for _, f := range b.frameworks {
		for _, t := range f.tasks {
			t.kill()
		}
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// Ended waits for a framework to unregister, and returns its last word.
func (b *Broker) Ended(ctx context.Context, id string) *v1.Unregister {
	b.mu.Lock()
	f := b.frameworks[id]
	b.mu.Unlock()
	if f == nil {
		return nil
	}
	select {
	case <-f.ended:
		return f.final
	case <-ctx.Done():
		return nil
	}
}

// Progress is what a framework last told.
func (b *Broker) Progress(id string) *v1.JobProgress {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.frameworks[id]; f != nil {
		return f.progress
	}
	return nil
}

// Running lists the names of tasks that run, sorted.
func (b *Broker) Running() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for _, f := range b.frameworks {
		for _, t := range f.tasks {
			if t.state == v1.TaskState_TASK_STATE_RUNNING {
				names = append(names, t.spec.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// call takes what a framework says.
func (b *Broker) call(s *session, c *v1.FrameworkCall) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if r := c.GetRegister(); r != nil {
		b.register(s, r)
		b.allocate()
		return nil
	}
	f := s.fw
	if f == nil {
		return fmt.Errorf("%w: register first", api.ErrInvalid)
	}
	switch c := c.Call.(type) {
	case *v1.FrameworkCall_Requests:
		for _, g := range c.Requests.Groups {
			g = proto.Clone(g).(*v1.RequestGroup)
			if old := f.groups[g.Id]; old != nil && old.Version >= g.Version {
				continue
			}
			for _, o := range b.offers { // offers that crossed the update count
				if o.fw == f && o.group.Id == g.Id && o.id > c.Requests.LastOffer {
					g.Total -= min(g.Total, 1)
				}
			}
			f.groups[g.Id] = g
		}
		for _, id := range c.Requests.Removed {
			delete(f.groups, id)
			for _, o := range b.offers {
				if o.fw == f && o.group.Id == id {
					b.release(o)
				}
			}
		}
	case *v1.FrameworkCall_Accept:
		b.accept(f, c.Accept)
	case *v1.FrameworkCall_Decline:
		for _, id := range c.Decline.Offers {
			if o := b.offers[id]; o != nil && o.fw == f {
				b.giveBack(o)
			}
		}
	case *v1.FrameworkCall_Kill:
		if t := f.tasks[c.Kill.Task.Sequence]; t != nil {
			b.tracef("kill %s: %s", t.spec.Name, c.Kill.Reason)
			t.killed = true
			if !t.agent.cut {
				t.kill()
			}
		}
	case *v1.FrameworkCall_Acknowledge:
		if t := f.tasks[c.Acknowledge.Task.Sequence]; t != nil && t.last != nil && t.last.Sequence == c.Acknowledge.Sequence {
			t.last = nil
		}
	case *v1.FrameworkCall_Reconcile:
		b.reconcile(f, c.Reconcile)
	case *v1.FrameworkCall_Progress:
		f.progress = c.Progress
		b.tracef("progress: %s", c.Progress.Status)
	case *v1.FrameworkCall_Unregister:
		if f.final == nil {
			f.final = c.Unregister
			close(f.ended)
		}
		for _, t := range f.tasks {
			t.kill()
		}
		b.dropOffers(f)
		s.end(api.ErrSessionEnded)
	}
	b.allocate()
	return nil
}

func (b *Broker) register(s *session, r *v1.RegisterFramework) {
	f := b.frameworks[r.FrameworkId]
	if r.FrameworkId != "" && f == nil {
		s.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_Refused{Refused: &v1.Refused{Call: "register", Message: "unknown framework", Fatal: true}}})
		s.end(api.ErrNotFound)
		return
	}
	if f == nil {
		b.nextID++
		f = &framework{id: fmt.Sprintf("f%d", b.nextID), job: r.JobId, next: 1, tasks: make(map[uint64]*task), ended: make(chan struct{})}
		if f.job == "" {
			f.job = fmt.Sprintf("job-%d", b.nextID)
		}
		b.frameworks[f.id] = f
	} else if f.session != nil {
		f.session.end(api.ErrFenced)
	}
	b.dropOffers(f)
	f.groups = make(map[uint64]*v1.RequestGroup)
	f.session, s.fw = s, f
	e := &v1.FrameworkRegistered{FrameworkId: f.id, JobId: f.job, NextSequence: f.next, JobSecret: b.Secret}
	var open []*v1.TaskStatus
	for _, seq := range sortedKeys(f.tasks) {
		t := f.tasks[seq]
		if t.last != nil {
			open = append(open, t.last)
		} else if t.state == v1.TaskState_TASK_STATE_RUNNING {
			e.Tasks = append(e.Tasks, t.status(v1.TaskState_TASK_STATE_RUNNING))
		}
	}
	s.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_Registered{Registered: e}})
	for _, st := range open {
		s.send(statusEvent(st))
	}
}

func (b *Broker) accept(f *framework, a *v1.AcceptOffer) {
	o := b.offers[a.Offer]
	why := ""
	switch {
	case o == nil || o.fw != f:
		why = "offer is void"
	case b.refusals > 0:
		b.refusals--
		why = "refused for a test"
		b.giveBack(o)
	case len(a.Tasks) > 1:
		why = "more tasks than offered"
	case len(a.Tasks) == 1 && a.Tasks[0].GetTask().GetSequence() < f.next:
		why = "task id was used"
	}
	if why != "" {
		r := &v1.Refused{Call: "accept", Message: why, Offer: a.Offer}
		for _, t := range a.Tasks {
			r.Tasks = append(r.Tasks, t.Task)
		}
		f.session.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_Refused{Refused: r}})
		return
	}
	if len(a.Tasks) == 0 {
		b.giveBack(o)
		return
	}
	delete(b.offers, o.id)
	spec := proto.Clone(a.Tasks[0]).(*v1.TaskSpec)
	spec.JobId, spec.JobSecret = f.job, b.Secret
	spec.Task.Framework = f.id
	f.next = spec.Task.Sequence + 1
	ctx, kill := context.WithCancel(context.Background())
	t := &task{fw: f, spec: spec, agent: o.agent, state: v1.TaskState_TASK_STATE_RUNNING, kill: kill}
	f.tasks[spec.Task.Sequence] = t
	o.agent.from = append(o.agent.from, t)
	b.tracef("launch %s on %s", spec.Name, o.agent.ID)
	b.tell(t, t.status(v1.TaskState_TASK_STATE_RUNNING))
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		defer kill()
		exit := b.run(ctx, o.agent.Agent, spec)
		b.taskEnded(t, exit, ctx.Err() != nil)
	}()
}

func (b *Broker) taskEnded(t *task, exit Exit, killed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := t.agent
	a.freeCPU += t.spec.Resources.CpuMilli
	a.freeMemory += t.spec.Resources.MemoryBytes
	if t.state == v1.TaskState_TASK_STATE_LOST {
		b.allocate()
		return
	}
	s := t.status(v1.TaskState_TASK_STATE_FINISHED)
	s.Sequence, s.ExitCode, s.Message, s.Reason = 2, exit.Code, exit.Message, exit.Reason
	switch {
	case killed:
		s.State, s.Reason = v1.TaskState_TASK_STATE_KILLED, v1.TaskReason_TASK_REASON_KILL_ASKED
	case exit.Code != 0 || exit.Reason != 0:
		s.State = v1.TaskState_TASK_STATE_FAILED
		if s.Reason == 0 {
			s.Reason = v1.TaskReason_TASK_REASON_EXITED
		}
	}
	b.tracef("%s %s: %s", t.spec.Name, s.State, exit.Message)
	t.state, t.last = s.State, s
	b.tell(t, s)
	b.allocate()
}

// tell sends a status, or keeps it while the agent is cut off.
func (b *Broker) tell(t *task, s *v1.TaskStatus) {
	if t.agent.cut {
		t.agent.held = append(t.agent.held, s)
		return
	}
	if t.fw.session != nil {
		t.fw.session.send(statusEvent(s))
	}
}

func (b *Broker) reconcile(f *framework, r *v1.Reconcile) {
	for _, id := range r.Tasks {
		t := f.tasks[id.Sequence]
		s := &v1.TaskStatus{Task: id, State: v1.TaskState_TASK_STATE_LOST, Reason: v1.TaskReason_TASK_REASON_UNKNOWN_TASK}
		if t != nil {
			s = t.status(t.state)
			if t.last != nil {
				s = t.last
			}
		}
		f.session.send(statusEvent(s))
	}
}

// allocate makes offers while requests and resources are left: by priority, and on wanted hosts first.
func (b *Broker) allocate() {
	if b.down {
		return
	}
	for _, id := range sortedKeys(b.frameworks) {
		f := b.frameworks[id]
		if f.session == nil || f.session.err != nil || f.final != nil {
			continue
		}
		groups := make([]*v1.RequestGroup, 0, len(f.groups))
		for _, gid := range sortedKeys(f.groups) {
			groups = append(groups, f.groups[gid])
		}
		slices.SortStableFunc(groups, func(x, y *v1.RequestGroup) int { return cmp.Compare(y.Priority, x.Priority) })
		for _, g := range groups {
			for g.Total > 0 {
				a, level := b.place(g)
				if a == nil {
					break
				}
				g.Total--
				b.nextOffer++
				o := &offer{id: b.nextOffer, fw: f, agent: a, group: g, shape: g.Shape}
				b.offers[o.id] = o
				a.freeCPU -= g.Shape.CpuMilli
				a.freeMemory -= g.Shape.MemoryBytes
				f.session.send(&v1.FrameworkEvent{Event: &v1.FrameworkEvent_Offers{Offers: &v1.Offers{Offers: []*v1.Offer{{
					Id: o.id, Group: g.Id, GroupVersion: g.Version, AgentId: a.ID, Host: a.Host, Addresses: a.Addresses,
					Rack: a.Rack, Resources: g.Shape, Count: 1, Locality: level, DataAddress: a.DataAddress}}}}})
			}
		}
	}
}

func (b *Broker) place(g *v1.RequestGroup) (*agent, v1.Locality) {
	var best *agent
	level := v1.Locality_LOCALITY_ANY
	for _, a := range b.agents {
		if a.cut || a.gone || a.freeCPU < g.Shape.CpuMilli || a.freeMemory < g.Shape.MemoryBytes || slices.Contains(g.ExcludedAgents, a.ID) {
			continue
		}
		l := v1.Locality_LOCALITY_ANY
		for _, h := range g.Hosts {
			if h.Count > 0 && strings.EqualFold(h.Host, a.Host) {
				l = v1.Locality_LOCALITY_NODE
			} else if h.Rack != "" && h.Rack == a.Rack {
				l = min(l, v1.Locality_LOCALITY_RACK)
			}
		}
		if best == nil || l < level {
			best, level = a, l
		}
	}
	if best != nil && level == v1.Locality_LOCALITY_NODE {
		for _, h := range g.Hosts {
			if strings.EqualFold(h.Host, best.Host) {
				h.Count--
			}
		}
	}
	return best, level
}

func (b *Broker) giveBack(o *offer) {
	if g := o.fw.groups[o.group.Id]; g != nil {
		g.Total++
	}
	b.release(o)
}

func (b *Broker) release(o *offer) {
	delete(b.offers, o.id)
	o.agent.freeCPU += o.shape.CpuMilli
	o.agent.freeMemory += o.shape.MemoryBytes
}

func (b *Broker) dropOffers(f *framework) {
	for _, o := range b.offers {
		if o.fw == f {
			b.release(o)
		}
	}
}

func (t *task) status(s v1.TaskState) *v1.TaskStatus {
	return &v1.TaskStatus{Task: t.spec.Task, State: s, AgentId: t.agent.ID, AgentHost: t.agent.Host,
		Sequence: 1, AgentDataAddress: t.agent.DataAddress}
}

func statusEvent(s *v1.TaskStatus) *v1.FrameworkEvent {
	return &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Status{Status: s}}
}
