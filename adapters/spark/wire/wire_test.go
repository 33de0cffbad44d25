package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var messages = []Message{
	&OpenBlocks{App: "a", Exec: "1", Blocks: []string{"shuffle_1_2_3", "x"}},
	&RegisterExecutor{App: "a", Exec: "1", Dirs: []string{"/x", "/y"}, SubDirs: 64, Manager: "m"},
	&StreamHandle{Stream: 1 << 40, Chunks: 7},
	&RemoveBlocks{App: "a", Exec: "1", Blocks: []string{"rdd_1_2"}},
	&BlocksRemoved{N: 3},
	&FetchBlocks{App: "a", Exec: "1", Shuffle: 2, Maps: []int64{1 << 33, 4}, Reduces: [][]int32{{1, 2}, {3}}, Batch: true},
	&GetLocalDirs{App: "a", Execs: []string{"1", "2"}},
	&LocalDirs{Execs: []string{"1", "2"}, Dirs: [][]string{{"/x"}, {"/y", "/z"}}},
	&Diagnose{App: "a", Exec: "1", Shuffle: 1, Map: 2, Reduce: 3, Checksum: -4, Algorithm: "CRC32"},
	&Cause{Cause: 3},
	&Merge{Tag: TagFinalizeMerge, App: "a", Rest: []byte{1, 2, 3}},
	&FetchChunks{App: "a", Exec: "1", Shuffle: 1, Merge: 2, Reduces: []int32{3}, Chunks: [][]int32{{4, 5}}},
	&Unexpected{Tag: TagUploadBlock},
}

func TestMessages(t *testing.T) {
	for _, m := range messages {
		b := Append(nil, m)
		got, err := Parse(b)
		if d := cmp.Diff(m, got); err != nil || d != "" {
			t.Errorf("%T: %v %s", m, err, d)
		}
		if _, ok := m.(*Merge); ok {
			continue
		}
		for n := range b {
			if got, err := Parse(b[:n]); err == nil {
				t.Errorf("%T cut at %d of %d is %+v", m, n, len(b), got)
			}
		}
		if _, ok := m.(*Unexpected); !ok {
			if _, err := Parse(append(b, 0)); err == nil {
				t.Errorf("%T with a byte too many is read", m)
			}
		}
	}
	if _, err := Parse([]byte{20}); err == nil {
		t.Error("a type that is not there is read")
	}
}

