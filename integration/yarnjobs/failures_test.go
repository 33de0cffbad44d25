package yarnjobs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
	"fairway/integration/hadoop"
	"fairway/integration/testbed"
)

// job is a job that runs beside the test.
type job struct {
	res  hadoop.JobResult
	err  error
	done chan struct{}
}

func (r *rig) begin(ctx context.Context, user, jar string, args ...string) *job {
	j := &job{done: make(chan struct{})}
	go func() {
		defer close(j.done)
		j.res, j.err = r.client(user).RunJob(ctx, jar, args...)
	}()
	return j
}

func (j *job) wait(t *testing.T, r *rig, limit time.Duration) hadoop.JobResult {
	t.Helper()
	select {
	case <-j.done:
	case <-time.After(limit):
		t.Fatalf("the job has not ended after %v\n%s", limit, r.Logs())
	}
	if j.err != nil {
		t.Fatalf("%v\n%s\n%s", j.err, j.res.Output, r.Logs())
	}
	return j.res
}

// await waits for something that another program does, which cannot tell us.
func await(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s did not happen within %v", what, limit)
		}
	}
}

// processes returns the pids whose command line and environment hold all words; bash wrappers are left out.
func processes(words ...string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
next:
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if bytes.HasPrefix(line, []byte("/bin/bash")) || bytes.HasPrefix(line, []byte("bash")) {
			continue
		}
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		all := append(line, env...)
		for _, w := range words {
			if !bytes.Contains(all, []byte(w)) {
				continue next
			}
		}
		pids = append(pids, pid)
	}
	return pids
}

// gate is a mapper that copies its input once the test lets it.
func gate(t *testing.T) (mapper string, started func() int, open func()) {
	t.Helper()
	dir, err := os.MkdirTemp(world.Dir, "gate-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	mapper = script(t, "gate.sh", fmt.Sprintf("#!/bin/bash\ntouch %s/started-$mapreduce_task_attempt_id\nwhile [ ! -e %s/open ]; do sleep 0.1; done\nexec cat\n", dir, dir))
	started = func() int {
		list, _ := filepath.Glob(filepath.Join(dir, "started-*"))
		return len(list)
	}
	open = func() {
		if err := os.WriteFile(filepath.Join(dir, "open"), nil, 0o644); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(open)
	return mapper, started, open
}

// beginGated begins a streaming job of n maps that wait at the gate.
func (r *rig) beginGated(t *testing.T, user, name string, n int, mapper string, more ...string) *job {
	t.Helper()
	for i := range n {
		world.Put(t, user, home(user, fmt.Sprintf("%s/f%d", name, i)), fmt.Sprintf("line %d\n", i))
	}
	args := append(more, "-files", mapper, "-input", home(user, name), "-output", home(user, name+"-out"), "-mapper", filepath.Base(mapper), "-reducer", "cat")
	return r.begin(t.Context(), user, world.In.StreamingJar(), args...)
}

func checkLines(t *testing.T, folder string, n int) {
	t.Helper()
	got := read(t, folder)
	for i := range n {
		if strings.Count(got, fmt.Sprintf("line %d", i)) < 1 {
			t.Errorf("%s lacks line %d: %q", folder, i, got)
		}
	}
	if c := strings.Count(got, "\n"); c != n {
		t.Errorf("%s has %d lines, want %d", folder, c, n)
	}
}

// A mapper that fails twice and then works.
func TestMapperThatFailsTwice(t *testing.T) {
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "flaky/in.txt"), "line 0\n")
	m := script(t, "flaky.sh", "#!/bin/bash\ncase $mapreduce_task_attempt_id in *_0|*_1) echo deliberate >&2; exit 3;; esac\nexec cat\n")
	res := world.rig.run(t, testbed.WithAccount, 3*time.Minute, world.In.StreamingJar(), "-Dmapreduce.job.maps=1", "-files", m,
		"-input", home(testbed.WithAccount, "flaky"), "-output", home(testbed.WithAccount, "flaky-out"), "-mapper", "flaky.sh", "-reducer", "cat")
	checkLines(t, home(testbed.WithAccount, "flaky-out"), 1)
	if res.Counters["Failed map tasks"] < 2 {
		t.Errorf("counters %v do not tell two failures", res.Counters)
	}
}

