package resourcemanager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
	"fairway/broker/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memJournal is a core.Journal in memory; it keeps bytes only.
type memJournal struct {
	mu      sync.Mutex
	durable [][]byte
	waiting []func()
	dones   []func(error)
	held    bool // entries wait for release
}

func (j *memJournal) Lead(ctx context.Context) (*state.State, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := state.New()
	for _, e := range j.durable {
		facts, err := state.DecodeFacts(e)
		if err != nil {
			return nil, err
		}
		for i := range facts {
			if err := st.Apply(&facts[i]); err != nil {
				return nil, err
			}
		}
	}
	return st, nil
}

func (j *memJournal) Append(facts []state.Fact, done func(error)) {
	var e []byte
	for i := range facts {
		e = state.AppendFact(e, &facts[i])
	}
	j.mu.Lock()
	keep := func() {
		j.mu.Lock()
		j.durable = append(j.durable, e)
		j.mu.Unlock()
		done(nil)
	}
	held := j.held
	if held {
		j.waiting, j.dones = append(j.waiting, keep), append(j.dones, done)
	}
	j.mu.Unlock()
	if !held {
		keep()
	}
}

func (j *memJournal) hold() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.held = true
}

func (j *memJournal) release() {
	j.mu.Lock()
	all := j.waiting
	j.waiting, j.dones, j.held = nil, nil, false
	j.mu.Unlock()
	for _, f := range all {
		f()
	}
}

// fail loses what is not durable and says so, as a journal that is not the leader any more.
func (j *memJournal) fail() {
	j.mu.Lock()
	all := j.dones
	j.waiting, j.dones, j.held = nil, nil, false
	j.mu.Unlock()
	for _, f := range all {
		f(errors.New("lost"))
	}
}

// drop loses what is not durable.
func (j *memJournal) drop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting, j.dones, j.held = nil, nil, false
}

// rig is a broker with agents that the test plays, and a manager on it, in virtual time.
type rig struct {
	t       *testing.T
	config  core.Config
	options Options
	journal *memJournal
	broker  *core.Broker
	m       *Manager
	stop    context.CancelFunc
	ended   chan error
	agents  []*fakeAgent
	begun   map[id.ContainerID]bool // what agents say when they are asked
}

