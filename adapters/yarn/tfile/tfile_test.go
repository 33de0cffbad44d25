package tfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"strings"
	"testing"

	"fairway/adapters/yarn/id"
)

// Written by Hadoop's own TFile.Writer: VERSION, APPLICATION_OWNER alice, APPLICATION_ACL, one container with stdout
// "hello\n".
const vector = "d111d36891b5d7b639df414092bae15009000756455253494f4e04000000011300114150504c49434154494f4e5f4f574e4552070005616c69636511000f4150504c49434154494f4e5f41434c" +
	"1c0008564945575f415050000120000a4d4f444946595f415050000120280026636f6e7461696e65725f313730303030303030303030305f303030375f30315f303030303032" +
	"1100067374646f757400013668656c6c6f0a0001000004000a09000756455253494f4e2a280026636f6e7461696e65725f313730303030303030303030305f303030375f30315f30303030303204" +
	"046e6f6e650110cc95cc950311646174613a424346696c652e696e646578046e6f6e65cce10b0b10646174613a5446696c652e696e646578046e6f6e65ccab36360f646174613a5446696c652e6d657461046e6f6e65cca506" +
	"0600000000000000ec00010000d111d36891b5d7b639df414092bae150"

const vectorContainer = "container_1700000000000_0007_01_000002"

func text(name, s string) File {
	return File{name, func() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader(s)), int64(len(s)), nil }}
}

