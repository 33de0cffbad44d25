package nodemanager

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"google.golang.org/protobuf/proto"
)

// gated holds what a rig fetches from addresses that contain "slow" until hold is closed.
func gated(hold <-chan struct{}) func(*Options) {
	mux := storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "file:///")
	return func(o *Options) {
		o.Files = func(ctx context.Context, url, user string) (storage.FS, string, error) {
			if strings.Contains(url, "slow") {
				select {
				case <-hold:
				case <-ctx.Done():
					return nil, "", ctx.Err()
				}
			}
			return mux.Resolve(ctx, url, user)
		}
	}
}

func (r *rig) localize(c *hadooprpc.Client, n int64, pairs ...any) error {
	q := &wire.ResourceLocalizationRequestProto{ContainerId: cid(n).Proto()}
	for i := 0; i < len(pairs); i += 2 {
		q.LocalResources = append(q.LocalResources, &wire.StringLocalResourceMapProto{Key: proto.String(pairs[i].(string)), Value: pairs[i+1].(*wire.LocalResourceProto)})
	}
	return c.Call(r.t.Context(), "localize", q, &wire.ResourceLocalizationResponseProto{})
}

// localized are the states of a container's resources as words, or why there are none.
func (r *rig) localized(c *hadooprpc.Client, n int64) (map[string]string, string) {
	r.t.Helper()
	a := &wire.GetLocalizationStatusesResponseProto{}
	q := &wire.GetLocalizationStatusesRequestProto{ContainerId: []*wire.ContainerIdProto{cid(n).Proto(), cid(n).Proto()}}
	if err := c.Call(r.t.Context(), "getLocalizationStatuses", q, a); err != nil || len(a.CntnLocalizationStatuses)+len(a.FailedRequests) != 1 {
		r.t.Fatalf("%v, %v", a, err)
	}
	if len(a.FailedRequests) == 1 {
		return nil, a.FailedRequests[0].Exception.GetMessage()
	}
	states := map[string]string{}
	for _, s := range a.CntnLocalizationStatuses[0].LocalizationStatuses {
		if _, twice := states[s.GetResourceKey()]; twice {
			r.t.Errorf("%s is told twice", s.GetResourceKey())
		}
		states[s.GetResourceKey()] = strings.TrimSpace(s.GetLocalizationState().String() + " " + s.GetDiagnostics())
	}
	return states, ""
}