func newRig(t *testing.T, change func(*core.Config, *Options)) *rig {
	r := &rig{t: t, journal: &memJournal{}}
	r.options = Options{Key: []byte("0123456789abcdef"), Host: "rm.example", Operators: []string{"admin"}, AgentTimeout: 30 * time.Second}
	r.config.RecoveryPause = time.Second
	if change != nil {
		change(&r.config, &r.options)
	}
	r.start()
	t.Cleanup(func() {
		r.halt()
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.broker, err = core.New(core.Options{Journal: r.journal, Config: r.config, Version: "test"}); err != nil {
		r.t.Fatal(err)
	}
	r.options.Broker = r.broker
	if r.m, err = New(r.options); err != nil {
		r.t.Fatal(err)
	}
	r.m.begun = func(context.Context, *application, *attempt, id.NodeID, []*container) (map[id.ContainerID]bool, error) {
		return r.begun, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.ended = cancel, make(chan error, 2)
	go func() { r.ended <- r.broker.Run(ctx) }()
	<-r.broker.Ready()
	go func() { r.ended <- r.m.Run(ctx) }()
	<-r.m.Ready()
	synctest.Wait()
}

func (r *rig) halt() {
	r.t.Helper()
	for _, a := range r.agents {
		a.disconnect()
	}
	r.stop()
	for range 2 {
		if err := <-r.ended; err != nil {
			r.t.Errorf("ended with %v", err)
		}
	}
	r.journal.drop()
	synctest.Wait()
}

// restart stops broker and manager as a crash does, and starts new ones on what was durable. Agents come back.
func (r *rig) restart() {
	r.t.Helper()
	r.halt()
	r.start()
	for _, a := range r.agents {
		a.connect()
	}
}

func (r *rig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fakeAgent keeps what a real one would.
type fakeAgent struct {
	r       *rig
	info    *v1.AgentInfo
	id      string
	mu      sync.Mutex
	session api.AgentSession
	done    chan struct{}
	byName  map[string]*fakeTask
	lazy    bool // tasks stay as they were launched
	deaf    bool // kills are not carried out
	missing bool // launches do not reach it
	killed  []string
}

type fakeTask struct {
	spec    *v1.TaskSpec
	grant   *grant.Grant
	state   v1.TaskState
	next    uint64
	unacked []*v1.TaskStatus
}

// agent adds one with memory in MiB.
func (r *rig) agent(host, rack string, vcores, memory int64) *fakeAgent {
	return r.labelled("", host, rack, vcores, memory)
}

// labelled adds one with a label, and waits until a snapshot knows it.
func (r *rig) labelled(label, host, rack string, vcores, memory int64) *fakeAgent {
	a := r.appear(label, host, rack, vcores, memory)
	r.sleep(1100 * time.Millisecond) // a snapshot
	return a
}

// appear adds one of which no snapshot knows yet.
func (r *rig) appear(label, host, rack string, vcores, memory int64) *fakeAgent {
	a := &fakeAgent{r: r, byName: map[string]*fakeTask{}, info: &v1.AgentInfo{
		Host: host, Rack: rack, BootId: "boot", DataAddress: host + ":1", Total: &v1.Resources{CpuMilli: vcores * 1000, MemoryBytes: memory * mib},
		Attributes: map[string]string{addressAttribute: host + ":8041", httpAttribute: host + ":8042"},
	}}
	if label != "" {
		a.info.Attributes[labelAttribute] = label
	}
	r.agents = append(r.agents, a)
	a.connect()
	return a
}

func (a *fakeAgent) connect() {
	a.r.t.Helper()
	s, err := a.r.broker.OpenAgent(context.Background(), api.Caller{User: "agent", Operator: true})
	if err != nil {
		a.r.t.Fatal(err)
	}
	a.mu.Lock()
	a.session, a.done = s, make(chan struct{})
	q := &v1.RegisterAgent{AgentId: a.id, Info: a.info}
	for _, t := range a.byName {
		q.Tasks = append(q.Tasks, &v1.RunningTask{Task: t.spec.Task, Resources: t.spec.Resources, State: t.state, JobId: t.spec.JobId, Revision: t.spec.Revision})
	}
	done := a.done
	a.mu.Unlock()
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: q}}); err != nil {
		a.r.t.Fatal(err)
	}
	go a.listen(s, done)
	synctest.Wait()
}

func (a *fakeAgent) disconnect() {
	a.mu.Lock()
	s, done := a.session, a.done
	a.session = nil
	a.mu.Unlock()
	if s != nil {
		close(done)
		s.Close()
	}
	synctest.Wait()
}

func (a *fakeAgent) listen(s api.AgentSession, done chan struct{}) {
	beat := time.NewTicker(5 * time.Second)
	defer beat.Stop()
	for {
		select {
		case <-done:
			return
		case <-beat.C:
			_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Heartbeat{Heartbeat: &v1.AgentHeartbeat{}}})
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
	switch x := c.Command.(type) {
	case *v1.AgentCommand_Registered:
		a.id = x.Registered.AgentId
		for _, k := range x.Registered.Kill {
			a.kill(s, k)
		}
		for _, t := range a.byName {
			for _, u := range t.unacked {
				_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: proto.Clone(u).(*v1.TaskStatus)}})
			}
		}
	case *v1.AgentCommand_Launch:
		if a.missing {
			return
		}
		g := &grant.Grant{}
		if err := proto.Unmarshal(x.Launch.Data, g); err != nil || x.Launch.Service != "yarn" {
			a.r.t.Errorf("a launch of %q with %v", x.Launch.Service, err)
		}
		t := &fakeTask{spec: x.Launch, grant: g, state: v1.TaskState_TASK_STATE_STAGING}
		a.byName[x.Launch.Name] = t
		if !a.lazy {
			a.say(s, t, v1.TaskState_TASK_STATE_RUNNING, nil)
		}
	case *v1.AgentCommand_Resize:
		for _, t := range a.byName {
			if proto.Equal(t.spec.Task, x.Resize.Task) && x.Resize.Revision > t.spec.Revision {
				t.spec.Resources, t.spec.Revision = x.Resize.Resources, x.Resize.Revision
			}
		}
	case *v1.AgentCommand_Kill:
		a.kill(s, x.Kill.Task)
	case *v1.AgentCommand_Acknowledge:
		for name, t := range a.byName {
			if !proto.Equal(t.spec.Task, x.Acknowledge.Task) {
				continue
			}
			var rest []*v1.TaskStatus
			for _, u := range t.unacked {
				if u.Sequence > x.Acknowledge.Sequence {
					rest = append(rest, u)
				}
			}
			if t.unacked = rest; len(rest) == 0 && t.state >= v1.TaskState_TASK_STATE_FINISHED {
				delete(a.byName, name)
			}
		}
	}
}

