package spark

import (
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/adapters/spark/sparktest"
	"fairway/adapters/spark/wire"
)

func TestFetch(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 40_000) // past sendfile's threshold
	for _, how := range []string{"plain", "auth", "auth-conf", "aes 1", "aes 2"} {
		t.Run(how, func(t *testing.T) {
			secret := ""
			if how != "plain" {
				secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" // as long as YARN's
			}
			r := newRig(t, secret)
			r.output(3, 11, "alpha", "", big, "d")
			r.output(3, 12, "one", "two", "three", "four")
			r.file("rdd_5_2", []byte("rdd"+big))
			c := r.dial()
			var err error
			switch how {
			case "auth", "auth-conf":
				err = c.SASL(testApp, secret, how)
			case "aes 1":
				err = c.Auth(testApp, secret, 1)
			case "aes 2":
				err = c.Auth(testApp, secret, 2)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.register(c)
			for _, q := range []struct {
				what string
				m    wire.Message
				want []string
			}{
				{"plain", &wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 3, Maps: []int64{11, 12}, Reduces: [][]int32{{0, 1, 2}, {3}}}, []string{"alpha", "", big, "four"}},
				{"batch", &wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 3, Maps: []int64{11, 12}, Reduces: [][]int32{{1, 4}, {0, 3}}, Batch: true}, []string{big + "d", "onetwothree"}},
				{"old", &wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_3_12_1", "shuffle_3_11_0"}}, []string{"two", "alpha"}},
				{"rdd", &wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"rdd_5_2"}}, []string{"rdd" + big}},
			} {
				if got := r.chunks(c, q.m); !slices.Equal(got, q.want) {
					t.Errorf("%s: chunks of %d, want %d", q.what, lengths(got), lengths(q.want))
				}
			}
			h, err := c.Open(&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_3_11_2", "shuffle_3_11_1"}})
			if err != nil {
				t.Fatal(err)
			}
			if b, err := c.Stream(h.Stream, 0); err != nil || string(b) != big {
				t.Errorf("stream: %d bytes, %v", len(b), err)
			}
			if b, err := c.Stream(h.Stream, 1); err != nil || len(b) != 0 {
				t.Errorf("empty stream: %d bytes, %v", len(b), err)
			}
			if n := r.s.memory.used.Load(); n != 0 {
				t.Errorf("%d bytes held after all was fetched", n)
			}
		})
	}
}

func lengths(l []string) (n []int) {
	for _, s := range l {
		n = append(n, len(s))
	}
	return n
}