func TestWriteVector(t *testing.T) {
	var b bytes.Buffer
	l, err := NewLogWriter(&b, "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := l.Container(vectorContainer, []File{text("stdout", "hello\n")}); left != nil || err != nil {
		t.Fatal(left, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b.Bytes()); got != vector {
		t.Errorf("wrote\n%s\nwant\n%s", got, vector)
	}
}

// container as the tests compare them: files by name.
type logged map[string]map[string]string

func readAll(r io.ReaderAt, size int64) (*Logs, logged, error) {
	l, err := ReadLogs(r, size)
	if err != nil {
		return nil, nil, err
	}
	all := logged{}
	for {
		c, err := l.Next()
		if err == io.EOF {
			return l, all, nil
		}
		if err != nil {
			return l, all, err
		}
		all[c] = map[string]string{}
		for {
			name, size, content, err := l.NextFile()
			if err == io.EOF {
				break
			}
			if err != nil {
				return l, all, err
			}
			b, err := io.ReadAll(content)
			if err != nil {
				return l, all, err
			}
			if int64(len(b)) != size {
				return l, all, fmt.Errorf("%w: %s has %d bytes of %d", ErrFormat, name, len(b), size)
			}
			all[c][name] = string(b)
		}
	}
}

func TestReadVector(t *testing.T) {
	b, err := hex.DecodeString(vector)
	if err != nil {
		t.Fatal(err)
	}
	l, all, err := readAll(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if l.Owner != "alice" || !maps.Equal(l.ACLs, map[string]string{"VIEW_APP": " ", "MODIFY_APP": " "}) {
		t.Errorf("owner %q, rights %v", l.Owner, l.ACLs)
	}
	if len(all) != 1 || !maps.Equal(all[vectorContainer], map[string]string{"stdout": "hello\n"}) {
		t.Errorf("logs %v", all)
	}
	// A file that is cut off or changed is an error or still the same logs; it never hangs or panics.
	for i := range b {
		if _, _, err := readAll(bytes.NewReader(b[:i]), int64(i)); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCompressed) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	want := logged{}
	var b bytes.Buffer
	l, err := NewLogWriter(&b, "bob", map[string]string{"VIEW_APP": "ann,carl ops", "MODIFY_APP": "*"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		c := fmt.Sprintf("container_1700000000000_0007_01_%06d", i+1)
		want[c] = map[string]string{"stdout": strings.Repeat("x", i*i*1000), "stderr": "", "sysl\x00g\u00e9\u20ac\U0001F600": strings.Repeat("line\n", i)}
		if i == 7 {
			want[c]["big"] = strings.Repeat("0123456789abcdef", 5<<16+3) // several chunks
			want[c]["exact"] = strings.Repeat("z", chunkSize)
		}
		if i == 8 {
			want[c] = map[string]string{}
		}
		var files []File
		for name, s := range want[c] {
			files = append(files, text(name, s))
		}
		if left, err := l.Container(c, files); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, all, err := readAll(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || got.Owner != "bob" || got.ACLs["VIEW_APP"] != "ann,carl ops" || got.ACLs["MODIFY_APP"] != "*" {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(l.t.blocks) < 4 {
		t.Errorf("only %d blocks: the test tests little", len(l.t.blocks))
	}
	if len(all) != len(want) {
		t.Errorf("%d containers, want %d", len(all), len(want))
	}
	for c := range want {
		if !maps.Equal(all[c], want[c]) {
			t.Errorf("%s differs", c)
		}
	}
	// Containers can be passed over without reading their logs.
	again, err := ReadLogs(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = again.Next()
		if n == 7 {
			if _, _, _, err := again.NextFile(); err != nil {
				t.Error(err)
			}
		}
	}
	if err != io.EOF || n != len(want)+1 {
		t.Errorf("passed over %d containers, %v", n-1, err)
	}
}

// A log that cannot be opened, or is shorter than it was, harms no other.
func TestLogsThatFail(t *testing.T) {
	var b bytes.Buffer
	l, err := NewLogWriter(&b, "bob", nil)
	if err != nil {
		t.Fatal(err)
	}
	left, err := l.Container("c1", []File{
		text("z", "last"),
		{"gone", func() (io.ReadCloser, int64, error) { return nil, 0, fs.ErrNotExist }},
		{"short", func() (io.ReadCloser, int64, error) {
			return io.NopCloser(strings.NewReader("abc")), copySize + 5, nil
		}},
		text(strings.Repeat("n", 70_000), "name too long"),
	})
	if err != nil || !errors.Is(left, fs.ErrNotExist) || !errors.Is(left, io.ErrUnexpectedEOF) || !strings.Contains(left.Error(), "65535") {
		t.Fatalf("%v, left %v", err, left)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, all, err := readAll(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(all["c1"]) != 2 || all["c1"]["z"] != "last" || all["c1"]["short"] != "abc"+strings.Repeat("\n", copySize+2) {
		t.Errorf("%v, %v", all, err)
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	l, err := NewLogWriter(&failing{100_000}, "bob", nil)
	for i := 0; err == nil && i < 10; i++ {
		_, err = l.Container("c", []File{text("stdout", strings.Repeat("x", 50_000))})
	}
	if err == nil || l.Close() == nil {
		t.Errorf("a full disk was not noticed: %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "00", -32: "e0", 127: "7f", 149: "cc95", 225: "cce1", -33: "cbdf", 5119: "dfff", 5120: "a81400", -5120: "b800",
		1<<20 - 1: "b7ffff", 1 << 20: "90100000", 1<<27 - 1: "97ffffff", 1 << 27: "8308000000", math.MaxInt32: "837fffffff", 1 << 31: "840080000000", math.MaxInt64: "877fffffffffffffff", math.MinInt64: "878000000000000000"} {
		got := appendNumber(nil, n)
		if hex.EncodeToString(got) != want {
			t.Errorf("%d is %x, want %s", n, got, want)
		}
		if back, err := readNumber(bytes.NewReader(got)); err != nil || back != n {
			t.Errorf("%x is %d, %v; want %d", got, back, err, n)
		}
	}
	for i := range 64 {
		for _, n := range []int64{1 << i, 1<<i - 1, -1 << i, -1<<i - 1} {
			if back, err := readNumber(bytes.NewReader(appendNumber(nil, n))); err != nil || back != n {
				t.Errorf("%d comes back as %d, %v", n, back, err)
			}
		}
	}
	for _, bad := range []string{"", "cc", "80ff", "82000000", "87ffff"} {
		b, _ := hex.DecodeString(bad)
		if n, err := readNumber(bytes.NewReader(b)); err == nil {
			t.Errorf("%q is %d", bad, n)
		}
	}
}

func TestFolders(t *testing.T) {
	f := Folders{Root: "/tmp/logs", Suffix: "logs"}
	a, err := id.ParseApplication("application_1700000000000_12007")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.File("alice", a, id.NodeID{Host: "node1", Port: 45454}); got != "/tmp/logs/alice/bucket-logs-tfile/2007/application_1700000000000_12007/node1_45454" {
		t.Error(got)
	}
	if p := f.Path("alice", a); len(p) != 4 || p[0] != "/tmp/logs/alice" || p[3] != f.Application("alice", a) {
		t.Error(p)
	}
}

func FuzzReadLogs(f *testing.F) {
	b, err := hex.DecodeString(vector)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:200])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, err := readAll(bytes.NewReader(b), int64(len(b)))
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCompressed) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzUTF(f *testing.F) {
	f.Add("a\x00\u00e9\u20ac\U0001F600")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := appendUTF(nil, s)
		if err != nil {
			return
		}
		if got, err := readUTF(bytes.NewReader(b)); err != nil || got != strings.ToValidUTF8(s, "\uFFFD") && got != string([]rune(s)) {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
		decodeUTF([]byte(s)) // whatever it is, it does not panic
	})
}
