package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "fairway/broker/api/fairwayv1"
	"google.golang.org/protobuf/proto"
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

func TestUpdatesAreOrderedAndRetried(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "exit 0")
	s.launch(spec)
	var first []string
	for range 2 {
		first = append(first, key(s.status(spec.Task, false)))
	}
	// The broker is gone before it acknowledged anything. The next session hears the same again, in the same order.
	s.Close()
	s = b.accept(nil)
	if l := s.register.Tasks; len(l) != 1 || l[0].State != finished || s.register.AgentId != "a-1" {
		t.Errorf("registered with %v", s.register)
	}
	var again []string
	var last *v1.TaskStatus
	for range 2 {
		last = s.status(spec.Task, false)
		again = append(again, key(last))
	}
	if want := []string{"f-1/1#1 TASK_STATE_RUNNING", "f-1/1#2 TASK_STATE_FINISHED"}; !slices.Equal(first, want) || !slices.Equal(again, want) {
		t.Errorf("heard %v, then %v", first, again)
	}
	s.acknowledge(&v1.TaskStatus{Task: spec.Task, Sequence: 1})
	s.Close()
	s = b.accept(nil)
	if u := s.status(spec.Task, true); u.Sequence != 2 {
		t.Errorf("after the first was acknowledged: %v", u)
	}
	// Over a restart too.
	s.launch(shell(2, "exit 0"))
	for {
		if u := s.status(&v1.TaskID{Framework: "f-1", Sequence: 2}, false); u.State == finished {
			break
		}
	}
	a.end()
	b.start(Options{WorkDir: a.o.WorkDir}, false)
	s = b.accept(nil)
	if l := s.register.Tasks; len(l) != 1 || l[0].Task.Sequence != 2 || s.register.AgentId != "a-1" {
		t.Errorf("registered after a restart with %v", s.register)
	}
	if u := s.end(&v1.TaskID{Framework: "f-1", Sequence: 2}); u.State != finished || u.Sequence != 2 {
		t.Errorf("status after a restart: %v", u)
	}
}

func TestFormerLeaderIsRefused(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	s.epoch = 5
	kept := shell(1, "exit 0")
	s.launch(kept)
	s.end(kept.Task)
	s.epoch = 4
	s.launch(shell(2, "exit 0"))
	s.epoch = 5
	s.launch(shell(3, "exit 0"))
	s.end(&v1.TaskID{Framework: "f-1", Sequence: 3})
	if _, err := os.Stat(a.tree.Dir("f-1", 2)); err == nil {
		t.Error("a task of a former leader was launched")
	}
	a.end()
	b.start(Options{WorkDir: a.o.WorkDir}, false)
	select {
	case s = <-b.sessions:
	case <-time.After(patience):
		t.Fatal("no session")
	}
	s.next()
	s.epoch = 4
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Registered{Registered: &v1.AgentRegistered{AgentId: "a-1", Kill: []*v1.TaskID{{Framework: "f-1", Sequence: 4}}}}})
	s.launch(shell(5, "exit 0"))
	s.epoch = 5
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Registered{Registered: &v1.AgentRegistered{AgentId: "a-1"}}})
	s.launch(shell(4, "echo $FAIRWAY_AGENT_ID; exit 0"))
	expect(t, s.end(&v1.TaskID{Framework: "f-1", Sequence: 4}), finished, 0, "")
	if _, err := os.Stat(a.tree.Dir("f-1", 5)); err == nil {
		t.Error("a task of a former leader was launched")
	}
}

func TestSameLaunchTwice(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "echo x >> ../count; exit 4")
	s.launch(proto.CloneOf(spec))
	s.launch(proto.CloneOf(spec))
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_EXITED, "exit code 4")
	s.launch(proto.CloneOf(spec)) // the broker has forgotten; it hears the end again
	u := s.end(spec.Task)
	expect(t, u, failed, v1.TaskReason_TASK_REASON_EXITED, "exit code 4")
	if u.Sequence != 2 {
		t.Errorf("status %v", u)
	}
	if got := a.file(t, spec.Task, "../count"); got != "x" {
		t.Errorf("ran %q times", got)
	}
}

