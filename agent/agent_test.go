package agent

import (
	"errors"
	"testing"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

const (
	finished = v1.TaskState_TASK_STATE_FINISHED
	failed   = v1.TaskState_TASK_STATE_FAILED
	killed   = v1.TaskState_TASK_STATE_KILLED
	running  = v1.TaskState_TASK_STATE_RUNNING
)

func TestRegisterLaunchReport(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{Host: "h1", Rack: "/r1", Version: "v", Resources: &v1.Resources{CpuMilli: 4000}}, false)
	s := b.accept(nil)
	if i := s.register.Info; i.Host != "h1" || i.Rack != "/r1" || i.Total.CpuMilli != 4000 || i.Total.MemoryBytes < 1<<28 || i.DataAddress == "" || i.BootId == "" {
		t.Errorf("info %v", i)
	}
	spec := shell(1, "echo hello; echo oops >&2; exit 3")
	s.launch(spec)
	u := s.status(spec.Task, true)
	if u.State != running || u.Sequence != 1 || u.AgentId != "a-1" || u.AgentHost != "h1" || u.AgentDataAddress != a.DataAddress() {
		t.Errorf("first status %v", u)
	}
	u = s.status(spec.Task, true)
	expect(t, u, failed, v1.TaskReason_TASK_REASON_EXITED, "exit code 3: oops")
	if u.Sequence != 2 || u.ExitCode != 3 || u.MemoryLimitBytes != 64<<20 || u.CpuTimeNanos <= 0 {
		t.Errorf("last status %v", u)
	}
	if got := a.file(t, spec.Task, "stdout"); got != "hello" {
		t.Errorf("stdout %q", got)
	}
	ok := shell(2, "exit 0")
	s.launch(ok)
	expect(t, s.end(ok.Task), finished, 0, "")
	if a.ID() != "a-1" || !a.Ready() {
		t.Errorf("id %q ready %v", a.ID(), a.Ready())
	}
}

func TestKill(t *testing.T) {
	b := newFakeBroker(t)
	b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "trap '' TERM; while :; do sleep 100; done")
	s.launch(spec)
	s.status(spec.Task, true)
	s.kill(spec.Task, 10*time.Millisecond)
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "enough")

	unknown := &v1.TaskID{Framework: "f-1", Sequence: 99}
	s.kill(unknown, 0)
	expect(t, s.status(unknown, false), v1.TaskState_TASK_STATE_LOST, v1.TaskReason_TASK_REASON_UNKNOWN_TASK, "never had it")
}

func TestWorkFolderIsLocked(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	b.accept(nil)
	if _, err := New(Options{WorkDir: a.o.WorkDir, Connect: b.connect}); !errors.Is(err, ErrLocked) {
		t.Errorf("second agent: %v", err)
	}
}