// The ApplicationMaster is killed: a second attempt finishes the job.
func TestMasterKilled(t *testing.T) {
	m, started, open := gate(t)
	j := world.rig.beginGated(t, testbed.WithAccount, "amkill", 2, m)
	await(t, "a map's start", 2*time.Minute, func() bool { return started() > 0 })
	masters := processes("MRAppMaster", "CONTAINER_ID=", world.Dir)
	if len(masters) != 1 {
		t.Fatalf("%d ApplicationMasters run", len(masters))
	}
	if err := syscall.Kill(masters[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	open()
	j.wait(t, world.rig, 3*time.Minute)
	checkLines(t, home(testbed.WithAccount, "amkill-out"), 2)
}

// A JVM that takes more memory than its container has ends with YARN's words, and only it.
func TestContainersOverTheirMemory(t *testing.T) {
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "memory/in.txt"), "line 0\n")
	m, _, _ := gate(t)
	eater := script(t, "eater.py", "#!/usr/bin/env python3\nimport sys, time\nb = bytearray(3 << 30)\nfor i in range(0, len(b), 4096):\n    b[i] = 1\ntime.sleep(60)\n")
	for name, args := range map[string][]string{
		"python": {"-files", eater, "-mapper", "eater.py"},
		// The JVM's own buffer for sorting is larger than its container.
		"java": {"-Dmapreduce.map.memory.mb=1024", "-Dmapreduce.task.io.sort.mb=1300", "-Dmapreduce.map.java.opts=-Xmx3g",
			"-files", m, "-mapper", filepath.Base(m)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		res, err := world.rig.client(testbed.WithAccount).RunJob(ctx, world.In.StreamingJar(), append(append([]string{"-Dmapreduce.job.maps=1", "-Dmapreduce.map.maxattempts=2"}, args...), "-input", home(testbed.WithAccount, "memory"),
			"-output", home(testbed.WithAccount, "memory-"+name), "-reducer", "cat")...)
		if err == nil || ctx.Err() != nil {
			t.Fatalf("%s: %v\n%s", name, err, res.Output)
		}
		if !strings.Contains(res.Output, "physical memory used") || !strings.Contains(res.Output, "Killing container.") {
			t.Errorf("%s: the client does not hear of the memory limit:\n%s", name, res.Output)
		}
	}
}

// Faults that end processes of the cluster have one of their own.
func TestAgentKilledWithMapOutput(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "node_expiry: 10s")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	const maps = 6
	m, started, open := gate(t)
	last := script(t, "last.sh", fmt.Sprintf("#!/bin/bash\ncase $mapreduce_map_input_file in */f0) exec %s;; esac\nexec cat\n", m))
	j := r.beginGated(t, testbed.WithAccount, "agentkill", maps, last, "-Dmapreduce.job.reduce.slowstart.completedmaps=1.0", "-Dmapreduce.map.speculative=false")
	outputs := func(agent string) []string {
		found, err := filepath.Glob(filepath.Join(r.Dir, "agent"+agent, "services/yarn/local/usercache/*/appcache/*/output/attempt_*/file.out"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	client := dial(t, r.addresses["yarn.resourcemanager.address"], hadooprpc.ClientOptions{Protocol: clientProtocol, User: testbed.WithAccount})
	await(t, "the end of all maps but one", 2*time.Minute, func() bool {
		// A container that its master takes for a live one would cost three minutes: so long it tries to reach the lost agent.
		var x wire.GetApplicationsResponseProto
		if err := client.Call(t.Context(), "getApplications", &wire.GetApplicationsRequestProto{}, &x); err != nil {
			t.Fatal(err)
		}
		return started() == 1 && len(outputs("*")) == maps-1 && x.Applications[0].GetAppResource_Usage().GetNumUsedContainers() == 2
	})
	at, gated := agentOf(t, r, "MRAppMaster"), agentOf(t, r, "_m_00000")
	victim := -1
	for i := range 3 {
		if i != at && i != gated && len(outputs(strconv.Itoa(i+1))) > 0 {
			victim = i
		}
	}
	if victim < 0 {
		t.Fatalf("no agent but those of the master (%d) and of the last map (%d) has output: %v", at, gated, outputs("*"))
	}
	lost := len(outputs(strconv.Itoa(victim + 1)))
	r.Agent(victim).Kill()
	for _, pid := range processes(fmt.Sprintf("NM_HOST=127.0.1.%d", victim+1), world.Dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // the host is lost, not only the agent
	}
	if err := os.RemoveAll(filepath.Join(r.Dir, fmt.Sprintf("agent%d", victim+1))); err != nil {
		t.Fatal(err)
	}
	await(t, "the lost maps' output", 2*time.Minute, func() bool { return len(outputs("*")) == maps-1 })
	open()
	res := j.wait(t, r, 2*time.Minute)
	if want := fmt.Sprintf("Launched map tasks=%d", maps+lost); !strings.Contains(res.Output, want) {
		t.Errorf("no %q in %s", want, res.Output)
	}
	checkLines(t, home(testbed.WithAccount, "agentkill-out"), 6)
}

// agentOf tells which agent runs the process that holds word.
func agentOf(t *testing.T, r *rig, word string) int {
	t.Helper()
	for i := range 3 {
		if len(processes(word, fmt.Sprintf("NM_HOST=127.0.1.%d", i+1), r.Dir)) > 0 {
			return i
		}
	}
	t.Fatalf("no agent runs %s", word)
	return 0
}

// The broker is killed in the middle of a job and started again: the job goes on.
func TestBrokerKilled(t *testing.T) {
	r, err := startRig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	m, started, open := gate(t)
	j := r.beginGated(t, testbed.WithAccount, "brokerkill", 4, m)
	await(t, "a map's start", 2*time.Minute, func() bool { return started() > 0 })
	r.Broker().Kill()
	begin := time.Now()
	if err := r.StartBroker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the broker took %v to listen again", d)
	}
	open()
	j.wait(t, r, 4*time.Minute)
	checkLines(t, home(testbed.WithAccount, "brokerkill-out"), 4)
}

// An agent that is cut off and comes back before, or after, its containers are given up.
func TestAgentCutOff(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "node_expiry: 10s")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	for name, away := range map[string]time.Duration{"before": 7 * time.Second, "after": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			m, started, open := gate(t)
			j := r.beginGated(t, testbed.WithAccount, "cut"+name, 6, m)
			await(t, "the maps' start", 2*time.Minute, func() bool { return started() >= 6 })
			victim := (agentOf(t, r, "MRAppMaster") + 1) % 3
			if err := r.Agent(victim).Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(away) // what is tested is the time that passes
			if err := r.Agent(victim).Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			open()
			j.wait(t, r, 4*time.Minute)
			checkLines(t, home(testbed.WithAccount, "cut"+name+"-out"), 6)
			if n := started(); name == "before" && n != 6 {
				t.Errorf("%d attempts started, though the agent was back in time", n)
			}
		})
	}
}