func TestBadSpecs(t *testing.T) {
	b := newFakeBroker(t)
	b.start(Options{}, false)
	s := b.accept(nil)
	for i, c := range []struct {
		change  func(*v1.TaskSpec)
		reason  v1.TaskReason
		message string
	}{
		{func(s *v1.TaskSpec) { s.Command.Argv = nil }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "command is empty"},
		{func(s *v1.TaskSpec) { s.Command = nil }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "command is empty"},
		{func(s *v1.TaskSpec) { s.Command.Argv[0] = "no-such-program" }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "neither in the sandbox nor on PATH"},
		{func(s *v1.TaskSpec) { s.Command.Argv[0] = "./none" }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "no such file"},
		{func(s *v1.TaskSpec) { s.Command.User = "no-such-user" }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, `no account "no-such-user"`},
		{func(s *v1.TaskSpec) { s.JobId = "../x" }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "job id"},
		{func(s *v1.TaskSpec) { s.Service = "none" }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "no service"},
		{func(s *v1.TaskSpec) { s.Command.Files = []*v1.InlineFile{{Target: "../x"}} }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "no path inside"},
		{func(s *v1.TaskSpec) {
			s.Command.Files = []*v1.InlineFile{{Target: "x", Content: make([]byte, maxInline+1)}}
		}, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "at most 1 MiB"},
		{func(s *v1.TaskSpec) { s.Command.Uris = []*v1.URI{{Value: "file:///etc/passwd", Target: "/x"}} }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "no path inside"},
		{func(s *v1.TaskSpec) { s.Command.Uris = []*v1.URI{{Value: "file:///no/such"}} }, v1.TaskReason_TASK_REASON_FETCH_FAILED, "fetch file:///no/such: "},
		{func(s *v1.TaskSpec) { s.Command.Uris = []*v1.URI{{Value: "gopher://x/y"}} }, v1.TaskReason_TASK_REASON_FETCH_FAILED, `no source for scheme "gopher"`},
		{func(s *v1.TaskSpec) { s.Command.Env = map[string]string{"A=B": "x"} }, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "environment variable"},
	} {
		spec := shell(uint64(i+1), "exit 0")
		c.change(spec)
		if os.Geteuid() != 0 && spec.GetCommand().GetUser() != "" {
			continue // only root looks accounts up
		}
		s.launch(spec)
		expect(t, s.end(spec.Task), failed, c.reason, c.message)
	}
	spec := shell(100, "exit 0")
	spec.Task.Framework = "../../x"
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "task id")
}

