package spark

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fairway/adapters/spark/sparktest"
	"fairway/adapters/spark/wire"
)

const testApp = "application_1700000000000_0007"

// rig is a server with one application and one executor's folders.
type rig struct {
	t     *testing.T
	s     *Server
	app   string // the application's folder
	exec  executor
	state string
}

func newRig(t *testing.T, secret string) *rig {
	t.Helper()
	r := &rig{t: t, app: filepath.Join(t.TempDir(), testApp), state: filepath.Join(t.TempDir(), "state")}
	r.exec = executor{Dirs: []string{filepath.Join(r.app, "blockmgr-a"), filepath.Join(r.app, "blockmgr-b")}, SubDirs: 64}
	if err := os.MkdirAll(r.app, 0o755); err != nil {
		t.Fatal(err)
	}
	r.start(Options{})
	if err := r.s.InitApplication(testApp, "ann", os.Getuid(), []byte(secret), []string{r.app}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) start(o Options) {
	r.t.Helper()
	o.Listen, o.StateDir = "127.0.0.1:0", r.state
	r.s = New(o)
	if err := r.s.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	s := r.s
	r.t.Cleanup(func() { s.Stop() })
}

func (r *rig) dial() *sparktest.Client {
	r.t.Helper()
	c, err := sparktest.Dial(net.JoinHostPort("127.0.0.1", strconv.Itoa(r.s.Port())))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) register(c *sparktest.Client) {
	r.t.Helper()
	a, err := c.Call(&wire.RegisterExecutor{App: testApp, Exec: "1", Dirs: r.exec.Dirs, SubDirs: int32(r.exec.SubDirs), Manager: "org.apache.spark.shuffle.sort.SortShuffleManager"})
	if err != nil || a != nil {
		r.t.Fatalf("register: %v, %v", a, err)
	}
}

func (r *rig) file(name string, b []byte) string {
	r.t.Helper()
	path := r.exec.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// output writes a map's partitions.
func (r *rig) output(shuffle, mapID int, parts ...string) {
	r.t.Helper()
	base := "shuffle_" + strconv.Itoa(shuffle) + "_" + strconv.Itoa(mapID) + "_0"
	x := binary.BigEndian.AppendUint64(nil, 0)
	at := 0
	for _, p := range parts {
		at += len(p)
		x = binary.BigEndian.AppendUint64(x, uint64(at))
	}
	r.file(base+".index", x)
	r.file(base+".data", []byte(strings.Join(parts, "")))
}

// chunks fetches all of a stream.
func (r *rig) chunks(c *sparktest.Client, m wire.Message) []string {
	r.t.Helper()
	h, err := c.Open(m)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for i := range h.Chunks {
		b, err := c.Chunk(h.Stream, i)
		if err != nil {
			r.t.Fatalf("chunk %d: %v", i, err)
		}
		got = append(got, string(b))
	}
	return got
}

// refused wants an answer that is an error with these words.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	var f *sparktest.Failure
	if !errors.As(err, &f) || !strings.Contains(f.Why, words) {
		t.Errorf("%v, want a failure with %q", err, words)
	}
}
