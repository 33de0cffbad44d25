package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fairway/agent/container"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
)

func (s *fakeSession) resize(id *v1.TaskID, cpu, memory int64, revision uint64) {
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Resize{Resize: &v1.TaskResized{
		Task: id, Resources: &v1.Resources{CpuMilli: cpu, MemoryBytes: memory}, Revision: revision,
	}}})
}

// hasLimit tells whether the kernel holds a task to so many bytes.
func hasLimit(container string, bytes int64) func() bool {
	return func() bool {
		for depth := range 5 { // of the agent's own cgroup, in a hierarchy of its own or not
			place := strings.Repeat("*/", depth) + "fairway"
			for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
				found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", place, "*", container, file))
				for _, name := range found {
					if b, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(b)) == strconv.FormatInt(bytes, 10) {
						return true
					}
				}
			}
		}
		return false
	}
}

// limited tells whether this host holds containers to their memory; a test without it shows the bookkeeping alone.
func limited(t *testing.T, a *Agent) bool {
	if l := a.runtime.Limits(); !l.Memory {
		t.Log("the kernel's limits are not looked at: " + l.Why)
		return false
	}
	return true
}

func TestResize(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, true)
	s := b.accept(nil)
	spec := shell(71, "sleep 1000")
	s.launch(spec)
	s.status(spec.Task, true)
	s.resize(spec.Task, 500, 96<<20, 2)
	s.resize(spec.Task, 500, 32<<20, 1) // late: it is known to be older
	s.resize(&v1.TaskID{Framework: "f-1", Sequence: 99}, 500, 32<<20, 1)
	if limited(t, a.Agent) {
		until(t, "the new limit", hasLimit("f-1_71", 96<<20))
	}
	// The next session hears what the task has now, and so does one of an agent that comes after this one.
	s.Close()
	s = b.accept(nil)
	has := func(what string, memory int64, revision uint64) {
		t.Helper()
		if l := s.register.Tasks; len(l) != 1 || l[0].Revision != revision || l[0].Resources.MemoryBytes != memory || l[0].State != running {
			t.Errorf("%s: registered with %v", what, l)
		}
	}
	has("again", 96<<20, 2)
	s.resize(spec.Task, 500, 80<<20, 3)
	s.resize(spec.Task, 500, 88<<20, 4)
	if limited(t, a.Agent) {
		until(t, "a smaller limit", hasLimit("f-1_71", 88<<20))
	} else {
		s.kill(&v1.TaskID{Framework: "f-1", Sequence: 98}, 0) // its answer comes after what was said before
		s.status(&v1.TaskID{Framework: "f-1", Sequence: 98}, false)
	}
	a.end()
	b.start(Options{WorkDir: a.o.WorkDir}, false)
	s = b.accept(nil)
	has("after a restart", 88<<20, 4)
	s.kill(spec.Task, 1)
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "enough")
}

// What an agent wrote down and did not come to do is done by the one after it, and by a later agent for a task that was
// resized while no agent was there.
func TestResizeSurvivesTheAgent(t *testing.T) {
	b := newFakeBroker(t)
	dir, socket := workDir(t), b.listen()
	_, kill := b.process(dir, socket)
	s := b.accept(nil)
	spec := shell(72, "sleep 1000")
	s.launch(spec)
	s.status(spec.Task, true)
	s.resize(spec.Task, 500, 96<<20, 1)
	s.kill(&v1.TaskID{Framework: "f-1", Sequence: 98}, 0)
	s.status(&v1.TaskID{Framework: "f-1", Sequence: 98}, false) // after it, what came before is written down
	kill()
	_, kill = b.process(dir, socket)
	s = b.accept(nil)
	if l := s.register.Tasks; len(l) != 1 || l[0].Revision != 1 || l[0].Resources.MemoryBytes != 96<<20 {
		t.Errorf("registered with %v", l)
	}
	r, err := container.New(container.Options{Dir: filepath.Join(dir, "containers")})
	if err != nil {
		t.Fatal(err)
	}
	if r.Limits().Memory {
		until(t, "the limit", hasLimit("f-1_72", 96<<20))
	}
	s.kill(spec.Task, 1)
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "enough")
	until(t, "release of the container", func() bool {
		left, err := os.ReadDir(filepath.Join(dir, "containers"))
		return err == nil && len(left) == 0
	})
	kill()
}

// A service says what the container's limits become, also for a task that was resized before it ran.
func TestResizeOfAService(t *testing.T) {
	b := newFakeBroker(t)
	f := &fakeService{ended: make(chan string, 1), live: make(chan map[string]bool, 1), resized: make(chan *v1.TaskSpec, 4)}
	a := b.start(Options{Services: []service.Service{f}}, false)
	s := b.accept(nil)
	spec := shell(73, "")
	spec.Command.Argv, spec.Service, spec.Data = nil, "wrap", []byte("stay")
	s.launch(spec)
	s.resize(spec.Task, 500, 96<<20, 1)
	x := <-f.resized
	if x.Revision != 1 || x.Resources.MemoryBytes != 96<<20 || string(x.Data) != "stay" {
		t.Errorf("told of %v", x)
	}
	if limited(t, a.Agent) {
		until(t, "twice the memory", hasLimit("f-1_73", 192<<20))
	}
	s.kill(spec.Task, 1)
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "enough")
}
