package nodemanager

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"google.golang.org/protobuf/proto"
)

// grow takes this many MiB and stays; python's, so that it is not a JVM.
func grow(mebibytes int) *wire.ContainerLaunchContextProto {
	return said(fmt.Sprintf(`exec python3 -c 'import time; x = bytearray(%d << 20); time.sleep(1000)'`, mebibytes))
}

func TestOverMemory(t *testing.T) {
	r := newRig(t, nil)
	r.launch(1, "nobody", grow(280)) // over 256 MiB, below the hard limit of 307: found by a look
	r.launch(2, "nobody", grow(600)) // the kernel ends it
	for n := int64(1); n <= 2; n++ {
		s, o := r.outcome(n)
		if o.ExitStatus != -104 || s.Reason != v1.TaskReason_TASK_REASON_MEMORY_LIMIT || s.State != v1.TaskState_TASK_STATE_FAILED ||
			!strings.Contains(o.Diagnostics, cid(n).String()+"] is running ") || !strings.Contains(o.Diagnostics, "beyond the 'PHYSICAL' memory limit. Current usage: ") ||
			!strings.Contains(o.Diagnostics, "of 256 MB physical memory used") {
			t.Errorf("%d: %v %v", n, s, o)
		}
	}
}

func TestNotStarted(t *testing.T) {
	r := newRig(t, func(o *Options) { o.StartWait = 200 * time.Millisecond })
	missing := said("true")
	missing.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("a"), Value: file(t, r, "a", "x", 0o644)}}
	os.Remove(filepath.Join(r.dir, "a"))
	climbs := said("true")
	climbs.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("../a"), Value: file(t, r, "b", "x", 0o644)}}
	r.launch(1, "nobody", missing)
	r.launch(2, "nobody", climbs)
	r.launch(3, "nobody", &wire.ContainerLaunchContextProto{})
	r.launch(4, "nobody", nil)
	r.launch(5, "a/../b", said("true"))
	for n, want := range map[int64]string{1: "File does not exist: file://", 2: "leaves the working folder", 3: "no command", 4: "Container expired since it was unused", 5: "cannot have containers here"} {
		_, o := r.outcome(n)
		status := int32(statusInvalid)
		if n == 4 {
			status = statusAborted
		}
		if o.ExitStatus != status || !strings.Contains(o.Diagnostics, want) {
			t.Errorf("%d: %v", n, o)
		}
	}
}

func TestNoJava(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	t.Setenv("JAVA_HOME", "")
	r := newRig(t, func(o *Options) { o.Env = nil })
	r.launch(1, "nobody", said("$JAVA_HOME/bin/java X"))
	if _, o := r.outcome(1); o.ExitStatus != statusInvalid || !strings.Contains(o.Diagnostics, "set yarn.env.JAVA_HOME") {
		t.Errorf("%v", o)
	}
}

func TestSignals(t *testing.T) {
	r := newRig(t, nil)
	r.launch(1, "nobody", said(`trap \"echo quit; exit 9\" QUIT; echo ready; while true; do sleep 0.05; done`))
	r.running(1)
	for r.log(1, "stdout") != "ready" {
		<-time.After(5 * time.Millisecond)
	}
	c := r.client(r.nm())
	q := &wire.SignalContainerRequestProto{ContainerId: cid(1).Proto(), Command: wire.SignalContainerCommandProto_OUTPUT_THREAD_DUMP.Enum()}
	if err := c.Call(t.Context(), "signalToContainer", q, &wire.SignalContainerResponseProto{}); err != nil {
		t.Fatal(err)
	}
	if _, o := r.outcome(1); o.ExitStatus != 9 || !strings.HasSuffix(r.log(1, "stdout"), "quit") {
		t.Errorf("%v", o)
	}
}

// A folder under a key that ends in a star is linked entry by entry, as MapReduce's jars are.
func TestStarLinks(t *testing.T) {
	r := newRig(t, nil)
	if err := os.Mkdir(filepath.Join(r.dir, "libjars"), 0o755); err != nil {
		t.Fatal(err)
	}
	file(t, r, "libjars/a.jar", "a", 0o644)
	file(t, r, "libjars/b.jar", "b", 0o644)
	info, err := os.Stat(filepath.Join(r.dir, "libjars"))
	if err != nil {
		t.Fatal(err)
	}
	x := file(t, r, "f", "x", 0o644)
	folder := proto.CloneOf(x)
	folder.Resource.File, folder.Timestamp = proto.String(filepath.Join(r.dir, "libjars")), proto.Int64(info.ModTime().UnixMilli())
	lc := said("cat a.jar b.jar dir/sub/f")
	lc.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("libjars/*"), Value: folder}, {Key: proto.String("dir/sub/f"), Value: x}}
	r.launch(1, "nobody", lc)
	if _, o := r.outcome(1); o.ExitStatus != 0 || r.log(1, "stdout") != "abx" {
		t.Errorf("%v %s", o, r.log(1, "stdout"))
	}
}