// Written down by hand from the layout (reference yarn-wire.md, section 12): FetchShuffleBlocks{a, 1, shuffle 2, maps [4],
// reduces [[5]], no batch} in RpcRequest 6.
func TestFetchBytes(t *testing.T) {
	body := "09" + "0000000161" + "0000000131" + "00000002" + "00000001" + "0000000000000004" + "00000001" + "00000001" + "00000005" + "00"
	want := "000000000000003d" + "03" + "0000000000000006" + "00000028" + body
	m := &FetchBlocks{App: "a", Exec: "1", Shuffle: 2, Maps: []int64{4}, Reduces: [][]int32{{5}}}
	if got := hex.EncodeToString(AppendRPC(nil, RPCRequest, 6, Append(nil, m))); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

func TestFrames(t *testing.T) {
	for what, q := range map[string]struct {
		b    []byte
		tail int // bytes that follow outside the frame, which are not there
		want Frame
	}{
		"chunk request": {AppendChunkRequest(nil, 5, 6), 0, Frame{Kind: ChunkFetchRequest, ID: 5, Chunk: 6}},
		"chunk":         {append(AppendChunkSuccess(nil, 5, 6, 3), "abc"...), 0, Frame{Kind: ChunkFetchSuccess, ID: 5, Chunk: 6, Body: []byte("abc")}},
		"chunk failure": {AppendChunkFailure(nil, 5, 6, "why"), 0, Frame{Kind: ChunkFetchFailure, ID: 5, Chunk: 6, Why: "why"}},
		"request":       {AppendRPC(nil, RPCRequest, 7, []byte("b")), 0, Frame{Kind: RPCRequest, ID: 7, Body: []byte("b")}},
		"failure":       {AppendRPCFailure(nil, 7, "why"), 0, Frame{Kind: RPCFailure, ID: 7, Why: "why"}},
		"one way":       {AppendOneWay(nil, []byte("b")), 0, Frame{Kind: OneWayMessage, Body: []byte("b")}},
		"stream":        {AppendStreamRequest(nil, "1_2"), 0, Frame{Kind: StreamRequest, Name: "1_2"}},
		"stream answer": {AppendStreamResponse(nil, "1_2", 99), 99, Frame{Kind: StreamResponse, Name: "1_2", Length: 99}},
		"stream failed": {AppendStreamFailure(nil, "1_2", "why"), 0, Frame{Kind: StreamFailure, Name: "1_2", Why: "why"}},
		"upload":        {AppendUpload(nil, 7, []byte("m"), 99), 99, Frame{Kind: UploadStream, ID: 7, Body: []byte("m"), Length: 99}},
		"merged":        {AppendMergedMeta(nil, 7, "a", 1, 2, 3), 0, Frame{Kind: MergedBlockMetaRequest, ID: 7, Name: "a"}},
	} {
		k, n, err := ParseHead([HeadSize]byte(q.b), 1<<20)
		if err != nil || n != len(q.b)-HeadSize {
			t.Errorf("%s: payload of %d in %d bytes, %v", what, n, len(q.b), err)
			continue
		}
		got, err := ParseFrame(k, q.b[HeadSize:])
		if d := cmp.Diff(q.want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", what, err, d)
		}
	}
	if _, err := ParseFrame(UploadStream, AppendUpload(nil, 1, nil, -1)[HeadSize:]); err == nil {
		t.Error("a negative length is read")
	}
}

func TestLogins(t *testing.T) {
	s := SASL{App: "a", Token: []byte("t")}
	b := s.Append(nil)
	if hex.EncodeToString(b) != "ea00000001610000000174" {
		t.Errorf("%x", b)
	}
	if got, err := ParseSASL(b[1:]); err != nil || !cmp.Equal(got, s) {
		t.Errorf("%+v, %v", got, err)
	}
	a := Auth{App: "a", Salt: []byte("s"), Sealed: []byte("c")}
	b = a.Append(nil)
	if hex.EncodeToString(b) != "fb000000016100000001730000000163" {
		t.Errorf("%x", b)
	}
	if got, err := ParseAuth(b[1:]); err != nil || !cmp.Equal(got, a) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range messages {
		f.Add(Append(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err == nil {
			again, err := Parse(Append(nil, m))
			if d := cmp.Diff(m, again); err != nil || d != "" && !strings.Contains(d, "LocalDirs") {
				t.Fatalf("%v %s", err, d)
			}
		}
		_, _ = ParseSASL(b)
		if a, err := ParseAuth(b); err == nil && !bytes.Equal(a.Append(nil)[1:], b) {
			t.Fatal("auth is written otherwise")
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(byte(3), AppendRPC(nil, RPCRequest, 1, []byte("x"))[HeadSize:])
	f.Add(byte(10), AppendUpload(nil, 1, []byte("x"), 5)[HeadSize:])
	f.Add(byte(6), AppendStreamRequest(nil, "1_2")[HeadSize:])
	f.Fuzz(func(t *testing.T, k byte, b []byte) {
		if fr, err := ParseFrame(Kind(k), b); err == nil && (fr.Length < 0 || len(fr.Body) > len(b)) {
			t.Fatalf("%+v", fr)
		}
		if len(b) >= HeadSize {
			if _, n, err := ParseHead([HeadSize]byte(b), 1000); err == nil && (n < 0 || n > 1000) {
				t.Fatal(n)
			}
		}
	})
}