func TestFetchRefused(t *testing.T) {
	r := newRig(t, "")
	r.output(3, 11, "alpha", "beta")
	r.output(3, 12, "alpha", "beta")
	c := r.dial()
	_, err := c.Open(&wire.OpenBlocks{App: "application_1_2", Exec: "1", Blocks: []string{"shuffle_3_11_0"}})
	refused(t, err, "not known")
	h, err := c.Open(&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_3_11_0"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Chunk(h.Stream, 0)
	refused(t, err, "Executor is not registered (appId="+testApp+", execId=1)")
	r.register(c)
	for _, l := range [][]string{nil, {"shuffle_3_11"}, {"shuffle_3_11_-1"}, {"shuffle_3_11_0", "rdd_1_2"}, {"shuffle_3_11_0", "shuffle_4_11_0"}, {"rdd_../_1"}, {"broadcast_1"}} {
		if _, err := c.Open(&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: l}); err == nil {
			t.Errorf("%q is opened", l)
		}
	}
	for _, f := range []*wire.FetchBlocks{
		{Maps: []int64{11}}, {Maps: []int64{-1}, Reduces: [][]int32{{0}}}, {Maps: []int64{11}, Reduces: [][]int32{{0}}, Batch: true}, {}, {Maps: []int64{11}, Reduces: [][]int32{{}}},
	} {
		f.App, f.Exec, f.Shuffle = testApp, "1", 3
		if _, err := c.Open(f); err == nil {
			t.Errorf("%+v is opened", f)
		}
	}
	for _, reduces := range [][]int32{{2}, {-1}, {1<<31 - 1}} {
		h, err := c.Open(&wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 3, Maps: []int64{11}, Reduces: [][]int32{reduces}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Chunk(h.Stream, 0)
		refused(t, err, "no partitions")
	}
	h, err = c.Open(&wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 3, Maps: []int64{11}, Reduces: [][]int32{{0, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Chunk(h.Stream, 1)
	refused(t, err, "Received out-of-order chunk index 1 (expected 0)")
	_, err = c.Chunk(h.Stream+100, 0)
	refused(t, err, "is closed")
	for _, id := range []string{"", "1", "x_1", "1_x", strconv.FormatInt(h.Stream, 10) + "_7"} {
		if _, err := c.StreamID(id); err == nil {
			t.Errorf("stream %q is served", id)
		}
	}
	// A stream belongs to its connection.
	_, err = r.dial().Chunk(h.Stream, 0)
	refused(t, err, "is closed")
	for name, b := range map[string][]byte{"shuffle_3_13_0.index": {1, 2, 3}, "shuffle_3_14_0.index": make([]byte, 8), "shuffle_3_15_0.index": slices.Concat(make([]byte, 7), []byte{9}, make([]byte, 8))} {
		r.file(name, b)
		id, err := strconv.ParseInt(strings.Split(name, "_")[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		h, err := c.Open(&wire.FetchBlocks{App: testApp, Exec: "1", Shuffle: 3, Maps: []int64{id}, Reduces: [][]int32{{0}}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Chunk(h.Stream, 0)
		refused(t, err, "index file")
	}
	// A data file that is shorter than its index says, a link that leads out, and a file of nobody's.
	if err := os.Truncate(r.exec.path("shuffle_3_12_0.data"), 6); err != nil {
		t.Fatal(err)
	}
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := r.file("rdd_9_9", nil)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secretFile, link); err != nil {
		t.Fatal(err)
	}
	folder := r.exec.path("rdd_9_8")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for block, words := range map[string]string{"shuffle_3_12_1": "its index says", "rdd_9_9": "escapes", "rdd_9_8": "not a regular file", "rdd_9_7": "no such file"} {
		h, err := c.Open(&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{block}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Chunk(h.Stream, 0)
		refused(t, err, words)
	}
}

func TestRegisterRefused(t *testing.T) {
	r := newRig(t, "")
	c := r.dial()
	for what, m := range map[string]*wire.RegisterExecutor{
		"a folder elsewhere":         {Dirs: []string{"/etc"}, SubDirs: 64},
		"a folder beside":            {Dirs: []string{r.app + "x/blockmgr"}, SubDirs: 64},
		"the folder above":           {Dirs: []string{filepath.Dir(r.app)}, SubDirs: 64},
		"a path that climbs":         {Dirs: []string{r.app + "/../x"}, SubDirs: 64},
		"a relative path":            {Dirs: []string{"x"}, SubDirs: 64},
		"the application's own":      {Dirs: []string{r.app}, SubDirs: 64},
		"no folder":                  {SubDirs: 64},
		"no sub-folders":             {Dirs: r.exec.Dirs},
		"less than none":             {Dirs: r.exec.Dirs, SubDirs: -1},
		"one good folder, one other": {Dirs: []string{r.exec.Dirs[0], "/etc"}, SubDirs: 64},
	} {
		m.App, m.Exec = testApp, "1"
		if _, err := c.Call(m); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	_, err := c.Call(&wire.RegisterExecutor{App: testApp, Dirs: r.exec.Dirs, SubDirs: 64})
	refused(t, err, "executor id")
}

func TestAuthentication(t *testing.T) {
	r := newRig(t, "s3cret")
	if err := r.s.InitApplication("application_1_2", "bob", 7, []byte("other"), []string{r.app}); err != nil {
		t.Fatal(err)
	}
	_, err := r.dial().Call(&wire.RegisterExecutor{App: testApp, Exec: "1", Dirs: r.exec.Dirs, SubDirs: 64})
	refused(t, err, "Client for null not authorized for application "+testApp)
	for _, login := range []func(c *sparktest.Client, app, secret string) error{
		func(c *sparktest.Client, app, secret string) error { return c.SASL(app, secret, "auth") },
		func(c *sparktest.Client, app, secret string) error { return c.SASL(app, secret, "auth-conf") },
		func(c *sparktest.Client, app, secret string) error { return c.Auth(app, secret, 1) },
	} {
		c := r.dial()
		if err := login(c, testApp, "wrong"); err == nil {
			t.Error("a wrong secret is taken")
		}
		if _, err := c.Read(); err != io.EOF {
			t.Errorf("after a wrong secret: %v", err)
		}
		refused(t, login(r.dial(), "application_1_3", "s3cret"), "not known")
		c = r.dial()
		if err := login(c, "application_1_2", "other"); err != nil {
			t.Fatal(err)
		}
		words := "Client for application_1_2 not authorized for application " + testApp + "."
		for _, m := range []wire.Message{
			&wire.RegisterExecutor{App: testApp, Exec: "1", Dirs: r.exec.Dirs, SubDirs: 64},
			&wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"rdd_1_1"}},
			&wire.FetchBlocks{App: testApp, Exec: "1", Maps: []int64{1}, Reduces: [][]int32{{0}}},
			&wire.FetchChunks{App: testApp, Exec: "1", Reduces: []int32{1}, Chunks: [][]int32{{0}}},
			&wire.GetLocalDirs{App: testApp, Execs: []string{"1"}},
			&wire.RemoveBlocks{App: testApp, Exec: "1", Blocks: []string{"rdd_1_1"}},
			&wire.Diagnose{App: testApp, Exec: "1", Algorithm: "CRC32"},
			&wire.Merge{Tag: wire.TagFinalizeMerge, App: testApp},
			&wire.Merge{Tag: wire.TagRemoveMerge, App: testApp},
		} {
			_, err := c.Call(m)
			refused(t, err, words)
		}
	}
	// GCM, or whatever else follows Spark's authentication, ends the connection.
	c := r.dial()
	if err := c.Auth(testApp, "s3cret", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Conn.Write(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Conn.Read(make([]byte, 1)); err == nil {
		t.Error("a stream that is not ours is answered")
	}
}

func TestOtherMessages(t *testing.T) {
	r := newRig(t, "")
	c := r.dial()
	r.register(c)
	a, err := c.Call(&wire.GetLocalDirs{App: testApp, Execs: []string{"1", "1"}})
	if d := cmp.Diff(&wire.LocalDirs{Execs: []string{"1"}, Dirs: [][]string{r.exec.Dirs}}, a); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	_, err = c.Call(&wire.GetLocalDirs{App: testApp, Execs: []string{"1", "2"}})
	refused(t, err, "Executor is not registered")

	r.output(1, 1, "a", "b")
	r.file("rdd_1_1", []byte("x"))
	r.chunks(c, &wire.OpenBlocks{App: testApp, Exec: "1", Blocks: []string{"shuffle_1_1_0"}})
	a, err = c.Call(&wire.RemoveBlocks{App: testApp, Exec: "1", Blocks: []string{"rdd_1_1", "rdd_1_2", "shuffle_1_1_0.index", "shuffle_1_1_0.data"}})
	if d := cmp.Diff(&wire.BlocksRemoved{N: 3}, a); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if r.s.indexes.Len() != 0 {
		t.Error("the index of a removed file is still there")
	}
	for _, bad := range []string{"../rdd_1_1", "rdd_1_1/../../x", "", "x", "rdd_\x00"} {
		_, err = c.Call(&wire.RemoveBlocks{App: testApp, Exec: "1", Blocks: []string{bad}})
		refused(t, err, "Unexpected block id format")
	}
	for _, m := range []wire.Message{&wire.Merge{Tag: wire.TagFinalizeMerge, App: testApp}, &wire.GetLocalDirs{App: testApp, Execs: []string{merger}}} {
		_, err = c.Call(m)
		refused(t, err, "Cannot handle shuffle block merge")
	}
	_, err = c.Call(&wire.Merge{Tag: wire.TagRemoveMerge, App: testApp})
	refused(t, err, "Cannot handle merged shuffle remove")
	h, err := c.Open(&wire.FetchChunks{App: testApp, Exec: "1", Reduces: []int32{1}, Chunks: [][]int32{{0, 1}}})
	if err != nil || h.Chunks != 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	_, err = c.Chunk(h.Stream, 0)
	refused(t, err, "Cannot handle shuffle block merge")
	_, err = c.Call(&wire.Unexpected{Tag: wire.TagUploadBlock})
	refused(t, err, "Unexpected message")
	_, err = c.RPC([]byte{99})
	refused(t, err, "unknown message type")
	_, err = c.RPC(nil)
	refused(t, err, "ends too early")
	if err := c.Write(wire.AppendOneWay(nil, []byte{1})); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(wire.AppendMergedMeta(nil, 77, testApp, 1, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if f, err := c.Read(); err != nil || f.Kind != wire.RPCFailure || f.ID != 77 || f.Why != errMerge.Error() {
		t.Errorf("%+v, %v", f, err)
	}
	push := wire.Append(nil, &wire.Merge{Tag: wire.TagPushBlock, App: testApp, Rest: make([]byte, 24)})
	if err := c.Write(wire.AppendUpload(nil, 78, push, 1000)); err != nil {
		t.Fatal(err)
	}
	if f, err := c.Read(); err != nil || f.Kind != wire.RPCFailure || f.ID != 78 || f.Why != errMerge.Error() {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := c.Read(); err != io.EOF {
		t.Errorf("after a push: %v", err)
	}
}

func TestDiagnose(t *testing.T) {
	r := newRig(t, "")
	c := r.dial()
	r.register(c)
	r.output(1, 1, "alpha", "beta", "")
	for algorithm, sum := range map[string]func(string) uint32{
		"ADLER32": func(s string) uint32 { return adler32.Checksum([]byte(s)) },
		"CRC32":   func(s string) uint32 { return crc32.ChecksumIEEE([]byte(s)) },
		"CRC32C":  func(s string) uint32 { return crc32.Checksum([]byte(s), crc32.MakeTable(crc32.Castagnoli)) },
	} {
		var b []byte
		for _, s := range []string{"alpha", "BETA", ""} {
			b = binary.BigEndian.AppendUint64(b, uint64(sum(s)))
		}
		r.file("shuffle_1_1_0.checksum."+algorithm, b)
		good := int64(sum("alpha"))
		for _, q := range []struct {
			reduce int32
			sum    int64
			want   byte
		}{{0, good, causeNone}, {0, good + 1, causeNetwork}, {1, good, causeDisk}, {2, int64(sum("")), causeNone}, {3, good, causeUnknown}, {-1, good, causeUnknown}} {
			a, err := c.Call(&wire.Diagnose{App: testApp, Exec: "1", Shuffle: 1, Map: 1, Reduce: q.reduce, Checksum: q.sum, Algorithm: algorithm})
			if d := cmp.Diff(&wire.Cause{Cause: q.want}, a); err != nil || d != "" {
				t.Errorf("%s %+v: %v %s", algorithm, q, err, d)
			}
		}
	}
	a, err := c.Call(&wire.Diagnose{App: testApp, Exec: "1", Shuffle: 1, Map: 1, Algorithm: "MD5"})
	if d := cmp.Diff(&wire.Cause{Cause: causeUnsupported}, a); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}
