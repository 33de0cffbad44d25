package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/container"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"google.golang.org/protobuf/proto"
)

// These tests kill the agent with SIGKILL, so it runs in a process of its own: this test binary, told so by its
// environment. Its sessions come over a Unix socket, as length-prefixed messages.

const agentProcess = "FAIRWAY_TEST_AGENT" // "work folder|socket"

func TestMain(m *testing.M) {
	if dir, socket, ok := strings.Cut(os.Getenv(agentProcess), "|"); ok {
		a, err := New(Options{WorkDir: dir, Connect: func(ctx context.Context) (api.AgentSession, error) { return dialFake(socket) }})
		if err == nil {
			err = a.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// remoteSession is a session of an agent in a process of its own.
type remoteSession struct {
	conn     net.Conn
	commands chan *v1.AgentCommand
}

func dialFake(socket string) (api.AgentSession, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	s := &remoteSession{conn: conn, commands: make(chan *v1.AgentCommand, 16)}
	go func() {
		defer close(s.commands)
		for r := bufio.NewReader(conn); ; {
			c := &v1.AgentCommand{}
			if receive(r, c) != nil {
				return
			}
			s.commands <- c
		}
	}()
	return s, nil
}

func (s *remoteSession) Send(m *v1.AgentMessage) error     { return transmit(s.conn, m) }
func (s *remoteSession) Commands() <-chan *v1.AgentCommand { return s.commands }
func (s *remoteSession) Err() error                        { return io.EOF }
func (s *remoteSession) Close() error                      { return s.conn.Close() }

func transmit(w io.Writer, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func receive(r io.Reader, m proto.Message) error {
	var n uint32
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
		return err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}

// listen makes the fake broker take sessions from other processes.
func (b *fakeBroker) listen() string {
	socket := filepath.Join(b.t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			far, _ := b.connect(context.Background())
			s := far.(*fakeSession)
			go func() {
				for c := range s.commands {
					transmit(conn, c)
				}
				conn.Close()
			}()
			go func() {
				for r := bufio.NewReader(conn); ; {
					m := &v1.AgentMessage{}
					if receive(r, m) != nil {
						s.Close()
						return
					}
					s.Send(m)
				}
			}()
		}
	}()
	return socket
}

// process starts an agent in a process of its own; the function kills it.
func (b *fakeBroker) process(dir, socket string) (*exec.Cmd, func()) {
	b.t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), agentProcess+"="+dir+"|"+socket)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			c.Process.Kill()
			c.Wait()
		}
	}
	b.t.Cleanup(kill)
	return c, kill
}

func TestAgentKilled(t *testing.T) {
	b := newFakeBroker(t)
	dir, socket := workDir(t), b.listen()
	_, kill := b.process(dir, socket)
	s := b.accept(nil)
	address := s.register.Info.DataAddress
	// One task that ends while no agent is there, one that lives on, one that is killed later, and one that has ended but
	// was not acknowledged.
	fifo := filepath.Join(dir, "go")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	between := shell(1, "read x < "+fifo+"; exit 7")
	on := shell(2, "echo $$; read x < "+fifo+".2; echo $$; exit 0")
	if err := syscall.Mkfifo(fifo+".2", 0o600); err != nil {
		t.Fatal(err)
	}
	later := shell(3, "sleep 1000")
	done := shell(4, "exit 0")
	for _, spec := range []*v1.TaskSpec{between, on, later} {
		s.launch(spec)
		s.status(spec.Task, true)
	}
	s.launch(done)
	for s.status(done.Task, false).State != finished {
	}
	kill()
	write(t, fifo)
	until(t, "exit record", func() bool {
		_, err := os.Stat(filepath.Join(dir, "containers", "f-1_1", "exit"))
		return err == nil
	})

	_, kill = b.process(dir, socket)
	s = b.accept(nil)
	states := map[string]v1.TaskState{}
	for _, r := range s.register.Tasks {
		states[checkpoint.Key(r.Task)] = r.State
	}
	if s.register.AgentId != "a-1" || len(states) != 4 || states["f-1/1"] != failed || states["f-1/2"] != running || states["f-1/3"] != running || states["f-1/4"] != finished {
		t.Errorf("registered with %v", s.register)
	}
	if s.register.Info.DataAddress != address {
		t.Errorf("the data server moved from %s to %s", address, s.register.Info.DataAddress)
	}
	// Updates of different tasks come in any order; take them as they come.
	write(t, fifo+".2")
	s.kill(later.Task, time.Millisecond)
	got := map[uint64]*v1.TaskStatus{}
	for len(got) < 4 {
		if u := s.next().GetStatus(); u != nil {
			s.acknowledge(u)
			if u.State != running {
				got[u.Task.Sequence] = u
			}
		}
	}
	expect(t, got[1], failed, v1.TaskReason_TASK_REASON_EXITED, "exit code 7")
	expect(t, got[2], finished, 0, "")
	expect(t, got[3], killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "enough")
	expect(t, got[4], finished, 0, "")
	out, err := os.ReadFile(filepath.Join(dir, "sandboxes/f-1/2/stdout"))
	if f := strings.Fields(string(out)); err != nil || len(f) != 2 || f[0] != f[1] {
		t.Errorf("the task did not live on: %q %v", out, err)
	}
	until(t, "release of all containers", func() bool {
		left, err := os.ReadDir(filepath.Join(dir, "containers"))
		return err == nil && len(left) == 0
	})
	kill()
}

