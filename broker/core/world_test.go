package core

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

const mib = 1 << 20

var operator = api.Caller{User: "op", UID: 1000, Operator: true}

func user(name string) api.Caller { return api.Caller{User: name, UID: 1001} }

// tb is what a test or a property of rapid can do.
type tb interface {
	Helper()
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
	Cleanup(func())
}

// world is a broker in virtual time, with agents and frameworks that the test plays.
type world struct {
	t       tb
	journal *memJournal
	config  Config
	clock   Clock // zero: the bubble's
	broker  *Broker
	stop    context.CancelFunc
	ended   chan error
	agents  []*fakeAgent
}

func newWorld(t tb, config Config) *world {
	w := &world{t: t, journal: &memJournal{}, config: config}
	w.start()
	t.Cleanup(func() {
		w.stop()
		w.journal.drop()
	})
	return w
}

func (w *world) start() {
	w.t.Helper()
	b, err := New(Options{Journal: w.journal, Config: w.config, Clock: w.clock, Version: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.broker, w.stop, w.ended = b, cancel, make(chan error, 1)
	go func() { w.ended <- b.Run(ctx) }()
	synctest.Wait()
}

// halt stops the broker; what is not durable is lost.
func (w *world) halt() {
	w.t.Helper()
	w.check()
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Fatalf("the broker ended with %v", err)
	}
	w.journal.drop()
	synctest.Wait()
}

func (w *world) restart() {
	w.t.Helper()
	w.halt()
	w.start()
}

// inspect runs f with the owner's machine.
func (w *world) inspect(f func(*machine)) {
	w.t.Helper()
	done := make(chan struct{})
	if err := w.broker.box.put(message{do: func(m *machine) { f(m); close(done) }}, true); err != nil {
		w.t.Fatal(err)
	}
	<-done
	synctest.Wait()
}

// check holds the invariants of the machine.
func (w *world) check() {
	w.t.Helper()
	select {
	case err := <-w.ended:
		w.t.Fatalf("the broker ended with %v", err)
	default:
	}
	if w.journal.held {
		return // the owner may be waiting
	}
	var err error
	w.inspect(func(m *machine) {
		m.step()
		err = m.check()
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fakeAgent keeps what a real one would: its id, what runs, what is not acknowledged.
type fakeAgent struct {
	w        *world
	info     *v1.AgentInfo
	auto     bool // tasks run at once, kills succeed at once, heartbeats are sent
	mu       sync.Mutex
	id       string
	epoch    uint64
	session  api.AgentSession
	stopped  chan struct{}
	tasks    map[string]*fakeTask
	launches map[string]int
	commands []*v1.AgentCommand
	reason   string // of a shutdown
	ended    []string
}

type fakeTask struct {
	spec    *v1.TaskSpec
	state   v1.TaskState
	next    uint64
	unacked []*v1.TaskStatus
}

func key(id *v1.TaskID) string { return fmt.Sprintf("%s/%d", id.Framework, id.Sequence) }

func (w *world) agent(host, rack string, cpu, mem int64) *fakeAgent {
	a := &fakeAgent{
		w: w, auto: true, tasks: map[string]*fakeTask{}, launches: map[string]int{},
		info: &v1.AgentInfo{
			Host: host, Rack: rack, BootId: "boot1", DataAddress: host + ":1",
			Total: &v1.Resources{CpuMilli: cpu, MemoryBytes: mem * mib, PortRanges: []*v1.PortRange{{First: 31000, Last: 31009}}},
		},
	}
	w.agents = append(w.agents, a)
	a.connect()
	return a
}

// connect registers, with all that the agent holds.
func (a *fakeAgent) connect() {
	a.w.t.Helper()
	s, err := a.w.broker.OpenAgent(context.Background(), operator)
	if err != nil {
		a.w.t.Fatal(err)
	}
	a.mu.Lock()
	a.session, a.stopped = s, make(chan struct{})
	r := &v1.RegisterAgent{AgentId: a.id, Info: a.info}
	for _, k := range a.keys() {
		t := a.tasks[k]
		r.Tasks = append(r.Tasks, &v1.RunningTask{Task: t.spec.Task, Resources: t.spec.Resources, State: t.state, JobId: t.spec.JobId, Revision: t.spec.Revision})
	}
	stopped := a.stopped
	a.mu.Unlock()
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: r}}); err != nil {
		a.w.t.Fatal(err)
	}
	go a.listen(s, stopped)
	synctest.Wait()
}

func (a *fakeAgent) keys() []string {
	var all []string
	for k := range a.tasks {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func (a *fakeAgent) listen(s api.AgentSession, stopped chan struct{}) {
	beat := time.NewTicker(5 * time.Second)
	defer beat.Stop()
	for {
		select {
		case <-stopped:
			return
		case <-beat.C:
			if a.auto {
				_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Heartbeat{Heartbeat: &v1.AgentHeartbeat{}}})
			}
		case c, ok := <-s.Commands():
			if !ok {
				return
			}
			a.mu.Lock()
			a.command(s, c)
			a.mu.Unlock()
		}
	}
}

func (a *fakeAgent) command(s api.AgentSession, c *v1.AgentCommand) {
	a.commands = append(a.commands, c)
	if c.Epoch < a.epoch {
		a.w.t.Errorf("command of epoch %d after %d", c.Epoch, a.epoch)
	}
	a.epoch = c.Epoch
	switch x := c.Command.(type) {
	case *v1.AgentCommand_Registered:
		a.id = x.Registered.AgentId
		for _, k := range a.keys() { // what was not acknowledged is said again
			if t := a.tasks[k]; t != nil {
				for _, u := range t.unacked {
					_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: clone(u)}})
				}
			}
		}
		for _, id := range x.Registered.Kill {
			a.kill(s, id)
		}
	case *v1.AgentCommand_Launch:
		k := key(x.Launch.Task)
		a.launches[k]++
		if a.launches[k] > 1 {
			a.w.t.Errorf("task %s was launched twice", k)
		}
		a.tasks[k] = &fakeTask{spec: x.Launch, state: v1.TaskState_TASK_STATE_STAGING}
		if a.auto {
			a.say(s, k, v1.TaskState_TASK_STATE_RUNNING, 0, "")
		}
	case *v1.AgentCommand_Resize:
		if t := a.tasks[key(x.Resize.Task)]; t != nil && x.Resize.Revision > t.spec.Revision {
			t.spec.Resources, t.spec.Revision = x.Resize.Resources, x.Resize.Revision
		}
	case *v1.AgentCommand_Kill:
		a.kill(s, x.Kill.Task)
	case *v1.AgentCommand_Acknowledge:
		k := key(x.Acknowledge.Task)
		if t := a.tasks[k]; t != nil {
			t.unacked = slices.DeleteFunc(t.unacked, func(u *v1.TaskStatus) bool { return u.Sequence <= x.Acknowledge.Sequence })
			if terminal(t.state) && len(t.unacked) == 0 {
				delete(a.tasks, k)
			}
		}
	case *v1.AgentCommand_JobEnded:
		a.ended = append(a.ended, x.JobEnded.JobId)
	case *v1.AgentCommand_Shutdown:
		a.reason = x.Shutdown.Reason
	}
}

