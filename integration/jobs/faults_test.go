package jobs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
)

// faulty is a cluster of its own, for tests that kill its daemons.
func faulty(t *testing.T) *cluster.Cluster { return faultyIn(t, "") }

// faultyIn is faulty with its files in a folder, or in one of its own.
func faultyIn(t *testing.T, dir string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{Binary: world.Binary, Agents: agents(world.DFS.Hosts, "2"), HadoopDir: world.DFS.ConfDir,
		Config: "roles: [{path: analytics, weight: 2}, {path: batch, weight: 1}]\n", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// slowMapper takes some hundred milliseconds of cpu for each split.
const slowMapper = `import sys, hashlib
for line in sys.stdin:
    h = line.encode()
    for _ in range(12): h = hashlib.sha256(h).digest()
    for w in line.split():
        print(w + "\t1")
`

// begun submits two jobs in two roles on several blocks and waits until both run maps.
func begun(t *testing.T, c *cluster.Cluster, folder string) (ids [2]string, want map[string]int64) {
	t.Helper()
	text, want := lines(120_000) // two blocks
	for i := range 3 {
		put(t, fmt.Sprintf("%s/in/%d", folder, i), text)
	}
	for w := range want {
		want[w] *= 3
	}
	mapper := filepath.Join(t.TempDir(), "slow.py")
	write(t, mapper, slowMapper)
	for i, role := range []string{"analytics", "batch"} {
		out, err := c.Run(t.Context(), "submit", "mapreduce", "-input", "hdfs://"+folder+"/in", "-output", fmt.Sprintf("hdfs://%s/out%d", folder, i),
			"-mapper", "python3 slow.py", "-reducer", "sum", "-combiner", "sum", "-file", mapper, "--role", role, "--split-size", "512KiB", "--detach")
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Logs())
		}
		ids[i] = out[:len(out)-1]
	}
	for _, id := range ids {
		await(t, c, id, func(j *v1.Job) bool { return cluster.Done(j, "map") >= 1 && j.TasksRunning >= 2 })
	}
	return ids, want
}

// finish waits for both jobs and checks their outputs, and that no task id ran twice.
func finish(t *testing.T, c *cluster.Cluster, folder string, ids [2]string, want map[string]int64) {
	t.Helper()
	for i, id := range ids {
		j := await(t, c, id, func(j *v1.Job) bool { return j.FinishedUnixNanos != 0 })
		if j.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED {
			t.Fatalf("job %s: %v: %s\n%s", id, j.Phase, j.Message, c.Logs())
		}
		checkCounts(t, fmt.Sprintf("%s/out%d", folder, i), want)
		tasks := tasksOf(t, c, id)
		seen := map[string]bool{}
		for _, k := range tasks {
			name := fmt.Sprintf("%s/%d", k.Id.Framework, k.Id.Sequence)
			if seen[name] {
				t.Errorf("task %s is there twice", name)
			}
			seen[name] = true
		}
	}
}

