package digest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The JDK's proofs for qop auth are held in adapters/hadooprpc; here is what Spark adds.
var conf = Session{Username: "dXNlcg==", Password: "cGFzcw==", Realm: "default", Nonce: "n", Cnonce: "c", URI: "null/default", QOP: "auth-conf"}

func TestProof(t *testing.T) {
	auth := conf
	auth.QOP = "auth"
	seen := map[string]bool{}
	for _, s := range []Session{conf, auth} {
		for _, p := range []string{Client, Server} {
			if h := s.Proof(p); len(h) != 32 || seen[h] {
				t.Errorf("%q for %s of %s", h, p, s.QOP)
			} else {
				seen[h] = true
			}
		}
	}
}

func both(t *testing.T) (client, server *Privacy) {
	t.Helper()
	client, err := NewPrivacy(conf, false)
	if err != nil {
		t.Fatal(err)
	}
	if server, err = NewPrivacy(conf, true); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestPrivacy(t *testing.T) {
	client, server := both(t)
	for n := range 40 { // all paddings, and vectors that go on from message to message
		text := []byte(strings.Repeat("x", n))
		for _, way := range [][2]*Privacy{{client, server}, {server, client}} {
			b := way[0].Seal([]byte("head"), text)
			if len(b) > 4+n+Overhead || n > 8 && bytes.Contains(b, text) {
				t.Errorf("%d bytes became %x", n, b)
			}
			if got, err := way[1].Open(b[4:]); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
}

func TestPrivacyDamaged(t *testing.T) {
	client, _ := both(t)
	good := client.Seal(nil, []byte("hello"))
	for i := range good {
		_, server := both(t)
		b := bytes.Clone(good)
		b[i] ^= 1
		if text, err := server.Open(b); !errors.Is(err, ErrSeal) {
			t.Errorf("byte %d changed: %q, %v", i, text, err)
		}
	}
	_, server := both(t)
	if _, err := server.Open(bytes.Clone(good)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Open(bytes.Clone(good)); !errors.Is(err, ErrSeal) {
		t.Errorf("a message twice: %v", err)
	}
	for n := range good {
		_, server := both(t)
		if _, err := server.Open(bytes.Clone(good[:n])); !errors.Is(err, ErrSeal) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// 56 bits in seven bytes, worked out by hand: 0x80 is the first bit, 0x01 the last.
func TestSpread(t *testing.T) {
	for in, want := range map[string]string{"80000000000000": "8000000000000000", "00000000000001": "0000000000000002", "ffffffffffffff": "fefefefefefefefe", "01000000000000": "0080000000000000"} {
		var b []byte
		fmt.Sscanf(in, "%x", &b)
		if got := fmt.Sprintf("%x", spread(b)); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	p, err := NewPrivacy(conf, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Seal(nil, []byte("hello")))
	f.Add(make([]byte, 22))
	f.Fuzz(func(t *testing.T, b []byte) {
		server, err := NewPrivacy(conf, true)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = server.Open(b)
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`realm="default",nonce="n",qop="auth-conf,auth",cipher="3des"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := Parse(b); err == nil && len(d) > maxDirectives {
			t.Fatal(len(d))
		}
	})
}
