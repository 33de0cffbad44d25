package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairway/adapters/hdfs"
	"fairway/adapters/hdfs/hdfstest"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/tfile"
	"fairway/adapters/yarn/wire"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"google.golang.org/protobuf/proto"
)

// cluster is a store for an Aggregator: every path below base, all users alike, with calls that fail on request.
type cluster struct {
	storage.FS
	base string
	fail func(call, path string) error
}

func (c *cluster) files(_ context.Context, url, _ string) (storage.FS, string, error) {
	if err := c.check("files", url); err != nil {
		return nil, "", err
	}
	return c, c.base + url, nil
}

func (c *cluster) check(call, path string) error {
	if c.fail == nil {
		return nil
	}
	return c.fail(call, path)
}

func (c *cluster) Create(ctx context.Context, p string, o storage.CreateOptions) (io.WriteCloser, error) {
	if err := c.check("create", p); err != nil {
		return nil, err
	}
	if o.Perm != 0o640 || !o.Overwrite {
		return nil, errors.New("wrong options")
	}
	return c.FS.Create(ctx, p, o)
}

func (c *cluster) Rename(ctx context.Context, from, to string) error {
	if err := c.check("rename", to); err != nil {
		return err
	}
	if err := c.FS.Rename(ctx, from, to); err != nil {
		return err
	}
	return c.check("renamed", to)
}

func (c *cluster) read(t *testing.T, p string) (string, map[string]string) {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return readBack(t, b)
}