func tasksOf(t *testing.T, c *cluster.Cluster, id string) []*v1.Task {
	t.Helper()
	b, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, err := b.ListTasks(t.Context(), api.Caller{}, &v1.ListTasksRequest{JobId: id, PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return r.Tasks
}

func TestBrokerKilled(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/broker")
	before := map[string]bool{}
	for _, k := range tasksOf(t, c, ids[0]) {
		if k.State == v1.TaskState_TASK_STATE_RUNNING {
			before[k.Id.String()] = true
		}
	}
	c.Broker().Kill()
	if err := c.StartBroker(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish(t, c, "/faults/broker", ids, want)
	for _, k := range tasksOf(t, c, ids[0]) {
		if before[k.Id.String()] && k.State != v1.TaskState_TASK_STATE_FINISHED {
			t.Errorf("task %v (%s on %s) that ran when the broker was killed ended as %v: %v", k.Id, k.Name, k.Host, k.State, k.Status.GetMessage())
		}
	}
}

func TestAgentKilledAndBack(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/agent")
	c.Agent(1).Kill()
	if err := c.StartAgent(1); err != nil {
		t.Fatal(err)
	}
	finish(t, c, "/faults/agent", ids, want)
}

func TestAgentKilledForGood(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/gone")
	c.Agent(2).Kill()
	finish(t, c, "/faults/gone", ids, want)
	if err := c.StartAgent(2); err != nil { // ends what its predecessor left
		t.Fatal(err)
	}
	if err := c.WaitAgents(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
}

func TestCoordinatorsAgentKilled(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/coordinator")
	host := ""
	for _, k := range tasksOf(t, c, ids[0]) {
		if k.Name == "coordinator" || k.State == v1.TaskState_TASK_STATE_RUNNING && host == "" {
			host = k.Host
		}
		if k.Name == "coordinator" {
			break
		}
	}
	at := -1
	for i, h := range world.DFS.Hosts {
		if h.Name == host {
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("no agent is called %q", host)
	}
	c.Agent(at).Kill()
	finish(t, c, "/faults/coordinator", ids, want)
	if err := c.StartAgent(at); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitAgents(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
}

func TestAgentCutOffAndBack(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/cut")
	p := c.Agent(0)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitAgent(t, c, world.DFS.Hosts[0].Name, "unreachable")
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitAgents(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	finish(t, c, "/faults/cut", ids, want)
}

func awaitAgent(t *testing.T, c *cluster.Cluster, host, state string) {
	t.Helper()
	if err := c.Until(t.Context(), host+" to be "+state, cluster.Is(host, state)); err != nil {
		t.Fatal(err)
	}
}

func TestDataNodeKilled(t *testing.T) {
	c := faulty(t)
	ids, want := begun(t, c, "/faults/datanode")
	host := world.DFS.Hosts[1].Name
	if err := world.DFS.StopDataNode(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if err := world.DFS.StartDataNode(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	finish(t, c, "/faults/datanode", ids, want)
}

// TestDiskFull has a small disk under the sandboxes of the agent where a job's input lies. The maps that fill it fail there,
// are told as that, and are done elsewhere; a job that may not try again says what was wrong.
func TestDiskFull(t *testing.T) {
	text, want := lines(20_000)
	folder := fmt.Sprintf("/faults/disk%d", time.Now().UnixNano())
	in := put(t, folder+"/in", text)
	blocks, err := world.FS.Blocks(t.Context(), folder+"/in")
	if err != nil || len(blocks) != 1 || len(blocks[0].Replicas) != 1 {
		t.Fatalf("%v, %v", blocks, err)
	}
	host := blocks[0].Replicas[0].Host
	dir, err := os.MkdirTemp("", "fairway-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := slices.IndexFunc(world.DFS.Hosts, func(h hadoop.Host) bool { return h.Name == host })
	small := filepath.Join(dir, fmt.Sprintf("agent%d", at+1))
	if err := os.Mkdir(small, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=32m,mode=711"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() { // after the cluster has ended
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	c := faultyIn(t, dir)
	mapper := filepath.Join(t.TempDir(), "fill.py")
	write(t, mapper, `import sys
with open("fill", "wb") as f:
    for _ in range(64): f.write(bytes(1 << 20))
for line in sys.stdin:
    for w in line.split(): print(w + "\t1")
`)
	args := []string{"submit", "mapreduce", "-q", "-input", in, "-mapper", "python3 fill.py", "-reducer", "sum", "-combiner", "sum", "-file", mapper}
	refused(t, c, []string{"map 0 of 1 failed", "No space left on device"}, append(args, "-output", "hdfs://"+folder+"/none", "-D", "mapreduce.map.maxattempts=1")...)
	j := submit(t, c, append(args[2:], "-output", "hdfs://"+folder+"/out")...)
	checkCounts(t, folder+"/out", want)
	full := 0
	for _, k := range tasksOf(t, c, j.Id) {
		if k.Status.GetReason() == v1.TaskReason_TASK_REASON_DISK_LIMIT {
			full++
			if k.Host != host {
				t.Errorf("%s filled the disk of %s: %s", k.Name, k.Host, k.Status.Message)
			}
		}
	}
	if full == 0 {
		t.Errorf("no task found the disk of %s full", host)
	}
}

// TestClockJumps lets every daemon miss more time than the broker waits for an agent, as when a machine sleeps, and starts
// broker and agent again with monotone clocks that count from elsewhere. The wall's clock belongs to the whole machine:
// that it may jump is shown in virtual time (broker/core, TestClockJumps).
func TestClockJumps(t *testing.T) {
	if os.Getenv("FAIRWAY_LONG") == "" {
		t.Skip("FAIRWAY_LONG is not set: waits for timeouts on the real clock, some 50 s")
	}
	c := faulty(t)
	ids, want := begun(t, c, "/faults/clock")
	daemons := []*cluster.Process{c.Broker(), c.Agent(0), c.Agent(1), c.Agent(2)}
	for _, p := range daemons {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(6 * time.Second) // agent_timeout is 5 s; nobody is there to tell that it has passed
	for _, p := range daemons {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WaitAgents(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	elsewhere := otherClock(t, 30*24*time.Hour)
	c.Broker().Kill()
	if err := c.StartBrokerIn(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	c.Agent(1).Kill()
	if err := c.StartAgentIn(elsewhere, 1); err != nil {
		t.Fatal(err)
	}
	finish(t, c, "/faults/clock", ids, want)
}

// otherClock makes a time namespace whose monotone clock is ahead, and returns what a command is prefixed with to run in it.
func otherClock(t *testing.T, ahead time.Duration) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "time")
	write(t, file, "")
	make := exec.Command("unshare", "--time="+file, "--monotonic", fmt.Sprint(int(ahead.Seconds())), "true")
	if out, err := make.CombinedOutput(); err != nil {
		t.Skipf("this system makes no time namespaces: %v %s", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(file, 0); err != nil {
			t.Error(err)
		}
	})
	return []string{"nsenter", "--time=" + file, "--"}
}
