package supervisor

import (
	"bytes"
	"reflect"
	"testing"
)

func TestRecord(t *testing.T) {
	for _, x := range []Exit{
		{},
		{Code: 255, PeakBytes: 1 << 40, CPUNanos: 1, StartNanos: 2, EndNanos: 3},
		{Signal: 9, OOM: true, Killed: true, Code: -1},
		{StartFailure: "execute x: no such file"},
	} {
		b := x.Encode()
		got, ok := DecodeExit(b)
		if !ok || *got != x {
			t.Errorf("%+v is %+v after a round trip", x, got)
		}
		for i := range b {
			if _, ok := DecodeExit(b[:i]); ok {
				t.Errorf("a record cut at %d of %d was taken", i, len(b))
			}
			torn := bytes.Clone(b)
			torn[i] ^= 1
			if _, ok := DecodeExit(torn); ok {
				t.Errorf("a record with a wrong bit at %d was taken", i)
			}
		}
	}
	long := Exit{StartFailure: string(bytes.Repeat([]byte("x\n"), 5000))}
	if b := long.Encode(); len(b) > MaxRecord {
		t.Errorf("record of %d bytes", len(b))
	} else if _, ok := DecodeExit(b); !ok {
		t.Error("record with a long reason was not taken")
	}
}

func FuzzDecodeExit(f *testing.F) {
	f.Add((&Exit{Code: 1, StartFailure: "x"}).Encode())
	f.Add([]byte(recordHead + "code 1\nsum -0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, ok := DecodeExit(b)
		if !ok {
			return
		}
		if again, ok := DecodeExit(x.Encode()); !ok || *again != *x {
			t.Errorf("%+v is %+v after a round trip", x, again)
		}
	})
}

func sampleSpec() *Spec {
	return &Spec{StateDir: "/s", Path: "/bin/sh", Argv: []string{"sh", "-c", ""}, Env: []string{"A=b"}, Dir: "/d", UID: -1, GID: 5, Groups: []int{1, 2},
		V1: []Controller{{"cpu", "/a", "/b"}}, V2: "/v2", AckSeconds: 60}
}

func FuzzDecodeSpec(f *testing.F) {
	f.Add(sampleSpec().Encode())
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := DecodeSpec(b); ok && !bytes.Equal(s.Encode(), b) {
			t.Errorf("%+v does not encode to what it came from", s)
		}
	})
}

func TestSpec(t *testing.T) {
	got, ok := DecodeSpec(sampleSpec().Encode())
	if !ok || !reflect.DeepEqual(got, sampleSpec()) {
		t.Errorf("%+v after a round trip", got)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(append(Frame(MsgKill, Number8(5)), Frame(MsgAck, nil)...), 3)
	f.Add([]byte{255, 255, 255, 255, 'K'}, 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		// However the bytes are cut, the same messages come out.
		read := func(parts ...[]byte) (kinds []byte, bad bool) {
			c := conn{}
			for _, p := range parts {
				c.buf = append(c.buf, p...)
				for {
					kind, _, ok := c.next()
					if !ok {
						break
					}
					kinds = append(kinds, kind)
				}
			}
			return kinds, c.bad
		}
		if cut < 0 || cut > len(b) {
			cut = 0
		}
		whole, bad := read(b)
		parts, badParts := read(b[:cut], b[cut:])
		if !bytes.Equal(whole, parts) || bad != badParts {
			t.Errorf("messages %q or %q", whole, parts)
		}
	})
}

func TestField(t *testing.T) {
	b := []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 17\n")
	if n := field(b, "oom_kill"); n != 17 {
		t.Errorf("oom_kill is %d", n)
	}
	if n := field(b, "oom"); n != 0 {
		t.Errorf("oom is %d", n)
	}
}