// settled waits until none of a container's resources is pending.
func (r *rig) settled(c *hadooprpc.Client, n int64) map[string]string {
	r.t.Helper()
	for limit := time.Now().Add(patience); ; {
		states, why := r.localized(c, n)
		waits := states == nil
		for _, s := range states {
			waits = waits || s == "L_PENDING"
		}
		if !waits {
			return states
		}
		if time.Now().After(limit) {
			r.t.Fatalf("%v %s", states, why)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (r *rig) work(n int64) string {
	return filepath.Join(r.manager.local, "usercache/nobody/appcache", testApp.String(), cid(n).String())
}

// startWith starts a container as its master does.
func (r *rig) startWith(c *hadooprpc.Client, n int64, lc *wire.ContainerLaunchContextProto) {
	r.t.Helper()
	q, a := r.permit(n, nil), &wire.StartContainersResponseProto{}
	q.ContainerLaunchContext = lc
	if err := c.Call(r.t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, a); err != nil || len(a.SucceededRequests) != 1 {
		r.t.Fatalf("%v, %v", a, err)
	}
}

// takenUp waits until the agent's service, which may have been started again, knows of a container's process: the task runs before.
func (r *rig) takenUp(n int64) {
	r.t.Helper()
	for limit := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) {
		r.manager.mu.Lock()
		c := r.manager.containers[cid(n)]
		there := c != nil && c.process != nil
		r.manager.mu.Unlock()
		if there {
			return
		}
		if time.Now().After(limit) {
			r.t.Fatalf("container %d is not taken up", n)
		}
	}
}

func archived(t *testing.T, r *rig, name string, files ...string) *wire.LocalResourceProto {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := file(t, r, name, b.String(), 0o644)
	p.Type, p.Visibility = wire.LocalResourceTypeProto_ARCHIVE.Enum(), wire.LocalResourceVisibilityProto_PUBLIC.Enum()
	return p
}

func refusedWith(t *testing.T, what string, err error, words string) {
	t.Helper()
	var e *hadooprpc.Exception
	if !errors.As(err, &e) || e.Class != hadooprpc.YarnException || !strings.Contains(e.Message, words) {
		t.Errorf("%s: %v, want %q", what, err, words)
	}
}

// What a master adds to a running container appears in its folder, and what cannot be had does not disturb it.
func TestLocalizeRunning(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, gated(hold))
	r.launch(1, "nobody", said("sleep 1000"))
	r.launch(2, "nobody", nil)
	r.running(1)
	c := r.client(r.nm())
	lc := said("while [ ! -e " + r.dir + "/go ] || [ ! -e late/in/file ] || [ ! -e archive/inner ] || [ ! -e b ]; do sleep 0.02; done; cat late/in/file archive/inner a b early; exit 3")
	lc.LocalResources = []*wire.StringLocalResourceMapProto{{Key: proto.String("early"), Value: file(t, r, "early", "early\n", 0o644)}}
	r.startWith(c, 2, lc)
	r.takenUp(2)
	missing := file(t, r, "missing", "x", 0o644)
	os.Remove(filepath.Join(r.dir, "missing"))
	changed := file(t, r, "changed", "x", 0o644)
	changed.Timestamp = proto.Int64(changed.GetTimestamp() - 1000)
	if err := r.localize(c, 2, "late/in/file", file(t, r, "slow", "late\n", 0o644), "archive", archived(t, r, "slow.tar", "inner", "inner\n"),
		"star/*", archived(t, r, "slow2.tar", "a", "a\n", "b", "b\n")); err != nil {
		t.Fatal(err)
	}
	if err := r.localize(c, 2, "missing", missing, "changed", changed); err != nil {
		t.Fatal(err)
	}
	if states, why := r.localized(c, 2); states["early"] != "L_COMPLETED" || states["late/in/file"] != "L_PENDING" || states["archive"] != "L_PENDING" || states["star/*"] != "L_PENDING" || len(states) != 6 {
		t.Fatalf("%v %s", states, why)
	}
	close(hold)
	states := r.settled(c, 2)
	if states["late/in/file"] != "L_COMPLETED" || states["archive"] != "L_COMPLETED" || states["star/*"] != "L_COMPLETED" || !strings.HasPrefix(states["missing"], "L_FAILED File does not exist: file://") ||
		!strings.Contains(states["changed"], "changed on src filesystem") {
		t.Errorf("%v", states)
	}
	for _, name := range []string{"late", "late/in", "late/in/file", "archive", "a"} {
		info, err := os.Lstat(filepath.Join(r.work(2), name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 || info.Sys().(*syscall.Stat_t).Gid != 65534 {
			t.Errorf("%s is not the account's: %v %v", name, info, err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, o := r.outcome(2); o.ExitStatus != 3 || r.log(2, "stdout") != "late\ninner\na\nb\nearly" {
		t.Errorf("%v\n%s", o, r.log(2, "stdout"))
	}
	if _, why := r.localized(c, 2); why != "Container "+cid(2).String()+" was recently stopped on node manager." {
		t.Errorf("after its end: %s", why)
	}
	refusedWith(t, "after its end", r.localize(c, 2, "more", missing), "Current state is [DONE, isReInitializing=false]. Container Execution Type is [GUARANTEED].")
	gone(t, r.work(2))
	gone(t, r.manager.containerFile(cid(2)))
	if _, err := os.Stat(r.work(1)); err != nil {
		t.Error(err)
	}
}

func TestLocalizeRefused(t *testing.T) {
	r := newRig(t, nil)
	r.launch(1, "nobody", said("sleep 1000"))
	r.launch(3, "nobody", nil)
	r.running(1)
	c := r.client(r.nm())
	x := file(t, r, "x", "x", 0o644)
	if _, why := r.localized(c, 9); why != "Container "+cid(9).String()+" is not handled by this NodeManager" {
		t.Errorf("unknown: %s", why)
	}
	refusedWith(t, "unknown", r.localize(c, 9, "x", x), "Specified "+cid(9).String()+" does not exist!")
	for limit := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) { // its grant may not be here yet
		if err := r.localize(c, 3, "x", x); !strings.Contains(err.Error(), "does not exist") {
			refusedWith(t, "not running", err, "Cannot perform LOCALIZE on ["+cid(3).String()+"]. Current state is [NEW, isReInitializing=false]")
			break
		}
		if time.Now().After(limit) {
			t.Fatal("no grant")
		}
	}
	for words, keys := range map[string][]string{
		"leaves the working folder":          {"../x", "/abs", "a/../../x", "", ".", "a/..", "nul\x00"},
		"is not UTF-8":                       {"\xff"},
		"has more than 4096 bytes or 100 le": {strings.Repeat("k", 4097), strings.Repeat("d/", 100) + "x"},
	} {
		for _, key := range keys {
			refusedWith(t, fmt.Sprintf("%.20q", key), r.localize(c, 1, "fine", x, key, x), words)
		}
	}
	relative := proto.CloneOf(x)
	relative.Resource.File = proto.String("x")
	refusedWith(t, "relative source", r.localize(c, 1, "x", relative), "is not absolute")
	refusedWith(t, "no source", r.localize(c, 1, "x", &wire.LocalResourceProto{}), "is not absolute")
	many := &wire.ResourceLocalizationRequestProto{ContainerId: cid(1).Proto()}
	for i := range maxLinks + 1 {
		many.LocalResources = append(many.LocalResources, &wire.StringLocalResourceMapProto{Key: proto.String(fmt.Sprint(i)), Value: x})
	}
	refusedWith(t, "too many", c.Call(t.Context(), "localize", many, &wire.ResourceLocalizationResponseProto{}), "more than 10000 local resources")
	long := &wire.ResourceLocalizationRequestProto{ContainerId: cid(1).Proto()}
	for i := range maxAddedBytes / 4000 {
		long.LocalResources = append(long.LocalResources, &wire.StringLocalResourceMapProto{Key: proto.String(fmt.Sprint(i) + strings.Repeat("k", 4000)), Value: x})
	}
	refusedWith(t, "too long", c.Call(t.Context(), "localize", long, &wire.ResourceLocalizationResponseProto{}), "a container has at most 10000 local resources, and ")
	if states, why := r.localized(c, 1); len(states) != 0 || why != "" {
		t.Errorf("%d were taken: %.300v %s", len(states), states, why)
	}
	if err := r.localize(c, 1); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if err := r.localize(c, 1, "x", x); err != nil {
		t.Fatal(err)
	}
	r.settled(c, 1)
	many.LocalResources = many.LocalResources[:maxLinks]
	refusedWith(t, "too many with the first", c.Call(t.Context(), "localize", many, &wire.ResourceLocalizationResponseProto{}), "a container has at most 10000 local resources, and ")

	// A master of another application.
	app := testApp
	app.Number = 8
	r.manager.mu.Lock()
	r.manager.apps[app] = newApplication(app, keptApplication{Application: app.String(), Job: "job-8", Secret: testSecret, User: "nobody"})
	r.manager.mu.Unlock()
	foreign := r.nm()
	foreign.Attempt.Application = app
	c = r.client(foreign)
	refusedWith(t, "another's", r.localize(c, 1, "x", x), "ApplicationMaster not authorized to perform [LOCALIZE] on Container ["+cid(1).String()+"]!!")
	if _, why := r.localized(c, 1); !strings.Contains(why, "attempted to get status for non-application container : "+cid(1).String()) {
		t.Errorf("another's: %s", why)
	}
}

// A container owns its folder. What it puts there neither leads the agent out of it nor is overwritten.
func TestLocalizeIntoTraps(t *testing.T) {
	r := newRig(t, nil)
	outside := filepath.Join(r.dir, "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o777); err != nil { // the account's rights alone would not keep it out
		t.Fatal(err)
	}
	r.launch(1, "nobody", said("ln -s "+outside+" out; ln -s ../.. up; echo mine > file; mkdir folder; ln -s nowhere dangling; mkfifo fifo; echo ready; sleep 1000"))
	r.running(1)
	for r.log(1, "stdout") != "ready" {
		<-time.After(5 * time.Millisecond)
	}
	c := r.client(r.nm())
	x := file(t, r, "x", "x", 0o644)
	if err := r.localize(c, 1, "out/x", x, "out/sub/x", x, "up/x", x, "up/up2/x", x, "file/x", x, "fifo/x", x, "file", x, "folder", x, "dangling", x, "folder/x", x, "launch_container.sh", x); err != nil {
		t.Fatal(err)
	}
	states := r.settled(c, 1)
	for key, state := range states {
		want := "L_COMPLETED"
		if top, _, deep := strings.Cut(key, "/"); deep && top != "folder" {
			want = "L_FAILED error when creating symlink " + key + " -> "
		}
		if !strings.HasPrefix(state, want) {
			t.Errorf("%s: %s", key, state)
		}
	}
	if len(states) != 11 {
		t.Errorf("%v", states)
	}
	if l, err := os.ReadDir(outside); err != nil || len(l) != 0 {
		t.Errorf("made outside: %v %v", l, err)
	}
	for _, above := range []string{"x", "up2"} {
		for _, dir := range []string{"..", "../.."} {
			if _, err := os.Lstat(filepath.Join(r.work(1), dir, above)); err == nil {
				t.Errorf("%s was made in %s", above, dir)
			}
		}
	}
	if b, err := os.ReadFile(filepath.Join(r.work(1), "file")); err != nil || string(b) != "mine\n" {
		t.Errorf("the container's file is %q, %v", b, err)
	}
	if to, err := os.Readlink(filepath.Join(r.work(1), "dangling")); err != nil || to != "nowhere" {
		t.Errorf("the container's link leads to %s, %v", to, err)
	}
	if b, err := os.ReadFile(filepath.Join(r.work(1), "folder/x")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}

	// A failed one is tried again when the master says so, here after the container has made room.
	if err := os.Remove(filepath.Join(r.work(1), "out")); err != nil {
		t.Fatal(err)
	}
	if err := r.localize(c, 1, "out/x", x); err != nil {
		t.Fatal(err)
	}
	if states := r.settled(c, 1); states["out/x"] != "L_COMPLETED" || len(states) != 11 {
		t.Errorf("%v", states)
	}
	// The copy is held once however many names it has.
	r.manager.mu.Lock()
	defer r.manager.mu.Unlock()
	if held := r.manager.containers[cid(1)].kept.Held; len(held) != 1 {
		t.Errorf("holds %v", held)
	}
}

// An agent that comes after one that ended in the middle goes on with what is pending, and tells the rest as it was.
func TestLocalizeOverRestart(t *testing.T) {
	r := newRig(t, gated(nil))
	r.launch(1, "nobody", said("sleep 1000"))
	r.launch(2, "nobody", nil)
	r.running(1)
	c := r.client(r.nm())
	r.startWith(c, 2, said("while [ ! -e late ]; do sleep 0.02; done; cat late soon; exit 4"))
	r.takenUp(2)
	missing := file(t, r, "missing", "x", 0o644)
	os.Remove(filepath.Join(r.dir, "missing"))
	if err := r.localize(c, 2, "soon", file(t, r, "soon", "soon\n", 0o644), "missing", missing); err != nil {
		t.Fatal(err)
	}
	states := r.settled(c, 2)
	for limit := time.Now().Add(patience); len(pending(r.manager.loadContainer(cid(2)).Added)) > 0; <-time.After(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it is not kept that they are there")
		}
	}
	if err := r.localize(c, 2, "late", file(t, r, "slow", "late\n", 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := r.localize(c, 1, "late", archived(t, r, "slow.tar", "inner", "x")); err != nil { // the master's own
		t.Fatal(err)
	}
	if now, _ := r.localized(c, 2); now["late"] != "L_PENDING" || len(now) != 3 {
		t.Fatalf("%v", now)
	}
	// What would be found after a crash now.
	if kept := r.manager.loadContainer(cid(2)); len(kept.Added) != 3 || len(pending(kept.Added)) != 1 || pending(kept.Added)[0].Key != "late" {
		t.Errorf("kept: %v", kept.Added)
	}
	r.end()
	hold := make(chan struct{})
	r.start(gated(hold))
	c = r.client(r.nm())
	r.takenUp(1)
	r.takenUp(2)
	if now, why := r.localized(c, 2); now["late"] != "L_PENDING" || now["soon"] != "L_COMPLETED" || now["missing"] != states["missing"] || !strings.HasPrefix(now["missing"], "L_FAILED File does not exist") {
		t.Errorf("after the restart: %v %s", now, why)
	}
	r.manager.mu.Lock()
	if held := r.manager.containers[cid(2)].kept.Held; len(held) != 1 {
		t.Errorf("holds %v", held)
	}
	r.manager.mu.Unlock()
	close(hold)
	if _, o := r.outcome(2); o.ExitStatus != 4 || r.log(2, "stdout") != "late\nsoon" {
		t.Errorf("%v\n%s", o, r.log(2, "stdout"))
	}
	if states := r.settled(c, 1); states["late"] != "L_COMPLETED" {
		t.Errorf("the master's: %v", states)
	}
}

// A container that ends while something is fetched for it leaves nothing behind.
func TestLocalizeEndsWithContainer(t *testing.T) {
	begun, given := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(o *Options) {
		o.Files = func(ctx context.Context, _, _ string) (storage.FS, string, error) {
			close(begun) // there is but one fetch
			<-ctx.Done()
			close(given)
			return nil, "", ctx.Err()
		}
	})
	r.launch(1, "nobody", said("sleep 1000"))
	r.launch(2, "nobody", nil)
	r.running(1)
	c := r.client(r.nm())
	r.startWith(c, 2, said("sleep 1000"))
	r.takenUp(2)
	if err := r.localize(c, 2, "late", file(t, r, "slow", "late\n", 0o644)); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := c.Call(t.Context(), "stopContainers", &wire.StopContainersRequestProto{ContainerId: []*wire.ContainerIdProto{cid(2).Proto()}}, &wire.StopContainersResponseProto{}); err != nil {
		t.Fatal(err)
	}
	if _, o := r.outcome(2); o.ExitStatus != statusByMaster {
		t.Errorf("%v", o)
	}
	gone(t, r.work(2))
	gone(t, r.manager.containerFile(cid(2)))
	select {
	case <-given:
	case <-time.After(patience):
		t.Fatal("it is still fetched")
	}
	// One that comes late finds that it has ended.
	r.manager.mu.Lock()
	ended := r.manager.containers[cid(2)]
	r.manager.mu.Unlock()
	ended.disk.Lock()
	err := r.manager.keepRunning(ended, keptContainer{})
	ended.disk.Unlock()
	refusedWith(t, "a late record", err, "Current state is [DONE")
	if _, err := os.Stat(r.manager.containerFile(cid(2))); err == nil {
		t.Error("its record has come back")
	}
}

func TestExtended(t *testing.T) {
	one := func(key, resource string, state wire.LocalizationStateProto) addition {
		return addition{Key: key, Resource: []byte(resource), State: state}
	}
	const waits, done, failed = wire.LocalizationStateProto_L_PENDING, wire.LocalizationStateProto_L_COMPLETED, wire.LocalizationStateProto_L_FAILED
	had := []addition{one("a", "1", waits), one("b", "1", waits), one("c", "1", done), one("d", "1", failed)}
	all, fresh := extended(had, []addition{one("a", "1", waits), one("b", "2", waits), one("c", "1", waits), one("d", "1", waits), one("e", "1", waits)})
	keys := ""
	for _, a := range fresh {
		keys += a.Key
	}
	if keys != "bcde" || len(all) != 5 || string(all[1].Resource) != "2" || all[2].State != waits || all[3].State != waits {
		t.Errorf("%v\n%v", all, fresh)
	}
	if had[3].State != failed || had[2].State != done || len(pending(had)) != 2 {
		t.Errorf("what was there is changed: %v", had)
	}
}