func TestEnvironmentAndFiles(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{Host: "h1", BrokerAddress: "unix:///b", Binary: "/bin/echo"}, false)
	s := b.accept(nil)
	spec := shell(1, "env | sort; pwd; ls -a; cat conf/a; stat -c %a conf/a . $FAIRWAY_JOB_DIR tmp")
	spec.JobId, spec.JobSecret = "job-1", []byte("secret\x00")
	spec.Command.Env = map[string]string{"B": "b", "FAIRWAY_TASK_ID": "forged"}
	spec.Command.Files = []*v1.InlineFile{{Target: "conf/a", Content: []byte("inline\n"), Mode: 0o640}, {Target: ".fairway/token", Content: []byte("job:x")}}
	s.launch(spec)
	expect(t, s.end(spec.Task), finished, 0, "")
	dir, job := a.tree.Dir("f-1", 1), a.tree.JobDir("job-1")
	me, err := accountOf("")
	if err != nil {
		t.Fatal(err)
	}
	want := "B=b\nFAIRWAY_AGENT_DATA_ADDRESS=" + a.DataAddress() + "\nFAIRWAY_AGENT_HOST=h1\nFAIRWAY_AGENT_ID=a-1\nFAIRWAY_BINARY=/bin/echo\nFAIRWAY_BROKER=unix:///b\n" +
		"FAIRWAY_CPU_MILLI=100\nFAIRWAY_JOB_DIR=" + job + "\nFAIRWAY_JOB_ID=job-1\nFAIRWAY_MEMORY_BYTES=67108864\nFAIRWAY_SANDBOX=" + dir +
		"\nFAIRWAY_SECRET_FILE=" + dir + "/.fairway/secret\nFAIRWAY_TASK_ID=f-1/1\nFAIRWAY_TOKEN_FILE=" + dir + "/.fairway/token\nHOME=" + me.home +
		"\nLOGNAME=" + me.name + "\nPATH=" + os.Getenv("PATH") + "\nPWD=" + dir + "\nTMPDIR=" + dir + "/tmp\nUSER=" + me.name + "\n" + dir +
		"\n.\n..\n.fairway\nconf\nstderr\nstdout\ntmp\ninline\n640\n700\n700\n700"
	got := a.file(t, spec.Task, "stdout")
	// The shell's own.
	got = strings.Replace(strings.Replace(got, "SHLVL=0\n", "", 1), "_=/usr/bin/env\n", "", 1)
	if got != want {
		t.Errorf("task saw\n%s\nwant\n%s", got, want)
	}
	if secret := a.file(t, spec.Task, ".fairway/secret"); secret != "secret\x00" {
		t.Errorf("secret %q", secret)
	}
	own := shell(2, "")
	own.Command.Argv = []string{"{fairway}", "hello"}
	s.launch(own)
	expect(t, s.end(own.Task), finished, 0, "")
	if got := a.file(t, own.Task, "stdout"); got != "hello" {
		t.Errorf("own binary said %q", got)
	}
}

func TestJobEnds(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "echo x > $FAIRWAY_JOB_DIR/map-0; sleep 1000")
	spec.JobId, spec.JobSecret, spec.KillGraceNanos = "job-1", []byte("s"), int64(50*time.Millisecond)
	s.launch(spec)
	s.status(spec.Task, true)
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: "job-1"}}})
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_JOB_ENDED, "job has ended")
	a.end()
	if _, err := os.Stat(a.tree.JobDir("job-1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("job folder: %v", err)
	}
	// A folder whose job ended while the agent was away goes when it is back.
	os.Mkdir(a.tree.JobDir("job-0"), 0o700)
	b2 := newFakeBroker(t)
	a2 := b2.start(Options{WorkDir: a.o.WorkDir}, false)
	s = b2.accept(&v1.AgentRegistered{AgentId: "a-1", LiveJobs: []string{"job-2"}})
	s.launch(shell(2, "exit 0"))
	s.end(&v1.TaskID{Framework: "f-1", Sequence: 2})
	a2.end()
	if _, err := os.Stat(a.tree.JobDir("job-0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder of an unknown job: %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	if !a.Info().IsolatesMemory {
		t.Skip("no memory cgroup: " + a.runtime.Limits().Why)
	}
	s := b.accept(nil)
	other := shell(1, "sleep 1000")
	s.launch(other)
	hog := shell(2, "head -c 200000000 /dev/zero | tail")
	hog.Resources.MemoryBytes = 32 << 20
	s.launch(hog)
	u := s.end(hog.Task)
	expect(t, u, failed, v1.TaskReason_TASK_REASON_MEMORY_LIMIT, "over its memory limit of 32 MiB (peak ")
	if u.MemoryLimitBytes != 32<<20 || u.MemoryPeakBytes < 30<<20 {
		t.Errorf("status %v", u)
	}
	s.kill(other.Task, time.Millisecond)
	expect(t, s.end(other.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "")
}

func TestDiskQuota(t *testing.T) {
	b := newFakeBroker(t)
	b.start(Options{QuotaInterval: 10 * time.Millisecond}, false)
	s := b.accept(nil)
	spec := shell(1, "head -c 3000000 /dev/zero > big; sleep 1000")
	spec.SandboxQuotaBytes = 2 << 20
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_DISK_LIMIT, "over the quota of 2 MiB")
}

func TestDiskFull(t *testing.T) {
	dir := workDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m,mode=711"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	b := newFakeBroker(t)
	b.start(Options{WorkDir: dir, Binary: "/bin/true"}, false)
	s := b.accept(nil)
	spec := shell(1, "cat /dev/zero > big")
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_DISK_LIMIT, "disk is full")
	// Nothing new can start, and it says why. The agent lives, and works again when there is space.
	next := shell(2, "exit 0")
	next.Command.Files = []*v1.InlineFile{{Target: "x", Content: make([]byte, 1<<19)}}
	s.launch(next)
	expect(t, s.end(next.Task), failed, v1.TaskReason_TASK_REASON_DISK_LIMIT, "no space left")
	if err := os.Remove(filepath.Join(dir, "sandboxes/f-1/1/big")); err != nil {
		t.Fatal(err)
	}
	last := shell(3, "exit 0")
	s.launch(last)
	expect(t, s.end(last.Task), finished, 0, "")
}