// TestHostRestarted feigns a new start of the host by another boot id in the checkpoint.
func TestHostRestarted(t *testing.T) {
	dir := workDir(t)
	store, err := checkpoint.Open(filepath.Join(dir, "checkpoint.db"))
	if err != nil {
		t.Fatal(err)
	}
	spec := shell(1, "exit 0")
	if err := store.Commit(&checkpoint.Change{Identity: &checkpoint.Identity{AgentID: "a-1", BootID: "another", Epoch: 1}, Tasks: map[string]*checkpoint.Task{
		"f-1/1": {Spec: spec, Container: "f-1_1", Phase: checkpoint.Running, Sequence: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	b := newFakeBroker(t)
	b.start(Options{WorkDir: dir}, false)
	s := b.accept(nil)
	u := s.end(spec.Task)
	expect(t, u, failed, v1.TaskReason_TASK_REASON_AGENT_RESTARTED, "host was started again")
	if u.Sequence != 2 {
		t.Errorf("status %v", u)
	}
}

// An intent without a container is a failed launch.
func TestIntentAlone(t *testing.T) {
	dir := workDir(t)
	store, err := checkpoint.Open(filepath.Join(dir, "checkpoint.db"))
	if err != nil {
		t.Fatal(err)
	}
	spec := shell(1, "exit 0")
	if err := store.Commit(&checkpoint.Change{Identity: &checkpoint.Identity{AgentID: "a-1", BootID: container.BootID(), Epoch: 1}, Tasks: map[string]*checkpoint.Task{
		"f-1/1": {Spec: spec, Container: "f-1_1", Phase: checkpoint.Launching}}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	b := newFakeBroker(t)
	b.start(Options{WorkDir: dir}, false)
	s := b.accept(nil)
	expect(t, s.end(spec.Task), failed, v1.TaskReason_TASK_REASON_LAUNCH_FAILED, "restarted while it launched")
}

// The supervisor of the real binary shares it with gRPC, bbolt and the rest; this test binary links those as well.
func TestSupervisorIsSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("built with the race detector, which has memory of its own")
	}
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	s := b.accept(nil)
	spec := shell(1, "ps -o ppid= -p $$; sleep 1000")
	s.launch(spec)
	s.status(spec.Task, true)
	log := filepath.Join(a.tree.Dir("f-1", 1), "stdout")
	var pid int
	until(t, "number of the supervisor", func() bool {
		out, err := os.ReadFile(log)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		return err == nil && pid > 0
	})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	anon, threads := -1, 0
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "RssAnon: %d kB", &anon)
		fmt.Sscanf(line, "Threads: %d", &threads)
	}
	t.Logf("supervisor: %d KiB anonymous, %d threads", anon, threads)
	if anon < 0 || anon > 4096 {
		t.Errorf("supervisor has %d KiB of anonymous memory, at most 4096 allowed", anon)
	}
}

// write opens a fifo for writing, which waits for its reader, and closes it.
func write(t *testing.T, fifo string) {
	t.Helper()
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f)
	f.Close()
}

// until waits for something that nothing tells of.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 2000}) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// A kill is carried out though the agent that was told of it dies.
func TestKillSurvivesTheAgent(t *testing.T) {
	b := newFakeBroker(t)
	dir, socket := workDir(t), b.listen()
	_, kill := b.process(dir, socket)
	s := b.accept(nil)
	spec := shell(1, "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done")
	s.launch(spec)
	s.status(spec.Task, true)
	stdout := func(want string) func() bool {
		return func() bool {
			out, err := os.ReadFile(filepath.Join(dir, "sandboxes/f-1/1/stdout"))
			return err == nil && strings.Contains(string(out), want)
		}
	}
	until(t, "the trap", stdout("ready"))
	s.kill(spec.Task, 300*time.Millisecond)
	until(t, "the signal", stdout("asked"))
	kill()
	_, kill = b.process(dir, socket)
	s = b.accept(nil)
	expect(t, s.end(spec.Task), killed, v1.TaskReason_TASK_REASON_KILL_ASKED, "enough")
	until(t, "release of the container", func() bool {
		left, err := os.ReadDir(filepath.Join(dir, "containers"))
		return err == nil && len(left) == 0
	})
	kill()
}