func (a *fakeAgent) kill(s api.AgentSession, k *v1.TaskID) {
	for _, t := range a.byName {
		if proto.Equal(t.spec.Task, k) && t.state < v1.TaskState_TASK_STATE_FINISHED && !a.deaf {
			a.killed = append(a.killed, t.spec.Name)
			a.say(s, t, v1.TaskState_TASK_STATE_KILLED, &grant.Outcome{ExitStatus: 143, Diagnostics: "killed"})
		}
	}
}

func (a *fakeAgent) say(s api.AgentSession, t *fakeTask, state v1.TaskState, o *grant.Outcome) {
	t.state = state
	t.next++
	u := &v1.TaskStatus{Task: t.spec.Task, State: state, Sequence: t.next}
	if o != nil {
		u.Data, _ = proto.Marshal(o)
		u.ExitCode = max(o.ExitStatus, 0)
	}
	t.unacked = append(t.unacked, u)
	if s != nil {
		_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: proto.Clone(u).(*v1.TaskStatus)}})
	}
}

// finish ends a container.
func (a *fakeAgent) finish(name string, exit int32, diagnostics string) {
	a.r.t.Helper()
	a.mu.Lock()
	t := a.byName[name]
	if t == nil || t.state >= v1.TaskState_TASK_STATE_FINISHED {
		a.mu.Unlock()
		a.r.t.Fatalf("%s has no live %s", a.info.Host, name)
	}
	state := v1.TaskState_TASK_STATE_FINISHED
	if exit != 0 {
		state = v1.TaskState_TASK_STATE_FAILED
	}
	a.say(a.session, t, state, &grant.Outcome{ExitStatus: exit, Diagnostics: diagnostics})
	a.mu.Unlock()
	synctest.Wait()
}

func (a *fakeAgent) task(name string) *fakeTask {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byName[name]
}

// where is the agent that has a container.
func (r *rig) where(name string) *fakeAgent {
	for _, a := range r.agents {
		if a.task(name) != nil {
			return a
		}
	}
	return nil
}

// grants are the live containers of an application, by name.
func (r *rig) grants(i id.ApplicationID) map[string]*fakeTask {
	out := map[string]*fakeTask{}
	for _, a := range r.agents {
		a.mu.Lock()
		for name, t := range a.byName {
			if t.grant.Application == i.String() && t.state < v1.TaskState_TASK_STATE_FINISHED {
				out[name] = t
			}
		}
		a.mu.Unlock()
	}
	return out
}

func as(user string) *hadooprpc.Caller { return &hadooprpc.Caller{User: user} }

// submission is a plain application.
func (r *rig) submission() *wire.ApplicationSubmissionContextProto {
	x, err := r.m.getNewApplication(context.Background(), as("ann"), &wire.GetNewApplicationRequestProto{})
	if err != nil {
		r.t.Fatal(err)
	}
	return &wire.ApplicationSubmissionContextProto{
		ApplicationId: x.(*wire.GetNewApplicationResponseProto).ApplicationId, ApplicationName: proto.String("word count"), ApplicationType: proto.String("MAPREDUCE"),
		Queue: proto.String("default"), Resource: token.Resource(1536, 1), AmContainerSpec: &wire.ContainerLaunchContextProto{
			Command: []string{"java"}, Environment: []*wire.StringStringMapProto{{Key: proto.String("A"), Value: proto.String("b")}},
			Application_ACLs: []*wire.ApplicationACLMapProto{{AccessType: wire.ApplicationAccessTypeProto_APPACCESS_VIEW_APP.Enum(), Acl: proto.String(" ")}},
		},
	}
}

// submit is an application of ann's.
func (r *rig) submit(change func(*wire.ApplicationSubmissionContextProto)) id.ApplicationID {
	r.t.Helper()
	x := r.submission()
	if change != nil {
		change(x)
	}
	if _, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x}); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	i, _ := id.ApplicationFrom(x.ApplicationId)
	return i
}

func (r *rig) report(i id.ApplicationID) *wire.ApplicationReportProto {
	r.t.Helper()
	x, err := r.m.getApplicationReport(context.Background(), as("ann"), &wire.GetApplicationReportRequestProto{ApplicationId: i.Proto()})
	if err != nil {
		r.t.Fatal(err)
	}
	return x.(*wire.GetApplicationReportResponseProto).ApplicationReport
}