func (a *fakeAgent) kill(s api.AgentSession, id *v1.TaskID) {
	if t := a.tasks[key(id)]; t != nil && a.auto && !terminal(t.state) {
		a.say(s, key(id), v1.TaskState_TASK_STATE_KILLED, 0, "killed")
	}
}

func (a *fakeAgent) say(s api.AgentSession, k string, state v1.TaskState, code int32, message string) {
	t := a.tasks[k]
	t.state = state
	t.next++
	u := &v1.TaskStatus{Task: t.spec.Task, State: state, Sequence: t.next, ExitCode: code, Message: message}
	t.unacked = append(t.unacked, u)
	if s != nil {
		_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: clone(u)}})
	}
}

// finish ends one of the agent's tasks.
func (a *fakeAgent) finish(id *v1.TaskID, state v1.TaskState, code int32, message string) {
	a.w.t.Helper()
	a.mu.Lock()
	if a.tasks[key(id)] == nil {
		a.mu.Unlock()
		a.w.t.Fatalf("agent %s does not have task %s", a.info.Host, key(id))
	}
	a.say(a.session, key(id), state, code, message)
	a.mu.Unlock()
	synctest.Wait()
}

// disconnect ends the session; what runs runs on.
func (a *fakeAgent) disconnect() {
	a.mu.Lock()
	s, stopped := a.session, a.stopped
	a.session = nil
	a.mu.Unlock()
	if s != nil {
		close(stopped)
		s.Close()
	}
	synctest.Wait()
}

func clone(u *v1.TaskStatus) *v1.TaskStatus {
	return &v1.TaskStatus{Task: u.Task, State: u.State, Sequence: u.Sequence, ExitCode: u.ExitCode, Message: u.Message, Reason: u.Reason}
}

