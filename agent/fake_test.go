package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// fakeBroker is the far end of an agent's sessions.
type fakeBroker struct {
	t        *testing.T
	sessions chan *fakeSession
}

// fakeSession is one session as the broker sees it.
type fakeSession struct {
	b        *fakeBroker
	sent     chan *v1.AgentMessage // by the agent
	commands chan *v1.AgentCommand
	mu       sync.Mutex // of closing commands
	ended    chan struct{}
	epoch    uint64

	register *v1.RegisterAgent
}

func newFakeBroker(t *testing.T) *fakeBroker {
	return &fakeBroker{t: t, sessions: make(chan *fakeSession, 16)}
}

func (b *fakeBroker) connect(context.Context) (api.AgentSession, error) {
	s := &fakeSession{b: b, sent: make(chan *v1.AgentMessage, 4096), commands: make(chan *v1.AgentCommand, 4096), ended: make(chan struct{}), epoch: 1}
	b.sessions <- s
	return s, nil
}

func (s *fakeSession) Send(m *v1.AgentMessage) error {
	select {
	case <-s.ended:
		return api.ErrSessionEnded
	case s.sent <- m:
		return nil
	}
}

func (s *fakeSession) Commands() <-chan *v1.AgentCommand { return s.commands }
func (s *fakeSession) Err() error                        { return api.ErrSessionEnded }
func (s *fakeSession) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
	default:
		close(s.ended)
		close(s.commands)
	}
	return nil
}

const patience = 20 * time.Second

// accept takes the agent's next session and answers its registration.
func (b *fakeBroker) accept(answer *v1.AgentRegistered) *fakeSession {
	b.t.Helper()
	select {
	case s := <-b.sessions:
		m := s.next()
		if s.register = m.GetRegister(); s.register == nil {
			b.t.Fatalf("first message is %v", m)
		}
		if answer == nil {
			answer = &v1.AgentRegistered{AgentId: "a-1", HeartbeatNanos: int64(time.Hour)}
		}
		s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Registered{Registered: answer}})
		return s
	case <-time.After(patience):
		b.t.Fatal("the agent does not connect")
		return nil
	}
}

func (s *fakeSession) command(c *v1.AgentCommand) {
	if c.Epoch == 0 {
		c.Epoch = s.epoch
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended: // what is said to nobody is lost
	default:
		s.commands <- c
	}
}

func (s *fakeSession) next() *v1.AgentMessage {
	s.b.t.Helper()
	select {
	case m := <-s.sent:
		return m
	case <-time.After(patience):
		s.b.t.Fatal("the agent says nothing")
		return nil
	}
}

// status returns the next status of a task and acknowledges it if told so.
func (s *fakeSession) status(id *v1.TaskID, acknowledge bool) *v1.TaskStatus {
	s.b.t.Helper()
	for {
		if u := s.next().GetStatus(); u != nil && checkpoint.Key(u.Task) == checkpoint.Key(id) {
			if acknowledge {
				s.acknowledge(u)
			}
			return u
		}
	}
}

func (s *fakeSession) acknowledge(u *v1.TaskStatus) {
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: u.Task, Sequence: u.Sequence}}})
}

func (s *fakeSession) launch(spec *v1.TaskSpec) {
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Launch{Launch: spec}})
}

func (s *fakeSession) kill(id *v1.TaskID, grace time.Duration) {
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Kill{Kill: &v1.KillTask{Task: id, GraceNanos: int64(grace), Reason: "enough"}}})
}

// end takes the statuses of a task up to its last, acknowledging each.
func (s *fakeSession) end(id *v1.TaskID) *v1.TaskStatus {
	s.b.t.Helper()
	for {
		u := s.status(id, true)
		switch u.State {
		case v1.TaskState_TASK_STATE_STAGING, v1.TaskState_TASK_STATE_RUNNING:
		default:
			return u
		}
	}
}

func shell(sequence uint64, script string) *v1.TaskSpec {
	return &v1.TaskSpec{Task: &v1.TaskID{Framework: "f-1", Sequence: sequence}, Resources: &v1.Resources{CpuMilli: 100, MemoryBytes: 64 << 20},
		Command: &v1.Command{Argv: []string{"sh", "-c", script}}}
}

// started is an agent that runs in this process.
type started struct {
	*Agent
	t    *testing.T
	stop func() error
	once sync.Once
}

func (s *started) end() {
	s.t.Helper()
	s.once.Do(func() {
		if err := s.stop(); err != nil {
			s.t.Errorf("agent ended with %v", err)
		}
	})
}

// start runs an agent, with KillOnStop unless keep.
func (b *fakeBroker) start(o Options, keep bool) *started {
	b.t.Helper()
	if o.WorkDir == "" {
		o.WorkDir = workDir(b.t)
	}
	o.Connect = b.connect
	o.KillOnStop = !keep
	if o.Log == nil {
		o.Log = zaptest.NewLogger(b.t, zaptest.Level(zap.WarnLevel))
	}
	a, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s := &started{Agent: a, t: b.t, stop: func() error { cancel(); return <-done }}
	b.t.Cleanup(s.end)
	return s
}

// workDir is a folder that other users may pass through, and in which no container is left at the end.
func workDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		r, err := container.New(container.Options{Dir: filepath.Join(dir, "containers")})
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		ids, err := r.List()
		if err != nil {
			t.Error(err)
		}
		for _, id := range ids {
			t.Errorf("container %s is left behind", id)
			if c, err := r.Attach(id); err == nil {
				c.Kill(0)
				c.Wait(context.Background())
				c.Release()
			}
		}
	})
	return dir
}

func (s *started) file(t *testing.T, id *v1.TaskID, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.tree.Dir(id.Framework, id.Sequence), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}

func expect(t *testing.T, u *v1.TaskStatus, state v1.TaskState, reason v1.TaskReason, message string) {
	t.Helper()
	if u.State != state || u.Reason != reason || !strings.Contains(u.Message, message) {
		t.Errorf("status %v, want %v %v %q", u, state, reason, message)
	}
}

func key(u *v1.TaskStatus) string {
	return fmt.Sprintf("%s#%d %s", checkpoint.Key(u.Task), u.Sequence, u.State)
}