// readBack reads a file as `yarn logs` would: the owner, and contents by container/name.
func readBack(t *testing.T, b []byte) (string, map[string]string) {
	t.Helper()
	l, err := tfile.ReadLogs(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for {
		c, err := l.Next()
		if err == io.EOF {
			return l.Owner + " " + l.ACLs["VIEW_APP"], all
		}
		if err != nil {
			t.Fatal(err)
		}
		for {
			name, size, content, err := l.NextFile()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(content)
			if err != nil || int64(len(text)) != size {
				t.Fatal(err, size)
			}
			all[c+"/"+name] = string(text)
		}
	}
}

type rig struct {
	AggregatorOptions
	store *cluster
	ended chan error
}

func newRig(t *testing.T) *rig {
	r := &rig{store: &cluster{FS: local.New(), base: t.TempDir()}, ended: make(chan error, 16)}
	r.AggregatorOptions = AggregatorOptions{Root: t.TempDir(), State: filepath.Join(t.TempDir(), "state"), Node: testNode, Files: r.store.files,
		Done: func(_ Ended, err error) { r.ended <- err }}
	return r
}

func (r *rig) start(t *testing.T) *Aggregator {
	t.Helper()
	a, err := NewAggregator(r.AggregatorOptions)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

func (r *rig) target() string {
	return r.store.base + "/tmp/logs/alice/bucket-logs-tfile/2007/application_1700000000000_12007/node1_45454"
}

func ended(containers ...EndedContainer) Ended {
	return Ended{ID: testApp, User: "alice", UID: os.Getuid(), ACLs: map[string]string{"VIEW_APP": "bob"}, Containers: containers}
}

func (r *rig) clean(t *testing.T) {
	t.Helper()
	for _, dir := range []string{r.Root, r.State} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}

func TestAggregate(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("long log\n", 300_000)
	put(t, r.Root, container(1), "syslog", long)
	put(t, r.Root, container(1), "stdout", "")
	put(t, r.Root, container(2), "stdout", "two\n")
	put(t, r.Root, container(2), "stderr", "err\n")
	dir := filepath.Dir(put(t, r.Root, container(3), "x", "not of this application's list"))
	if err := os.Symlink("/etc/passwd", filepath.Join(filepath.Dir(dir), container(2).String(), "passwd")); err != nil {
		t.Fatal(err)
	}
	a := r.start(t)
	e := ended(EndedContainer{ID: container(2)}, EndedContainer{ID: container(1), Master: true}, EndedContainer{ID: container(9)})
	if err := a.Add(e); err != nil {
		t.Fatal(err)
	}
	if err := a.Add(e); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	who, got := r.store.read(t, r.target())
	want := map[string]string{container(1).String() + "/syslog": long, container(1).String() + "/stdout": "", container(2).String() + "/stdout": "two\n", container(2).String() + "/stderr": "err\n"}
	if who != "alice bob" || !maps.Equal(got, want) {
		t.Errorf("%s %v", who, reflect.ValueOf(got).MapKeys())
	}
	if entries, _ := os.ReadDir(path.Dir(r.target())); len(entries) != 1 {
		t.Errorf("%v", entries)
	}
	r.clean(t)
	if a.Pending(testApp) {
		t.Error("still pending")
	}

	// The application came back to this node and ended again: what is there stays.
	put(t, r.Root, container(4), "stdout", "four")
	if err := a.Add(ended(EndedContainer{ID: container(4)})); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	second, _ := filepath.Glob(r.target() + "_*")
	if len(second) != 1 {
		t.Fatalf("%v", second)
	}
	if _, got := r.store.read(t, second[0]); got[container(4).String()+"/stdout"] != "four" {
		t.Errorf("%v", got)
	}
	if _, got := r.store.read(t, r.target()); len(got) != len(want) {
		t.Errorf("%v", got)
	}

	// Nothing to write: no file, and no error.
	if err := a.Add(Ended{ID: id.ApplicationID{Timestamp: 1, Number: 1}, User: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	if n, _ := filepath.Glob(r.store.base + "/tmp/logs/alice/*/0001/*/*"); len(n) != 0 {
		t.Errorf("%v", n)
	}
}

// A log that cannot be read does not stop the others.
func TestUnreadable(t *testing.T) {
	r := newRig(t)
	dir := filepath.Dir(put(t, r.Root, container(1), "stdout", "one"))
	put(t, r.Root, container(2), "stdout", "two")
	if err := os.Link(filepath.Join(dir, "stdout"), filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	a := r.start(t)
	e := ended(EndedContainer{ID: container(1)}, EndedContainer{ID: container(2)})
	e.UID++ // so that files with two names are not the user's
	if err := a.Add(e); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	if _, got := r.store.read(t, r.target()); !maps.Equal(got, map[string]string{container(2).String() + "/stdout": "two"}) {
		t.Errorf("%v", got)
	}
	r.clean(t)
}

// An agent that ends at any step goes on where it was, and no log is lost or written twice.
func TestRestart(t *testing.T) {
	crash := errors.New("crash")
	for _, at := range []string{"files", "create", "rename", "renamed"} {
		t.Run(at, func(t *testing.T) {
			r := newRig(t)
			put(t, r.Root, container(1), "stdout", "one")
			hit := make(chan struct{}, 1)
			r.store.fail = func(call, _ string) error {
				if call != at {
					return nil
				}
				select {
				case hit <- struct{}{}:
				default:
				}
				return crash
			}
			r.Backoff = time.Hour
			a, err := NewAggregator(r.AggregatorOptions)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Add(ended(EndedContainer{ID: container(1)})); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- a.Run(ctx) }()
			<-hit
			cancel()
			<-done
			r.store.fail = nil
			r.start(t)
			if err := <-r.ended; err != nil {
				t.Fatal(err)
			}
			if _, got := r.store.read(t, r.target()); got[container(1).String()+"/stdout"] != "one" {
				t.Errorf("%v", got)
			}
			if all, _ := filepath.Glob(path.Dir(r.target()) + "/*"); len(all) != 1 {
				t.Errorf("%v", all)
			}
			r.clean(t)
		})
	}
}

// What was stored is not written again after half of the folders are gone.
func TestRestartStored(t *testing.T) {
	r := newRig(t)
	put(t, r.Root, container(2), "stdout", "two")
	if err := os.MkdirAll(r.State, 0o700); err != nil {
		t.Fatal(err)
	}
	rec := record{Ended: ended(EndedContainer{ID: container(1)}, EndedContainer{ID: container(2)}), Added: time.Now(), Stage: stored}
	if err := rec.save(r.State); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]string{".new-7": "{", "application_1_0002.json": "{", "application_1_0003.json": "{}"} {
		if err := os.WriteFile(filepath.Join(r.State, name), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.start(t)
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.target()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written: %v", err)
	}
	if left, _ := os.ReadDir(r.State); len(left) != 2 {
		t.Errorf("%v", left)
	}
}

func TestBackoffAndGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		put(t, r.Root, container(1), "stdout", "one")
		start := time.Now()
		var at []time.Duration
		r.store.fail = func(call, _ string) error {
			at = append(at, time.Since(start))
			return errors.New("down")
		}
		r.Backoff, r.MaxBackoff, r.GiveUp = time.Second, 4*time.Second, 12*time.Second
		failing := 0
		r.Failing = func(e Ended, err error) {
			if failing++; e.ID != testApp || err == nil {
				t.Errorf("%v %v", e, err)
			}
		}
		a := r.start(t)
		if err := a.Add(ended(EndedContainer{ID: container(1)})); err != nil {
			t.Fatal(err)
		}
		err := <-r.ended
		if failing != 5 {
			t.Errorf("told of %d failed tries that will be made again", failing)
		}
		if want := []time.Duration{0, 1e9, 3e9, 7e9, 11e9, 15e9}; err == nil || err.Error() != "down" || !reflect.DeepEqual(at, want) {
			t.Errorf("%v %v", err, at)
		}
		r.clean(t)
	})
}

func TestRetain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Files = nil
		p := put(t, r.Root, container(1), "stdout", "one")
		a := r.start(t)
		if err := a.Add(ended(EndedContainer{ID: container(1)})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*time.Hour - time.Second)
		synctest.Wait()
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
		<-r.ended
		r.clean(t)
	})
}

