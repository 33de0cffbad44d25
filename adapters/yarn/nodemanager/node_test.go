package nodemanager

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/tfile"
	v1 "fairway/broker/api/fairwayv1"
)

// Logs are shown while the container runs, and written away when the application has ended.
func TestLogs(t *testing.T) {
	var remote string
	r := newRig(t, func(o *Options) { o.Logs = Logs{Aggregate: true} })
	r.finish()
	remote = filepath.Join(r.dir, "remote")
	if err := os.Mkdir(remote, 0o777); err != nil {
		t.Fatal(err)
	}
	r.start(func(o *Options) {
		o.Logs, o.ACLs, o.Admins = Logs{Aggregate: true, Dir: "file://" + remote}, true, "ops"
	})
	r.launch(1, "nobody", said("echo hello; exec sleep 1000"))
	r.running(1)
	for r.log(1, "stdout") != "hello" {
		<-time.After(5 * time.Millisecond)
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", r.manager.httpPort)
	for path, want := range map[string]string{
		"/ws/v1/node/containers/" + cid(1).String() + "/logs/stdout?size=-4&user.name=nobody": "llo\n",
		"/ws/v1/node/containers/" + cid(1).String() + "/logs?user.name=bob":                   `"fileName":"stdout"`,
		"/ws/v1/node/containers":               cid(1).String(),
		"/ws/v1/node/info":                     r.manager.node.String(),
		"/ws/v1/node/apps/" + testApp.String(): `"RUNNING"`,
		"/node/containerlogs/" + cid(1).String() + "/nobody/stdout?user.name=ops": "hello",
	} {
		a, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %s", path, a.StatusCode, b)
		}
	}
	for _, who := range []string{"", "?user.name=mallory"} {
		a, err := http.Get(base + "/ws/v1/node/containers/" + cid(1).String() + "/logs/stdout" + who)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != http.StatusForbidden {
			t.Errorf("logs are shown to %q: %s", who, a.Status)
		}
	}
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: "job-7"}}})
	if _, o := r.outcome(1); o.ExitStatus != -107 {
		t.Errorf("%v", o)
	}
	written := tfile.Folders{Root: remote, Suffix: "logs"}.File("nobody", testApp, r.manager.node)
	gone(t, r.manager.logs+"/"+testApp.String())
	b, err := os.ReadFile(written)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tfile.ReadLogs(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := l.Next(); err != nil || name != cid(1).String() {
		t.Fatalf("%s, %v", name, err)
	}
	found := map[string]string{}
	for {
		name, _, content, err := l.NextFile()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(content)
		found[name] = string(text)
	}
	if found["stdout"] != "hello\n" || found["prelaunch.out"] == "" {
		t.Errorf("%v", found)
	}
	r.logsAre(grant.LogState_LOG_STATE_NOT_STARTED, grant.LogState_LOG_STATE_RUNNING, grant.LogState_LOG_STATE_SUCCEEDED)
}

// logsAre waits until the application's logs were reported to be in these states, one after the other.
func (r *rig) logsAre(want ...grant.LogState) {
	r.t.Helper()
	late := time.After(patience)
	for {
		r.mu.Lock()
		got, changed := slices.Clone(r.logStates), r.changed
		r.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-changed:
		case <-late:
			r.t.Fatalf("logs were reported as %v, want %v", got, want)
		}
	}
}

// An agent whose logs cannot be written says that they fail, and after a restart says so again. One that does not aggregate
// says nothing, and declares nothing.
func TestLogsReported(t *testing.T) {
	r := newRig(t, nil)
	if _, says := r.manager.Attributes()[AttributeLogs]; says {
		t.Error("it declares that it aggregates")
	}
	r.launch(1, "nobody", said("true"))
	r.outcome(1)
	r.logsAre()
	r.end()
	remote := filepath.Join(r.dir, "remote")
	if err := os.WriteFile(remote, nil, 0o600); err != nil { // a file where a folder is wanted
		t.Fatal(err)
	}
	aggregate := func(o *Options) { o.Logs = Logs{Aggregate: true, Dir: "file://" + remote} }
	r.start(aggregate)
	if r.manager.Attributes()[AttributeLogs] != LogsAggregated {
		t.Error("it does not declare that it aggregates")
	}
	r.logsAre(grant.LogState_LOG_STATE_NOT_STARTED)
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: "job-7"}}})
	r.logsAre(grant.LogState_LOG_STATE_NOT_STARTED, grant.LogState_LOG_STATE_RUNNING, grant.LogState_LOG_STATE_FAILING)
	r.end()
	r.mu.Lock()
	r.logStates = nil
	r.mu.Unlock()
	r.live = nil
	r.start(aggregate)
	r.logsAre(grant.LogState_LOG_STATE_FAILING)
	r.end()
	if err := os.Remove(remote); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(remote, 0o777); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.logStates = nil
	r.mu.Unlock()
	r.start(aggregate)
	r.logsAre(grant.LogState_LOG_STATE_SUCCEEDED)
}
