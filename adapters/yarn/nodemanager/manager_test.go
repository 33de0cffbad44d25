package nodemanager

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"google.golang.org/protobuf/proto"
)

func file(t *testing.T, r *rig, name, content string, mode os.FileMode) *wire.LocalResourceProto {
	t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.WriteFile(p, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	return &wire.LocalResourceProto{Resource: &wire.URLProto{Scheme: proto.String("file"), Port: proto.Int32(-1), File: proto.String(p)}, Size: proto.Int64(info.Size()),
		Timestamp: proto.Int64(info.ModTime().UnixMilli()), Type: wire.LocalResourceTypeProto_FILE.Enum(), Visibility: wire.LocalResourceVisibilityProto_APPLICATION.Enum()}
}

func TestMasterRuns(t *testing.T) {
	r := newRig(t, nil)
	lc := said(`cat sub/data && id -un && ls -ld . tmp container_tokens && echo \"$CLASSPATH\" $USER $NM_HOST $JAVA_HOME $LOCAL_DIRS && cat $HADOOP_TOKEN_FILE_LOCATION; exit 3`, "CLASSPATH", "{{PWD}}<CPS>$MINE", "MINE", "x y")
	lc.Tokens = []byte("HDTS\x00\x00\x00")
	lc.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("sub/data"), Value: file(t, r, "data", "hello\n", 0o644)}}
	r.launch(1, "alice@REALM", lc)
	s, o := r.outcome(1)
	if s.State != v1.TaskState_TASK_STATE_FAILED || o.ExitStatus != 3 || !strings.Contains(o.Diagnostics, "Container exited with a non-zero exit code 3") {
		t.Fatalf("%v %v", s, o)
	}
	app := filepath.Join(r.manager.local, "usercache/alice@REALM/appcache", testApp.String())
	work := filepath.Join(app, cid(1).String())
	out := r.log(1, "stdout")
	lines := strings.Split(out, "\n")
	if len(lines) < 7 || lines[0] != "hello" || lines[1] != "nobody" || !strings.HasPrefix(lines[2], "drwx------") || !strings.HasPrefix(lines[3], "-rw-------") ||
		!strings.Contains(out, work+":x y alice 127.0.0.1 /jdk "+app+"\nHDTS") {
		t.Errorf("stdout:\n%s", out)
	}
	// The same file is the task's stdout.
	if b, err := os.ReadFile(filepath.Join(r.dir, "agent/sandboxes/f-7/1/stdout")); err != nil || strings.TrimSpace(string(b)) != out {
		t.Errorf("task's stdout: %q, %v", b, err)
	}
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_JobEnded{JobEnded: &v1.JobEnded{JobId: "job-7"}}})
	gone(t, app)
	gone(t, filepath.Join(r.manager.private, "applications", testApp.String()))
	r.aux.mu.Lock()
	defer r.aux.mu.Unlock()
	if len(r.aux.ended) != 1 || r.aux.apps[0] != testApp.String()+" alice@REALM 65534" || r.aux.dirs[0] != app {
		t.Errorf("%+v", r.aux)
	}
}