// An agent that is started again finds what runs, what has ended, and what still waits for its master.
func TestRestart(t *testing.T) {
	r := newRig(t, nil)
	shared := file(t, r, "data", "hello", 0o644)
	lc := said("while [ ! -e " + r.dir + "/go ]; do sleep 0.05; done; cat link; exit 4")
	lc.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("link"), Value: shared}}
	r.launch(1, "nobody", lc)
	r.launch(2, "nobody", said("while [ ! -e "+r.dir+"/now ]; do sleep 0.05; done; exit 5"))
	r.launch(3, "nobody", nil)
	r.running(1)
	r.running(2)
	node := r.manager.node
	r.end()
	if err := os.WriteFile(filepath.Join(r.dir, "now"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.start(nil)
	if r.manager.node != node {
		t.Errorf("the node was %s and is %s", node, r.manager.node)
	}
	if _, o := r.outcome(2); o.ExitStatus != 5 || o.StartUnixMillis == 0 || o.StartUnixMillis > o.FinishUnixMillis {
		t.Errorf("%v", o)
	}
	// The token of before still opens, and the one that waited is started now.
	c := r.client(r.nm())
	q := r.permit(3, nil)
	q.ContainerLaunchContext = said("exit 6")
	a := &wire.StartContainersResponseProto{}
	if err := c.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, a); err != nil || len(a.SucceededRequests) != 1 {
		t.Fatalf("%v, %v", a, err)
	}
	if _, o := r.outcome(3); o.ExitStatus != 6 {
		t.Errorf("%v", o)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, o := r.outcome(1); o.ExitStatus != 4 || r.log(1, "stdout") != "hello" {
		t.Errorf("%v %s", o, r.log(1, "stdout"))
	}
}

// Of a hundred containers, from the call that starts them to their ends.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, nil)
	r.launch(1, "nobody", said("sleep 1000"))
	shared := file(t, r, "data", "hello", 0o644)
	q := &wire.StartContainersRequestProto{}
	for n := int64(2); n < 42; n++ {
		p := r.permit(n, nil)
		p.ContainerLaunchContext = said(fmt.Sprintf("cat link; exit %d", n))
		p.ContainerLaunchContext.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("link"), Value: shared}}
		q.StartContainerRequest = append(q.StartContainerRequest, p)
	}
	r.running(1)
	c := r.client(r.nm())
	a := &wire.StartContainersResponseProto{}
	// Before the grants have come.
	if err := c.Call(t.Context(), "startContainers", q, a); err != nil || len(a.SucceededRequests) != 40 {
		t.Fatalf("%v, %v", a, err)
	}
	for n := int64(2); n < 42; n++ {
		r.launch(n, "nobody", nil)
	}
	for n := int64(2); n < 42; n++ {
		if _, o := r.outcome(n); o.ExitStatus != int32(n) || r.log(n, "stdout") != "hello" {
			t.Errorf("%v", o)
		}
	}
}

// An application that ended while the agent was away goes once the broker says which jobs live.
func TestEndedMeanwhile(t *testing.T) {
	r := newRig(t, nil)
	r.launch(1, "nobody", said("true"))
	if _, o := r.outcome(1); o.ExitStatus != 0 || o.Diagnostics != "" {
		t.Errorf("%v", o)
	}
	app := filepath.Join(r.manager.local, "usercache/nobody/appcache", testApp.String())
	if info, err := os.Stat(app); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal(info, err)
	}
	r.end()
	r.live = nil
	r.start(nil)
	gone(t, app)
	gone(t, filepath.Join(r.manager.private, "applications", testApp.String()))
	r.aux.mu.Lock()
	defer r.aux.mu.Unlock()
	if len(r.aux.ended) != 1 {
		t.Errorf("%v", r.aux.ended)
	}
}

// What the master has said is kept: an agent that ends while it localises goes on after its restart.
func TestRestartWhileLocalising(t *testing.T) {
	hold := make(chan struct{})
	mux := storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "file:///")
	asked := make(chan struct{}, 10)
	r := newRig(t, func(o *Options) {
		o.Files = func(ctx context.Context, url, user string) (storage.FS, string, error) {
			asked <- struct{}{}
			select {
			case <-hold:
			case <-ctx.Done():
				return nil, "", ctx.Err()
			}
			return mux.Resolve(ctx, url, user)
		}
	})
	r.launch(1, "nobody", said("sleep 1000"))
	r.launch(2, "nobody", nil)
	r.running(1)
	c := r.client(r.nm())
	q := r.permit(2, nil)
	q.ContainerLaunchContext = said("cat link; exit 7")
	q.ContainerLaunchContext.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("link"), Value: file(t, r, "data", "hello", 0o644)}}
	if err := c.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, &wire.StartContainersResponseProto{}); err != nil {
		t.Fatal(err)
	}
	<-asked
	r.end()
	r.start(nil)
	if _, o := r.outcome(2); o.ExitStatus != 7 || r.log(2, "stdout") != "hello" {
		t.Errorf("%v", o)
	}
}