// fakeFramework records what it hears; tests answer for it.
type fakeFramework struct {
	w       *world
	caller  api.Caller
	session api.FrameworkSession
	mu      sync.Mutex
	id      string
	job     string
	next    uint64
	events  []*v1.FrameworkEvent
	offers  []*v1.Offer
	status  map[uint64]*v1.TaskStatus
	refused []*v1.Refused
	auto    bool // acknowledges by itself
	closed  chan struct{}
	seen    uint64
}

func (w *world) framework(caller api.Caller, r *v1.RegisterFramework) *fakeFramework {
	f := &fakeFramework{w: w, caller: caller, auto: true, status: map[uint64]*v1.TaskStatus{}}
	f.connect(r)
	return f
}

func (f *fakeFramework) connect(r *v1.RegisterFramework) {
	f.w.t.Helper()
	s, err := f.w.broker.OpenFramework(context.Background(), f.caller)
	if err != nil {
		f.w.t.Fatal(err)
	}
	f.mu.Lock()
	f.session, f.closed, f.offers = s, make(chan struct{}), nil
	f.mu.Unlock()
	f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: r}})
	go f.listen(s, f.closed)
	synctest.Wait()
}

func (f *fakeFramework) listen(s api.FrameworkSession, closed chan struct{}) {
	defer close(closed)
	for e := range s.Events() {
		f.mu.Lock()
		f.events = append(f.events, e)
		switch x := e.Event.(type) {
		case *v1.FrameworkEvent_Registered:
			f.id, f.job = x.Registered.FrameworkId, x.Registered.JobId
			f.next = max(f.next, x.Registered.NextSequence)
		case *v1.FrameworkEvent_Offers:
			f.offers = append(f.offers, x.Offers.Offers...)
			for _, o := range x.Offers.Offers {
				f.seen = max(f.seen, o.Id)
			}
		case *v1.FrameworkEvent_Rescind:
			f.offers = slices.DeleteFunc(f.offers, func(o *v1.Offer) bool { return o.Id == x.Rescind.Offer })
		case *v1.FrameworkEvent_Status:
			old := f.status[x.Status.Task.Sequence]
			if x.Status.Reason == v1.TaskReason_TASK_REASON_UNKNOWN_TASK {
				break // forgotten, for it had no job, or not launched yet
			}
			if old != nil && terminal(old.State) && old.State != x.Status.State {
				f.w.t.Errorf("task %s was %s and is %s", key(x.Status.Task), old.State, x.Status.State)
			}
			f.status[x.Status.Task.Sequence] = x.Status
			if f.auto && x.Status.Sequence != 0 {
				_ = s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: x.Status.Task, Sequence: x.Status.Sequence}}})
			}
		case *v1.FrameworkEvent_Refused:
			f.refused = append(f.refused, x.Refused)
		}
		f.mu.Unlock()
	}
}

func (f *fakeFramework) send(c *v1.FrameworkCall) {
	f.w.t.Helper()
	if err := f.session.Send(c); err != nil && f.session.Err() == nil {
		f.w.t.Fatal(err)
	}
}

func (f *fakeFramework) request(groups ...*v1.RequestGroup) {
	f.w.t.Helper()
	f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Groups: groups, LastOffer: f.seen}}})
	synctest.Wait()
}

func shape(cpu, mem int64) *v1.Resources { return &v1.Resources{CpuMilli: cpu, MemoryBytes: mem * mib} }

// accept launches as many tasks as each offer that is at hand holds.
func (f *fakeFramework) accept() []*v1.TaskID {
	f.w.t.Helper()
	f.mu.Lock()
	offers := f.offers
	f.offers = nil
	f.mu.Unlock()
	var ids []*v1.TaskID
	for _, o := range offers {
		n := max(int64(o.Count), 1)
		a := &v1.AcceptOffer{Offer: o.Id}
		for range n {
			r := &v1.Resources{CpuMilli: o.Resources.CpuMilli / n, MemoryBytes: o.Resources.MemoryBytes / n, Ports: o.Resources.Ports / n}
			id := &v1.TaskID{Framework: f.id, Sequence: f.next}
			f.next++
			a.Tasks = append(a.Tasks, &v1.TaskSpec{Task: id, Name: "t", Resources: r, Command: &v1.Command{Argv: []string{"true"}}})
			ids = append(ids, &v1.TaskID{Framework: f.id, Sequence: id.Sequence})
		}
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: a}})
	}
	synctest.Wait()
	return ids
}

func (f *fakeFramework) state(id *v1.TaskID) v1.TaskState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status[id.Sequence].GetState()
}

func (f *fakeFramework) unregister(phase v1.JobPhase, message string) {
	f.w.t.Helper()
	f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{Unregister: &v1.Unregister{Phase: phase, Message: message}}})
	synctest.Wait()
}
