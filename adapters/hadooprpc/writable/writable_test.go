package writable

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// Vectors made with Hadoop 3.4.1's own classes (reference yarn-wire.md, section 3.3).
const credentialsVector = "4844545300" + "0100" + "11" + "0a0d0a0908071080d095ffbc311001102a" + "14" + "d292fa3ff0acd37b7f68942b01bcc440c695a1a2" +
	"10" + "5941524e5f414d5f524d5f544f4b454e" + "00" + "01" + "15" + "4d617052656475636553687566666c65546f6b656e" + "03" + "090807"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVLong(t *testing.T) {
	for v, want := range map[int64]string{
		0: "00", 127: "7f", 128: "8f80", 255: "8fff", 256: "8e0100", 65536: "8d010000", 1 << 40: "8a010000000000",
		-1: "ff", -112: "90", -113: "8770", math.MaxInt64: "887fffffffffffffff", math.MinInt64: "807fffffffffffffff",
	} {
		if got := hex.EncodeToString(AppendVLong(nil, v)); got != want {
			t.Errorf("%d is %s, want %s", v, got, want)
		}
		r := NewReader(unhex(t, want))
		if got := r.VLong(); got != v || r.Err() != nil || len(r.Rest()) != 0 {
			t.Errorf("%s reads %d, %v, %d left; want %d", want, got, r.Err(), len(r.Rest()), v)
		}
	}
	for _, bad := range []string{"", "8f", "88", "8801"} {
		if r := NewReader(unhex(t, bad)); r.VLong() != 0 || !errors.Is(r.Err(), ErrFormat) {
			t.Errorf("%q: %v", bad, r.Err())
		}
	}
	if r := NewReader(AppendVLong(nil, 1<<31)); r.VInt() != 0 || r.Err() == nil {
		t.Error("a vint of 33 bits was read")
	}
}

func vectorCredentials(t testing.TB) *Credentials {
	c := &Credentials{}
	c.PutToken("", Token{Identifier: unhex(t, "0a0d0a0908071080d095ffbc311001102a"), Password: unhex(t, "d292fa3ff0acd37b7f68942b01bcc440c695a1a2"), Kind: "YARN_AM_RM_TOKEN"})
	c.PutSecret("MapReduceShuffleToken", []byte{9, 8, 7})
	return c
}

func TestCredentialsVector(t *testing.T) {
	want := vectorCredentials(t)
	if got := hex.EncodeToString(want.Marshal()); got != credentialsVector {
		t.Errorf("marshals to\n%s\nwant\n%s", got, credentialsVector)
	}
	for _, trailing := range []int{0, 1, 1000} {
		got, err := ParseCredentials(append(unhex(t, credentialsVector), make([]byte, trailing)...))
		if err != nil || len(got.Tokens) != 1 || got.Tokens[0].Token.Kind != "YARN_AM_RM_TOKEN" || !bytes.Equal(got.Secret("MapReduceShuffleToken"), []byte{9, 8, 7}) {
			t.Errorf("with %d bytes behind: %+v, %v", trailing, got, err)
		}
		if !bytes.Equal(got.Marshal(), unhex(t, credentialsVector)) {
			t.Errorf("does not survive a round trip")
		}
	}
}

func TestCredentialsProto(t *testing.T) {
	want := vectorCredentials(t)
	p := &wire.CredentialsProto{
		Tokens:  []*wire.CredentialsKVProto{{Alias: proto.String(""), Token: want.Tokens[0].Token.Proto()}},
		Secrets: []*wire.CredentialsKVProto{{Alias: proto.String("MapReduceShuffleToken"), Secret: []byte{9, 8, 7}}},
	}
	m, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte("HDTS\x01"), protowire.AppendBytes(nil, m)...)
	got, err := ParseCredentials(append(b, 0, 0, 0))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := ParseCredentials(b[:len(b)-1]); !errors.Is(err, ErrFormat) {
		t.Errorf("cut short: %v", err)
	}
}

func TestCredentialsRefused(t *testing.T) {
	whole := unhex(t, credentialsVector)
	for cut := 1; cut < len(whole); cut++ {
		if _, err := ParseCredentials(whole[:cut]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: %v", cut, err)
		}
	}
	for name, b := range map[string][]byte{
		"magic":          []byte("HDTT\x00\x00\x00"),
		"version":        []byte("HDTS\x02\x00\x00"),
		"a billion":      append([]byte("HDTS\x00"), AppendVLong(nil, 1<<30)...),
		"a negative one": append([]byte("HDTS\x00"), 0xff, 0),
		"a long token":   append([]byte("HDTS\x00\x01\x00"), AppendVLong(nil, 1<<31-1)...),
	} {
		if _, err := ParseCredentials(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := ParseCredentials(nil); err != nil || len(c.Tokens)+len(c.Secrets) != 0 {
		t.Errorf("nothing: %+v, %v", c, err)
	}
}

func TestPutReplaces(t *testing.T) {
	c := vectorCredentials(t)
	c.PutToken("", Token{Kind: "other"})
	c.PutSecret("MapReduceShuffleToken", []byte{1})
	if len(c.Tokens) != 1 || len(c.Secrets) != 1 || c.Tokens[0].Token.Kind != "other" {
		t.Errorf("%+v", c)
	}
	if _, ok := c.OfKind("YARN_AM_RM_TOKEN"); ok {
		t.Error("the replaced token is still there")
	}
}

func TestTokenURLString(t *testing.T) {
	want := Token{Identifier: []byte{0xff, 0xfe, 3}, Password: []byte(strings.Repeat("x", 20)), Kind: "NMToken", Service: "10.0.0.1:45454"}
	for _, s := range []string{want.URLString(), want.URLString() + "=="} {
		got, err := ParseURLString(s)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, s := range []string{"", "!", want.URLString()[:8], want.URLString() + "AAAA"} {
		if _, err := ParseURLString(s); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if got := TokenFrom(want.Proto()); !reflect.DeepEqual(got, want) {
		t.Errorf("by message: %+v", got)
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add(unhex(f, credentialsVector))
	f.Add([]byte("HDTS\x01\x00"))
	f.Add([]byte("HDTS\x00\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCredentials(b)
		if err != nil {
			return
		}
		again, err := ParseCredentials(c.Marshal())
		if err != nil || !bytes.Equal(again.Marshal(), c.Marshal()) {
			t.Errorf("%v: %+v became %+v", err, c, again)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(Token{Identifier: []byte{1, 2}, Password: []byte{3}, Kind: "NMToken", Service: "h:1"}.Append(nil))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := ParseToken(b)
		if err != nil {
			return
		}
		again, err := ParseToken(tok.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), tok.Append(nil)) {
			t.Errorf("%v: %+v became %+v", err, tok, again)
		}
	})
}
