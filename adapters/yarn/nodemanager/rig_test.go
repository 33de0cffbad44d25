package nodemanager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/agent"
	"fairway/agent/service"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"google.golang.org/protobuf/proto"
)

// rig is a real agent with the service, and a broker that only launches and listens.
type rig struct {
	t        *testing.T
	dir      string
	sessions chan *session
	session  *session
	manager  *Manager
	aux      *fakeAux
	launched []int64
	live     []string // jobs, as the broker says
	stop     context.CancelFunc
	stopped  chan error

	mu        sync.Mutex
	statuses  map[uint64][]*v1.TaskStatus
	logStates []grant.LogState // of the application, as they were reported
	changed   chan struct{}
}

type session struct {
	sent     chan *v1.AgentMessage
	commands chan *v1.AgentCommand
	ended    chan struct{}
	once     sync.Once
}

func (s *session) Send(m *v1.AgentMessage) error {
	select {
	case <-s.ended:
		return api.ErrSessionEnded
	case s.sent <- m:
		return nil
	}
}
func (s *session) Commands() <-chan *v1.AgentCommand { return s.commands }
func (s *session) Err() error                        { return api.ErrSessionEnded }
func (s *session) Close() error {
	s.once.Do(func() { close(s.ended); close(s.commands) })
	return nil
}

// fakeAux notes what it is told.
type fakeAux struct {
	mu    sync.Mutex
	apps  []string
	data  string
	dirs  []string
	ended []string
}

func (*fakeAux) Name() string                { return "mapreduce_shuffle" }
func (*fakeAux) Start(context.Context) error { return nil }
func (*fakeAux) Stop() error                 { return nil }
func (*fakeAux) Metadata() []byte            { return []byte{0, 0, 0x34, 0xfa} }
func (f *fakeAux) InitApplication(app, user string, uid int, data []byte, dirs []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apps, f.dirs = append(f.apps, fmt.Sprint(app, " ", user, " ", uid)), dirs
	if data != nil {
		f.data = string(data)
	}
	return nil
}
func (f *fakeAux) EndApplication(app string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, app)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

var (
	testApp     = id.ApplicationID{Timestamp: 1700000000000, Number: 7}
	testAttempt = id.AttemptID{Application: testApp, Number: 1}
	testSecret  = []byte("secret of the job, thirty-two byt")
)

func newRig(t *testing.T, change func(*Options)) *rig {
	if os.Geteuid() != 0 {
		t.Skip("containers of other accounts need root")
	}
	dir, err := os.MkdirTemp("/var/tmp", "nodemanager") // t.TempDir is closed to other accounts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, live: []string{"job-7"}, statuses: map[uint64][]*v1.TaskStatus{}, changed: make(chan struct{})}
	r.start(change)
	t.Cleanup(r.finish)
	return r
}

// start starts an agent on the folder; a second one takes up what the first has left.
func (r *rig) start(change func(*Options)) {
	mux := storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "file:///")
	r.aux = &fakeAux{}
	o := Options{Host: "127.0.0.1", Files: mux.Resolve, Auxiliary: []Auxiliary{r.aux}, Account: "nobody", Env: map[string]string{"JAVA_HOME": "/jdk"}, Round: 50 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.manager = m
	r.sessions = make(chan *session, 4)
	sessions := r.sessions
	log := zaptest.NewLogger(r.t)
	a, err := agent.New(agent.Options{WorkDir: filepath.Join(r.dir, "agent"), Services: []service.Service{m}, Log: log, Host: "here",
		Connect: func(context.Context) (api.AgentSession, error) {
			s := &session{sent: make(chan *v1.AgentMessage, 4096), commands: make(chan *v1.AgentCommand, 4096), ended: make(chan struct{})}
			sessions <- s
			return s, nil
		}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.stopped = cancel, make(chan error, 1)
	stopped := r.stopped
	go func() { stopped <- a.Run(ctx) }()
	select {
	case r.session = <-r.sessions:
	case err := <-stopped:
		r.t.Fatal(err)
	case <-time.After(patience):
		r.t.Fatal("the agent does not connect")
	}
	s := r.session
	if reg := (<-s.sent).GetRegister(); reg == nil || reg.Info.Attributes[AttributeAddress] != m.node.String() {
		r.t.Fatalf("registration %v", reg)
	}
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_Registered{Registered: &v1.AgentRegistered{AgentId: "a-1", HeartbeatNanos: int64(time.Hour), LiveJobs: r.live}}})
	go r.listen(s)
}

func (r *rig) listen(s *session) {
	for {
		select {
		case <-s.ended:
			return
		case m := <-s.sent:
			u := m.GetStatus()
			for _, x := range m.GetReports().GetReports() {
				var g grant.Logs
				if err := proto.Unmarshal(x.Data, &g); err != nil || x.Service != Name || x.JobId != "job-7" || g.Application != testApp.String() {
					r.t.Errorf("a report %v, %v", x, err)
				}
				r.mu.Lock()
				r.logStates = append(r.logStates, g.State)
				close(r.changed)
				r.changed = make(chan struct{})
				r.mu.Unlock()
			}
			if u == nil {
				continue
			}
			s.commands <- &v1.AgentCommand{Epoch: 1, Command: &v1.AgentCommand_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: u.Task, Sequence: u.Sequence}}}
			r.mu.Lock()
			r.statuses[u.Task.Sequence] = append(r.statuses[u.Task.Sequence], u)
			close(r.changed)
			r.changed = make(chan struct{})
			r.mu.Unlock()
		}
	}
}