// gone waits until a file is removed.
func gone(t *testing.T, path string) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s is still there", path)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestMasterStartsContainers(t *testing.T) {
	r := newRig(t, nil)
	r.launch(1, "nobody", said("sleep 1000"))
	r.launch(2, "nobody", nil)
	r.launch(3, "nobody", nil)
	r.running(1)
	c := r.client(r.nm())
	start := func(q *wire.StartContainerRequestProto, lc *wire.ContainerLaunchContextProto) (*wire.StartContainersResponseProto, error) {
		q.ContainerLaunchContext = lc
		a := &wire.StartContainersResponseProto{}
		return a, c.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, a)
	}
	lc := said("echo started; exec sleep 1000")
	lc.ServiceData = []*wire.StringBytesMapProto{{Key: proto.String("mapreduce_shuffle"), Value: []byte("the token")}}
	a, err := start(r.permit(2, nil), lc)
	if err != nil || len(a.SucceededRequests) != 1 || len(a.ServicesMetaData) != 1 || string(a.ServicesMetaData[0].Value) != "\x00\x00\x34\xfa" {
		t.Fatalf("%v, %v", a, err)
	}
	r.running(2)
	if a, err = start(r.permit(2, nil), lc); err != nil || len(a.FailedRequests) != 1 || !strings.Contains(a.FailedRequests[0].Exception.GetMessage(), "already is running on this node!!") {
		t.Errorf("started twice: %v, %v", a, err)
	}
	if a, err = start(r.permit(3, func(t *token.Container) { t.Expires = time.Now().Add(-time.Minute) }), lc); err != nil || len(a.FailedRequests) != 1 {
		t.Errorf("expired: %v, %v", a, err)
	}
	flipped := r.permit(3, nil)
	flipped.ContainerToken.Password[0] ^= 1
	foreign := r.permit(3, func(t *token.Container) { t.ID.Attempt.Application.Number = 8 })
	elsewhere := r.permit(3, func(t *token.Container) { t.Node = "127.0.0.1:1" })
	other := r.permit(3, func(t *token.Container) { t.User = "root" })
	for what, q := range map[string]*wire.StartContainerRequestProto{"flipped": flipped, "elsewhere": elsewhere, "another user": other, "nothing": {}} {
		var e *hadooprpc.Exception
		if _, err := start(q, lc); !errors.As(err, &e) || e.Class != hadooprpc.InvalidToken {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The application of the token is known here, and is not the caller's.
	other8 := testApp
	other8.Number = 8
	r.manager.mu.Lock()
	r.manager.apps[other8] = newApplication(other8, keptApplication{Application: other8.String(), Job: "job-8", Secret: testSecret, User: "nobody"})
	r.manager.mu.Unlock()
	if a, err = start(foreign, lc); err != nil || len(a.FailedRequests) != 1 || !strings.Contains(a.FailedRequests[0].Exception.GetMessage(), "was used for starting container with container token issued for") {
		t.Errorf("of another application: %v, %v", a, err)
	}
	statuses := &wire.GetContainerStatusesResponseProto{}
	ids := &wire.GetContainerStatusesRequestProto{ContainerId: []*wire.ContainerIdProto{cid(1).Proto(), cid(2).Proto(), cid(3).Proto(), cid(9).Proto()}}
	if err := c.Call(t.Context(), "getContainerStatuses", ids, statuses); err != nil || len(statuses.Status) != 3 || len(statuses.FailedRequests) != 1 {
		t.Fatalf("%v, %v", statuses, err)
	}
	if s := statuses.Status[1]; s.GetState() != wire.ContainerStateProto_C_RUNNING || s.GetExitStatus() != -1000 {
		t.Errorf("status %v", s)
	}
	if s := statuses.Status[2]; s.GetState() != wire.ContainerStateProto_C_NEW {
		t.Errorf("one that nobody has started: %v", s)
	}
	stopped := &wire.StopContainersResponseProto{}
	q := &wire.StopContainersRequestProto{ContainerId: []*wire.ContainerIdProto{cid(2).Proto(), cid(3).Proto(), cid(9).Proto()}}
	if err := c.Call(t.Context(), "stopContainers", q, stopped); err != nil || len(stopped.SucceededRequests) != 2 || len(stopped.FailedRequests) != 1 {
		t.Fatalf("%v, %v", stopped, err)
	}
	s, o := r.outcome(2)
	if s.State != v1.TaskState_TASK_STATE_KILLED || o.ExitStatus != -105 || !strings.Contains(o.Diagnostics, "Container killed on request. Exit code is 143") {
		t.Errorf("%v %v", s, o)
	}
	if _, o := r.outcome(3); o.ExitStatus != -105 {
		t.Errorf("a container that waited: %v", o)
	}
	if r.aux.data != "the token" {
		t.Errorf("service data %q", r.aux.data)
	}
	if err := c.Call(t.Context(), "getContainerStatuses", ids, statuses); err != nil || statuses.Status[1].GetState() != wire.ContainerStateProto_C_COMPLETE || statuses.Status[1].GetExitStatus() != -105 {
		t.Errorf("%v, %v", statuses, err)
	}
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_Kill{Kill: &v1.KillTask{Task: &v1.TaskID{Framework: "f-7", Sequence: 1}, Reason: "enough"}}})
	if _, o := r.outcome(1); o.ExitStatus != -106 || !strings.Contains(o.Diagnostics, "enough") {
		t.Errorf("%v", o)
	}
}

func TestConnectionsRefused(t *testing.T) {
	r := newRig(t, func(o *Options) { o.KeyWait = time.Millisecond })
	r.launch(1, "nobody", said("sleep 1000"))
	r.running(1)
	wrong := r.nm()
	wrong.Node.Port++
	unknown := r.nm()
	unknown.Attempt.Application.Number = 99
	for what, n := range map[string]token.NM{"another node": wrong, "unknown application": unknown} {
		tok := token.Issue(token.KindNM, "x", token.Keys(testSecret).NM, n.Marshal())
		if c, err := hadooprpc.Dial(t.Context(), r.manager.node.String(), hadooprpc.ClientOptions{Protocol: ProtocolName, Token: &tok}); err == nil {
			c.Close()
			t.Errorf("%s was let in", what)
		}
	}
	tok := token.Issue(token.KindNM, "x", token.Keys([]byte("another secret")).NM, r.nm().Marshal())
	if c, err := hadooprpc.Dial(t.Context(), r.manager.node.String(), hadooprpc.ClientOptions{Protocol: ProtocolName, Token: &tok}); err == nil {
		c.Close()
		t.Error("a forged token was let in")
	}
	// A token of another application of this node, for a container of this one.
	c := r.client(r.nm())
	q := r.permit(2, func(t *token.Container) { t.ID.Attempt.Application.Number = 99 })
	var e *hadooprpc.Exception
	err := c.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, &wire.StartContainersResponseProto{})
	if !errors.As(err, &e) || e.Class != hadooprpc.InvalidToken {
		t.Errorf("a container of another application: %v", err)
	}
	for _, method := range []string{"reInitializeContainer", "restartContainer", "rollbackLastReInitialization", "commitLastReInitialization"} {
		if err := c.Call(t.Context(), method, &wire.StopContainersRequestProto{}, &wire.StopContainersResponseProto{}); !errors.As(err, &e) || e.Class != hadooprpc.YarnException {
			t.Errorf("%s: %v", method, err)
		}
	}
}
