package spark

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"fairway/adapters/recent"
	"fairway/adapters/spark/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRestart(t *testing.T) {
	r := newRig(t, "s3cret")
	r.output(1, 1, "alpha")
	c := r.dial()
	if err := c.SASL(testApp, "s3cret", "auth"); err != nil {
		t.Fatal(err)
	}
	r.register(c)
	if err := r.s.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{".new-1": "{", "application_1_9": "{", "application_1_8": `{"application":"application_1_7","dirs":["/x"]}`, "x": "{}"} {
		if err := os.WriteFile(filepath.Join(r.state, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.start(Options{})
	if l := r.s.Applications(); len(l) != 1 || l[0] != testApp {
		t.Fatalf("applications %v", l)
	}
	c = r.dial()
	if err := c.Auth(testApp, "s3cret", 1); err != nil {
		t.Fatal(err)
	}
	if got := r.chunks(c, &wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_1_1_0"}}); got[0] != "alpha" {
		t.Errorf("%q", got)
	}
	h, err := c.Open(&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_1_1_0"}})
	if err != nil {
		t.Fatal(err)
	}
	r.s.EndApplication(testApp)
	r.s.EndApplication(testApp)
	r.s.EndApplication("../x")
	_, err = c.Chunk(h.Stream, 0)
	refused(t, err, "not known")
	if e, err := os.ReadDir(r.state); err != nil || len(e) != 0 {
		t.Errorf("%v, %v stay", e, err)
	}
}

func TestInitApplication(t *testing.T) {
	r := newRig(t, "")
	dirs := []string{r.app}
	for _, bad := range []struct {
		app  string
		data string
		dirs []string
	}{{"x", "", dirs}, {"application_1_../x", "", dirs}, {"application_1_", "", dirs}, {"application_1_2", "", nil}, {"application_1_2", "", []string{"x"}}, {"application_1_2", "", []string{"/x/../y"}}, {"application_1_2", strings.Repeat("x", maxData+1), dirs}} {
		if err := r.s.InitApplication(bad.app, "ann", 1, []byte(bad.data), bad.dirs); err == nil {
			t.Errorf("%.200v is taken", bad)
		}
	}
	if err := r.s.InitApplication("application_1_3", "ann", 1, nil, dirs); err != nil || r.s.apps.find("application_1_3") != nil {
		t.Errorf("an application that did not ask for the service: %v", err)
	}
	if err := r.s.InitApplication(testApp, "bob", os.Getuid(), []byte{}, dirs); err == nil {
		t.Error("another user is taken")
	}
	c := r.dial()
	r.register(c)
	for _, data := range []string{"", "first", "", `{"secret":"second","spark.yarn.shuffle.server.recovery.disabled":true}`} {
		if err := r.s.InitApplication(testApp, "ann", os.Getuid(), []byte(data), dirs); err != nil {
			t.Fatal(err)
		}
	}
	reg := r.s.apps.find(testApp).head()
	if reg.Secret != "second" || !reg.Forget {
		t.Errorf("%+v", reg)
	}
	if _, ok := r.s.apps.find(testApp).executor("1"); !ok {
		t.Error("a new secret has ended an executor's registration")
	}
	if err := r.s.InitApplication("application_1_4", "ann", 1, []byte(`{"secret":"x","spark.yarn.shuffle.server.recovery.disabled":"true"}`), dirs); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.state, "application_1_4")); err == nil {
		t.Error("what shall be forgotten is kept")
	}
	if r.s.Metadata() == nil || len(r.s.Metadata()) != 0 || r.s.Name() != "spark_shuffle" {
		t.Error("metadata or name")
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t, "")
	core, logs := observer.New(zap.WarnLevel)
	registry := prometheus.NewRegistry()
	if err := r.s.Stop(); err != nil {
		t.Fatal(err)
	}
	r.start(Options{MaxConnections: 2, MaxFrame: 1 << 20, RequestBytes: 1 << 20, Log: zap.New(core), Registerer: registry})

	// Frames that are too long, too short, negative, of no kind, cut off.
	for what, b := range map[string][]byte{
		"long":     append(binary.BigEndian.AppendUint64(nil, 1<<20+10), 3),
		"short":    append(binary.BigEndian.AppendUint64(nil, 8), 3),
		"negative": append(binary.BigEndian.AppendUint64(nil, 1<<63), 3),
		"no kind":  append(binary.BigEndian.AppendUint64(nil, 9), 200),
		"reply":    wire.AppendRPC(nil, wire.RPCResponse, 1, nil),
		"garbage":  []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"memory":   append(binary.BigEndian.AppendUint64(nil, 1<<20), 3),
	} {
		c := r.dial()
		if err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: answered", what)
		}
		c.Close()
	}
	if logs.Len() == 0 {
		t.Error("nothing was logged")
	}
	n := logs.Len()
	for range 3 {
		c := r.dial()
		if err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Conn.Read(make([]byte, 1))
		c.Close()
	}
	if logs.Len() != n {
		t.Errorf("the same trouble is logged again: %v", logs.All()[n:])
	}

	c := r.dial()
	r.register(c)
	// Blocks that are opened and never fetched.
	many := make([]int32, 20_000)
	var err error
	opened := 0
	for err == nil && opened < 100 {
		_, err = c.Open(&wire.FetchBlocks{App: testApp, Exec: "1", Maps: []int64{1}, Reduces: [][]int32{many[:2_000]}})
		opened++
	}
	refused(t, err, "too many others are open")
	if opened < 10 || opened > 60 {
		t.Errorf("%d streams were opened", opened)
	}
	used := r.s.memory.used.Load()
	if used == 0 {
		t.Error("streams are not counted")
	}
	// A connection that is over the limit is closed; one that has gone makes room.
	second := r.dial()
	if _, err := second.Call(&wire.GetLocalDirs{App: testApp, Execs: []string{"1"}}); err != nil {
		t.Fatal(err)
	}
	third := r.dial()
	if _, err := third.Conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("a connection over the limit: %v", err)
	}
	c.Close()
	for r.s.memory.used.Load() != 0 {
		if _, err := second.Call(&wire.GetLocalDirs{App: testApp, Execs: []string{"1"}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := testutil.GatherAndCount(registry)
	if err != nil || got < 8 {
		t.Errorf("%d metrics, %v", got, err)
	}
}

// A reader that stops does not hold others up, and is given up after a while.
func TestSlowReader(t *testing.T) {
	r := newRig(t, "")
	if err := r.s.Stop(); err != nil {
		t.Fatal(err)
	}
	r.start(Options{Patience: 200 * time.Millisecond})
	r.output(1, 1, strings.Repeat("x", 32<<20), strings.Repeat("y", 64<<10))
	slow, fast := r.dial(), r.dial()
	r.register(fast)
	h, err := slow.Open(&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_1_1_0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Ask(h.Stream, 0); err != nil {
		t.Fatal(err)
	}
	if got := r.chunks(fast, &wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_1_1_1"}}); len(got[0]) != 64<<10 {
		t.Errorf("%d bytes", len(got[0]))
	}
	for open := 2; open > 1; {
		r.s.mu.Lock()
		open = len(r.s.conns)
		r.s.mu.Unlock()
		if _, err := fast.Call(&wire.GetLocalDirs{App: testApp, Execs: []string{"1"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := slow.Take(h.Stream, 0, nil); err == nil {
		t.Error("a reader that had stopped got all")
	}
}

func TestIndexBudget(t *testing.T) {
	r := newRig(t, "")
	r.s.indexes = indexes{recent.New[index](4 * (recent.EntryCost + 64))}
	c := r.dial()
	r.register(c)
	for m := range 20 {
		r.output(1, m, "a", "b", "c")
	}
	r.output(1, 99, strings.Split(strings.Repeat("abcdefgh", 20), "")...)
	for m := range 20 {
		r.chunks(c, &wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 1, Maps: []int64{int64(m)}, Reduces: [][]int32{{0, 1, 2}}})
	}
	if n := r.s.indexes.Len(); n < 3 || n > 4 {
		t.Errorf("%d indexes are kept", n)
	}
	if got := r.chunks(c, &wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 1, Maps: []int64{99}, Reduces: [][]int32{{150, 160}}, Batch: true}); got[0] != "ghabcdefgh" {
		t.Errorf("of an index too large to keep: %q", got)
	}
}

// Java's own hashes; that of "polygenelubricants" is MIN_VALUE.
func TestPath(t *testing.T) {
	for s, want := range map[string]int{"": 0, "a": 97, "ab": 97*31 + 98, "polygenelubricants": 0, "hello": 99162322} {
		if got := javaHash(s); got != want {
			t.Errorf("hash of %q is %d, want %d", s, got, want)
		}
	}
	e := executor{Dirs: []string{"/a", "/b", "/c"}, SubDirs: 64}
	// 99162322 % 3 = 1, 99162322 / 3 = 33054107, % 64 = 27 = 0x1b.
	if got := e.path("hello"); got != "/b/1b/hello" {
		t.Errorf("path %s", got)
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add([]byte(`{"application":"application_1_2","user":"ann","uid":7,"secret":"s","dirs":["/x"],"executors":{"1":{"dirs":["/x/y"],"subdirs":64}}}`))
	f.Add([]byte(`{"application":"application_1_2","dirs":["/x"],"executors":{"1":{"dirs":["/etc"],"subdirs":0}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRegistration(b, "application_1_2")
		if err != nil {
			return
		}
		for id, e := range r.Executors {
			p := e.path("rdd_1_1")
			if _, _, ok := below(r.Dirs, p); !ok || id == "" {
				t.Fatalf("executor %q has %s outside of %v", id, p, r.Dirs)
			}
		}
	})
}

func FuzzRef(f *testing.F) {
	f.Add("shuffle_1_2_3")
	f.Add("rdd_1_2")
	f.Add("shuffleChunk_1_2_3_4")
	f.Add("rdd_-1_2147483648")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseRef(s); err == nil && (r.shuffle < 0 || r.mapID < 0 || r.from < 0) {
			t.Fatalf("%q is %+v", s, r)
		}
		if removable(s) && strings.ContainsAny(s, "/\x00") {
			t.Fatalf("%q", s)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(make([]byte, 24), int32(0), int32(1))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 1}, int32(0), int32(1))
	f.Fuzz(func(t *testing.T, b []byte, from, to int32) {
		if start, end, err := index(b).span(from, to); err == nil && (start < 0 || end < start) {
			t.Fatalf("%d to %d", start, end)
		}
	})
}

func FuzzLogin(f *testing.F) {
	f.Add([]byte(`username="u",realm="default",nonce="n",nc=00000001,cnonce="c",digest-uri="null/default",response=0123456789abcdef0123456789abcdef,qop=auth-conf,cipher="3des"`))
	f.Add(wire.Auth{App: "a", Salt: make([]byte, 16), Sealed: make([]byte, 60)}.Append(nil))
	f.Add([]byte(`{"secret":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := (&saslLogin{app: "a", secret: "s", nonce: "n"}).check(b); err == nil {
			t.Fatalf("%q proves the secret: %+v", b, s)
		}
		if len(b) > 0 {
			if m, err := wire.ParseAuth(b[1:]); err == nil {
				if _, err := openKey("s", m, nil); err == nil {
					t.Fatalf("%q proves the secret", b)
				}
			}
		}
		if r, err := newRegistration("application_1_2", "ann", 1, b, []string{"/x"}); err == nil && len(r.Secret) > len(b) {
			t.Fatalf("%q is the secret %q", b, r.Secret)
		}
	})
}

// An application cannot have the service keep folders without end, nor answer with all of them on every connection at once.
func TestNamesAreBounded(t *testing.T) {
	r := newRig(t, "")
	c := r.dial()
	dirs := make([]string, 250) // a million bytes of names
	for i := range dirs {
		dirs[i] = r.app + "/" + strconv.Itoa(1000+i)
		dirs[i] += strings.Repeat("x", 4000-len(dirs[i]))
	}
	var execs []string
	var err error
	for err == nil && len(execs) < 20 {
		id := strconv.Itoa(len(execs))
		if _, err = c.Call(&wire.RegisterExecutor{App: testApp, Exec: id, Dirs: dirs, SubDirs: 1}); err == nil {
			execs = append(execs, id)
		}
	}
	refused(t, err, "names of folders")
	if len(execs) != maxNames/1_000_000 {
		t.Errorf("%d executors are kept", len(execs))
	}
	if err := r.s.Stop(); err != nil {
		t.Fatal(err)
	}
	r.start(Options{RequestBytes: 5 << 19})
	c = r.dial()
	_, err = c.Call(&wire.GetLocalDirs{App: testApp, Execs: execs})
	refused(t, err, "the memory for requests")
	for range 2 { // an answer gives back what it took
		a, err := c.Call(&wire.GetLocalDirs{App: testApp, Execs: execs[:1]})
		if l, ok := a.(*wire.LocalDirs); err != nil || !ok || len(l.Dirs) != 1 || len(l.Dirs[0]) != len(dirs) {
			t.Fatalf("%T, %v", a, err)
		}
	}
}