func (r *rig) say(c *v1.AgentCommand) {
	c.Epoch = 1
	r.session.commands <- c
}

// end stops the agent; containers live on.
func (r *rig) end() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.stopped; err != nil && !errors.Is(err, context.Canceled) {
		r.t.Error(err)
	}
}

// finish ends all containers and the agent.
func (r *rig) finish() {
	if r.stop == nil {
		return
	}
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: "job-7"}}})
	for _, n := range r.launched {
		r.outcome(n)
	}
	r.end()
}

func cid(n int64) id.ContainerID { return id.NewContainer(testAttempt, 0, n) }

// launch sends a task as the broker does.
func (r *rig) launch(n int64, user string, lc *wire.ContainerLaunchContextProto) {
	r.launched = append(r.launched, n)
	g := &grant.Grant{Application: testApp.String(), Attempt: testAttempt.String(), Container: cid(n).String(), User: user, MemoryMb: 256, Vcores: 1, Acls: map[string]string{"VIEW_APP": "bob"}}
	if lc != nil {
		g.Master = true
		g.LaunchContext, _ = proto.Marshal(lc)
	}
	data, _ := proto.Marshal(g)
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_Launch{Launch: &v1.TaskSpec{Task: &v1.TaskID{Framework: "f-7", Sequence: uint64(n)}, Name: g.Container, JobId: "job-7", JobSecret: testSecret,
		Service: Name, Data: data, Command: &v1.Command{User: user}, Resources: &v1.Resources{CpuMilli: 1000, MemoryBytes: 256 << 20}, KillGraceNanos: int64(250 * time.Millisecond)}}})
}

// await returns the first status of a task that fits.
func (r *rig) await(n int64, fits func(*v1.TaskStatus) bool) *v1.TaskStatus {
	r.t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		for _, s := range r.statuses[uint64(n)] {
			if fits(s) {
				r.mu.Unlock()
				return s
			}
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("task %d: no such status; it has %v", n, r.statuses[uint64(n)])
		}
	}
}

func (r *rig) running(n int64) {
	r.t.Helper()
	r.await(n, func(s *v1.TaskStatus) bool { return s.State == v1.TaskState_TASK_STATE_RUNNING })
}

func (r *rig) outcome(n int64) (*v1.TaskStatus, *grant.Outcome) {
	r.t.Helper()
	s := r.await(n, func(s *v1.TaskStatus) bool {
		return s.State != v1.TaskState_TASK_STATE_RUNNING && s.State != v1.TaskState_TASK_STATE_STAGING
	})
	o := &grant.Outcome{}
	if err := proto.Unmarshal(s.Data, o); err != nil || len(s.Data) == 0 {
		r.t.Fatalf("outcome of %v: %v", s, err)
	}
	return s, o
}

// client is a master's connection.
func (r *rig) client(t token.NM) *hadooprpc.Client {
	r.t.Helper()
	tok := token.Issue(token.KindNM, r.manager.node.String(), token.Keys(testSecret).NM, t.Marshal())
	c, err := hadooprpc.Dial(r.t.Context(), r.manager.node.String(), hadooprpc.ClientOptions{Protocol: ProtocolName, Token: &tok})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) nm() token.NM {
	return token.NM{Attempt: testAttempt, Node: r.manager.node, User: "nobody", KeyID: token.KeyID}
}

func (r *rig) permit(n int64, change func(*token.Container)) *wire.StartContainerRequestProto {
	t := token.Container{ID: cid(n), Node: r.manager.node.String(), User: "nobody", MemoryMB: 256, VCores: 1, Expires: time.Now().Add(time.Minute), KeyID: token.KeyID, Created: time.Now(), AllocationRequestID: -1}
	if change != nil {
		change(&t)
	}
	return &wire.StartContainerRequestProto{ContainerToken: token.Issue(token.KindContainer, t.Node, token.Keys(testSecret).Container, t.Marshal()).Proto()}
}

func env(pairs ...string) (l []*wire.StringStringMapProto) {
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, &wire.StringStringMapProto{Key: proto.String(pairs[i]), Value: proto.String(pairs[i+1])})
	}
	return l
}

// said is a launch context of one command.
func said(command string, variables ...string) *wire.ContainerLaunchContextProto {
	return &wire.ContainerLaunchContextProto{Command: []string{"{ " + command + "; }", "1><LOG_DIR>/stdout", "2><LOG_DIR>/stderr"}, Environment: env(variables...)}
}

func (r *rig) log(n int64, name string) string {
	r.t.Helper()
	f, err := os.Open(filepath.Join(r.manager.logs, testApp.String(), cid(n).String(), name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	b, _ := io.ReadAll(f)
	return strings.TrimSpace(string(b))
}