func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may switch users")
	}
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	private := filepath.Join(t.TempDir(), "private")
	if err := os.WriteFile(private, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := shell(1, "id -un; id -u > mine; stat -c %U . mine stdout .fairway tmp conf $FAIRWAY_JOB_DIR; echo $USER; cat "+private)
	spec.Command.User, spec.JobId = "nobody", "job-1"
	spec.Command.Files = []*v1.InlineFile{{Target: "conf", Content: []byte("x")}}
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_EXITED, "Permission denied")
	if got := strings.Fields(a.file(t, spec.Task, "stdout")); len(got) != 9 || strings.Join(slices.Compact(got), "") != "nobody" {
		t.Errorf("stdout %q", got)
	}
	// What the user may not read the agent does not fetch for him.
	spec = shell(2, "exit 0")
	spec.Command.User = "nobody"
	spec.Command.Uris = []*v1.URI{{Value: "file://" + private}}
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_FETCH_FAILED, "permission denied")
	// A job's folder belongs to one user.
	spec = shell(3, "exit 0")
	spec.JobId = "job-1"
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "another user")
}

func TestSupervisorGone(t *testing.T) {
	b := newFakeBroker(t)
	b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "kill -9 $(ps -o ppid= -p $$); sleep 1000")
	s.launch(spec)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_AGENT_RESTARTED, "supervisor has died")
}

func TestShutdown(t *testing.T) {
	b := newFakeBroker(t)
	a, err := New(Options{WorkDir: workDir(t), Connect: b.connect})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	s := b.accept(nil)
	spec := shell(1, "sleep 1000")
	s.launch(spec)
	s.status(spec.Task, true)
	s.command(&v1.AgentCommand{Command: &v1.AgentCommand_Shutdown{Shutdown: &v1.AgentShutdown{Reason: "gone for too long"}}})
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_AGENT_GONE, "gone for too long")
	if err := <-done; !errors.Is(err, ErrShutdown) {
		t.Errorf("agent ended with %v", err)
	}
}

// A broker that names the agent otherwise than it knows itself is another cluster's, whatever its epoch.
func TestAnotherCluster(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	s.epoch = 7
	live, done := shell(1, "sleep 1000"), shell(2, "exit 0")
	s.launch(live)
	s.status(live.Task, true)
	s.launch(done)
	for s.status(done.Task, false).State != finished {
	}
	s.Close()
	s = b.accept(&v1.AgentRegistered{AgentId: "b-1"})
	if s.register.AgentId != "a-1" {
		t.Errorf("registered with %v", s.register)
	}
	s.launch(shell(3, "exit 0"))
	if u := s.end(&v1.TaskID{Framework: "f-1", Sequence: 3}); u.AgentId != "b-1" {
		t.Errorf("status %v", u)
	}
	until(t, "end of the other task", func() bool {
		left, err := os.ReadDir(filepath.Join(a.o.WorkDir, "containers"))
		return err == nil && len(left) == 0
	})
	for len(s.sent) > 0 {
		if u := s.next().GetStatus(); u != nil && u.Task.Sequence != 3 {
			t.Errorf("heard of another cluster's task: %v", u)
		}
	}
	if a.ID() != "b-1" {
		t.Errorf("id %q", a.ID())
	}
}