func TestChoice(t *testing.T) {
	of := func(include, exclude, policy string) []byte {
		p := &wire.LogAggregationContextProto{}
		if include != "" {
			p.IncludePattern = &include
		}
		p.ExcludePattern = &exclude
		if policy != "" {
			p.LogAggregationPolicyClassName = proto.String("org.apache.hadoop.yarn.server.nodemanager.containermanager.logaggregation." + policy + "LogAggregationPolicy")
		}
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, q := range []struct {
		include, exclude string
		name             string
		want             bool
	}{{"", "", "stdout", true}, {"std", "", "stdout", true}, {"^std", "", "xstdout", false}, {".*", "err", "stderr", false}, {".*", "err", "stdout", true}, {"(?=a)", "", "b", true}} {
		c, err := parseChoice(of(q.include, q.exclude, ""))
		if (err != nil) != (q.include == "(?=a)") || c.file(q.name) != q.want {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if _, err := parseChoice([]byte{0xff}); err == nil {
		t.Error("junk is read")
	}
	if c, err := parseChoice(nil); err != nil || !c.file("x") || !c.container(EndedContainer{}) {
		t.Error(err)
	}
	all := []EndedContainer{{Master: true}, {}, {ExitStatus: 1}, {ExitStatus: 137}, {ExitStatus: -109}}
	for policy, want := range map[string]string{"": "yyyyy", "AllContainer": "yyyyy", "Unknown": "yyyyy", "SampleContainer": "yyyyy", "NoneContainer": "nnnnn", "AMOnly": "ynnnn", "AMOrFailedContainer": "ynyny",
		"FailedContainer": "nnyny", "FailedOrKilledContainer": "nnyyy", "LimitSizeContainer": "yyyyn"} {
		c, err := parseChoice(of("", "", policy))
		got := ""
		for _, k := range all {
			got += map[bool]string{true: "y", false: "n"}[c.container(k)]
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, want %s", policy, got, want)
		}
	}
}

func FuzzChoice(f *testing.F) {
	f.Add([]byte{}, "stdout")
	f.Add([]byte("\x0a\x02.*\x12\x03err"), "stderr")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		c, _ := parseChoice(b)
		c.file(name)
		c.container(EndedContainer{})
	})
}

// On HDFS with permissions: owners and modes are those that YARN gives.
func TestHDFS(t *testing.T) {
	h := hdfstest.Start(t, hdfstest.Options{})
	mux := storage.NewMux(map[string]storage.Opener{"hdfs": func(ctx context.Context, authority, user string) (storage.FS, error) {
		if user == "" {
			user = "agent"
		}
		return hdfs.Opener(hdfs.Options{ConfDir: t.TempDir()})(ctx, authority, user)
	}}, "hdfs://"+h.Authority+"/")
	defer mux.Close()
	root, _, err := mux.Resolve(t.Context(), "/", "root")
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Mkdir(t.Context(), "/tmp", fs.ModeSticky|0o777); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.Files = mux.Resolve
	put(t, r.Root, container(1), "stdout", "one")
	a := r.start(t)
	if err := a.Add(ended(EndedContainer{ID: container(1)})); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	file := strings.TrimPrefix(r.target(), r.store.base)
	for p, want := range map[string]string{"/tmp/logs": "agent dtrwxrwxrwx", "/tmp/logs/alice": "alice drwxrwx---", path.Dir(file): "alice drwxrwx---", file: "alice -rw-r-----"} {
		info, err := root.Stat(t.Context(), p)
		if err != nil || info.Owner+" "+info.Mode.String() != want {
			t.Errorf("%s: %s %s, want %s: %v", p, info.Owner, info.Mode, want, err)
		}
	}
	f, err := root.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if who, got := readBack(t, b); who != "alice bob" || got[container(1).String()+"/stdout"] != "one" {
		t.Errorf("%s %v", who, got)
	}
}
