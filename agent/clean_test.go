package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestCleaningByAge(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{SandboxMaxAge: time.Nanosecond}, false)
	s := b.accept(nil)
	old, live, unacknowledged := shell(1, "exit 0"), shell(2, "sleep 1000"), shell(3, "exit 0")
	s.launch(old)
	s.end(old.Task)
	s.launch(live)
	s.status(live.Task, true)
	until(t, "cleaning", func() bool {
		a.cleanOnce(t.Context())
		_, err := os.Stat(a.tree.Dir("f-1", 1))
		return errors.Is(err, os.ErrNotExist)
	})
	if _, err := os.Stat(a.tree.Dir("f-1", 2)); err != nil {
		t.Errorf("a running task's sandbox is gone: %v", err)
	}
	a.o.SandboxMaxAge = time.Hour
	s.launch(unacknowledged)
	for s.status(unacknowledged.Task, false).State != finished {
	}
	a.cleanOnce(t.Context())
	if _, err := os.Stat(a.tree.Dir("f-1", 3)); err != nil {
		t.Errorf("a fresh sandbox is gone: %v", err)
	}
}

func TestCleaningUnderPressure(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	for n := range uint64(3) {
		spec := shell(n+1, "exit 0")
		s.launch(spec)
		s.end(spec.Task)
	}
	// The last one acknowledged shows that the acknowledgements before it were taken.
	until(t, "the oldest", func() bool {
		chosen := a.ask(t.Context(), true)
		return len(chosen) == 1 && chosen[0].Sequence == 1
	})
	a.remove(t.Context(), []*v1.TaskID{{Framework: "f-1", Sequence: 1}})
	if chosen := a.ask(t.Context(), true); len(chosen) != 1 || chosen[0].Sequence != 2 {
		t.Errorf("chose %v", chosen)
	}
	if chosen := a.ask(t.Context(), false); len(chosen) != 0 {
		t.Errorf("without pressure chose %v", chosen)
	}
}

// A service that wraps tasks and answers one page.
type fakeService struct {
	started, stopped bool
	ended            chan string
	kill             func(*v1.TaskID, time.Duration, string)
	report           func(job string, data []byte)
	live             chan map[string]bool
	resized          chan *v1.TaskSpec // nil: nobody wants to know
}

func (*fakeService) Name() string { return "wrap" }
func (f *fakeService) Start(_ context.Context, h service.Host) error {
	f.started = h.WorkDir != "" && h.Log != nil
	f.kill, f.report = h.Kill, h.Report
	return nil
}
func (f *fakeService) Stop() error { f.stopped = true; return nil }
func (*fakeService) Attributes() map[string]string {
	return map[string]string{"wrap.address": "here:1"}
}
func (*fakeService) Account(*v1.TaskSpec) string     { return "" }
func (f *fakeService) JobsLive(live map[string]bool) { f.live <- live }
func (f *fakeService) Started(task *v1.TaskSpec, p service.Process) {
	if string(task.Data) == "kill" {
		f.kill(task.Task, time.Hour, fmt.Sprint("seen ", slices.Contains(p.PIDs(), p.PID())))
	}
}
func (f *fakeService) Resized(task *v1.TaskSpec) (int64, bool) {
	if f.resized != nil {
		f.resized <- task
	}
	return 2 * task.Resources.MemoryBytes, false
}
func (*fakeService) Ended(task *v1.TaskSpec, s *v1.TaskStatus, started bool) {
	s.Data = fmt.Appendf(nil, "%s %t", task.Data, started)
}
func (f *fakeService) Prepare(_ context.Context, t service.Task) (*service.Launch, error) {
	task, sandbox := t.Spec, t.Sandbox
	if string(task.Data) == "bad" {
		return nil, errors.New("cannot be prepared")
	}
	return &service.Launch{Command: &v1.Command{Argv: []string{"sh", "-c", "cat made; if grep -q -e kill -e stay made; then exec sleep 1000; fi"}}}, os.WriteFile(filepath.Join(sandbox, "made"), task.Data, 0o600)
}
func (f *fakeService) JobEnded(job string) { f.ended <- job }
func (f *fakeService) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.URL.Path)) })
}

func TestService(t *testing.T) {
	b := newFakeBroker(t)
	f := &fakeService{ended: make(chan string, 1), live: make(chan map[string]bool, 1)}
	a := b.start(Options{Services: []service.Service{f}}, false)
	s := b.accept(nil)
	spec := shell(1, "")
	spec.Command.Argv, spec.Service, spec.Data, spec.JobId = nil, "wrap", []byte("hello"), "j"
	s.launch(spec)
	last := s.end(spec.Task)
	expect(t, last, finished, 0, "")
	if string(last.Data) != "hello true" {
		t.Errorf("data %q", last.Data)
	}
	if got := s.register.Info.Attributes["wrap.address"]; got != "here:1" {
		t.Errorf("attribute %q", got)
	}
	<-f.live
	kill := shell(3, "")
	kill.Service, kill.Data = "wrap", []byte("kill")
	s.launch(kill)
	expect(t, s.end(kill.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "seen true")
	if got := a.file(t, spec.Task, "stdout"); got != "hello" {
		t.Errorf("stdout %q", got)
	}
	bad := shell(2, "")
	bad.Service, bad.Data = "wrap", []byte("bad")
	s.launch(bad)
	expect(t, s.end(bad.Task), failed, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "cannot be prepared")
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: "j"}}})
	if job := <-f.ended; job != "j" {
		t.Errorf("job %q", job)
	}
	if w := get(t, a.dataHandler(), "/v1/services/wrap/page", nil); w.Body.String() != "/page" {
		t.Errorf("page %q", w.Body)
	}
	a.end()
	if !f.started || !f.stopped {
		t.Errorf("started %v stopped %v", f.started, f.stopped)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	b := newFakeBroker(t)
	a := b.start(Options{Registerer: registry}, false)
	s := b.accept(nil)
	spec := shell(1, "exit 3")
	s.launch(spec)
	s.end(spec.Task)
	if n := testutil.ToFloat64(a.metrics.ended.WithLabelValues("failed", "exited")); n != 1 {
		t.Errorf("%v tasks ended", n)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
	a.end()
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("left registered: %v %v", families, err)
	}
}

func TestStopKillsAll(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "trap '' TERM; setsid sleep 1000 & sleep 1000")
	s.launch(spec)
	s.status(spec.Task, true)
	a.end()
	if left, err := os.ReadDir(filepath.Join(a.o.WorkDir, "containers")); err != nil || len(left) != 0 {
		t.Errorf("left %v %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(a.o.WorkDir, "lock")); err != nil {
		t.Error(err)
	}
	// The next agent reports its end.
	b.start(Options{WorkDir: a.o.WorkDir}, false)
	s = b.accept(nil)
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "agent was stopped")
}