// fakeMaster is an ApplicationMaster with the token that its container was given.
type fakeMaster struct {
	r         *rig
	caller    *hadooprpc.Caller
	container string
	response  int32
}

// master is the newest master of an application.
func (r *rig) master(i id.ApplicationID) *fakeMaster {
	r.t.Helper()
	var newest *fakeTask
	for _, t := range r.grants(i) {
		if t.grant.Master && (newest == nil || t.grant.Container > newest.grant.Container) {
			newest = t
		}
	}
	if newest == nil {
		r.t.Fatalf("no master of %s runs", i)
	}
	x := &wire.ContainerLaunchContextProto{}
	if err := proto.Unmarshal(newest.grant.LaunchContext, x); err != nil {
		r.t.Fatal(err)
	}
	credentials, err := writable.ParseCredentials(x.Tokens)
	if err != nil {
		r.t.Fatal(err)
	}
	tok, ok := credentials.OfKind(token.KindAMRM)
	if !ok {
		r.t.Fatal("the master has no token")
	}
	secret, err := r.m.masterSecret(context.Background(), tok.Identifier)
	if err != nil || string(secret.Password) != string(tok.Password) {
		r.t.Fatalf("the master's token is not known again: %v", err)
	}
	return &fakeMaster{r: r, container: newest.grant.Container, caller: &hadooprpc.Caller{User: secret.User, Token: &hadooprpc.Token{Kind: secret.Kind, Identifier: tok.Identifier}}}
}

func (x *fakeMaster) register() *wire.RegisterApplicationMasterResponseProto {
	x.r.t.Helper()
	p, err := x.r.m.registerMaster(context.Background(), x.caller, &wire.RegisterApplicationMasterRequestProto{
		Host: proto.String("h1"), RpcPort: proto.Int32(4000), TrackingUrl: proto.String("http://h1:4001"),
	})
	if err != nil {
		x.r.t.Fatal(err)
	}
	synctest.Wait()
	x.response = 0
	return p.(*wire.RegisterApplicationMasterResponseProto)
}

func (x *fakeMaster) call(q *wire.AllocateRequestProto) (*wire.AllocateResponseProto, error) {
	q.ResponseId = proto.Int32(x.response)
	p, err := x.r.m.allocate(context.Background(), x.caller, q)
	if err != nil {
		return nil, err
	}
	synctest.Wait()
	a := p.(*wire.AllocateResponseProto)
	x.response = a.GetResponseId()
	return a, nil
}

func (x *fakeMaster) allocate(q *wire.AllocateRequestProto) *wire.AllocateResponseProto {
	x.r.t.Helper()
	a, err := x.call(q)
	if err != nil {
		x.r.t.Fatal(err)
	}
	return a
}

func (x *fakeMaster) finish(s wire.FinalApplicationStatusProto) {
	x.r.t.Helper()
	p, err := x.r.m.finishMaster(context.Background(), x.caller, &wire.FinishApplicationMasterRequestProto{
		FinalApplicationStatus: s.Enum(), TrackingUrl: proto.String("http://jhs:19888/job"), Diagnostics: proto.String("said"),
	})
	if err != nil || !p.(*wire.FinishApplicationMasterResponseProto).GetIsUnregistered() {
		x.r.t.Fatalf("finish: %v, %v", p, err)
	}
	synctest.Wait()
}

// row is one row of an ask.
func want(priority int32, name string, n int32, memory int64) *wire.ResourceRequestProto {
	return &wire.ResourceRequestProto{
		Priority: &wire.PriorityProto{Priority: proto.Int32(priority)}, ResourceName: proto.String(name), NumContainers: proto.Int32(n), Capability: token.Resource(memory, 1),
	}
}

func asking(rows ...*wire.ResourceRequestProto) *wire.AllocateRequestProto {
	return &wire.AllocateRequestProto{Ask: rows}
}

func containerName(c *wire.ContainerProto) string {
	i, err := id.ContainerFrom(c.GetId())
	if err != nil {
		return fmt.Sprint(err)
	}
	return i.String()
}

// class is the Java class of an error.
func class(err error) string {
	if e, ok := err.(*hadooprpc.Exception); ok {
		return e.Class
	}
	return fmt.Sprint(err)
}
