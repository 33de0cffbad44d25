package hadooprpc

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"fairway/adapters/digest"
)

// Made by the JDK 17 for Hadoop's client (reference yarn-wire.md, section 1.4).
const (
	vectorUser    = "CgkKBwgBEIABAQ=="
	vectorPass    = "MDEyMzQ1Njc4OWFiY2RlZmdoaWo="
	vectorNonce   = "E0SfyN6y5+8IAhDOoW3MpeGnzUyfD4GfKtkrR3Z/"
	vectorCnonce  = "N3lkNnOjQsEVTcae5Nli1vfqXaDL8vaJHqNgURvo"
	vectorAnswer  = "1d7b1447698de69e23304ffead00903b"
	vectorRspauth = "3df09037e8eb1072299a20abdcd5922c"
)

func jdkReply() string {
	return fmt.Sprintf(`charset=utf-8,username="%s",realm="default",nonce="%s",nc=00000001,cnonce="%s",digest-uri="/default",maxbuf=65536,response=%s,qop=auth`,
		vectorUser, vectorNonce, vectorCnonce, vectorAnswer)
}

func TestDigestVector(t *testing.T) {
	password, err := base64.StdEncoding.DecodeString(vectorPass)
	if err != nil {
		t.Fatal(err)
	}
	identifier, err := base64.StdEncoding.DecodeString(vectorUser)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseDigestReply([]byte(jdkReply()), vectorNonce)
	if err != nil || !bytes.Equal(r.identifier, identifier) {
		t.Fatalf("%+v, %v", r, err)
	}
	proof, ok := r.check(password, vectorNonce)
	if !ok || string(proof) != "rspauth="+vectorRspauth {
		t.Errorf("%v, %s", ok, proof)
	}
	if _, ok := r.check(append(password, 0), vectorNonce); ok {
		t.Error("a wrong password is taken")
	}
}

func TestDigestRefused(t *testing.T) {
	for what, change := range map[string][2]string{
		"another nonce":        {vectorNonce, strings.ToLower(vectorNonce)},
		"another realm":        {`realm="default"`, `realm="other"`},
		"no realm":             {`realm="default",`, ``},
		"another count":        {"nc=00000001", "nc=00000002"},
		"another service":      {`"/default"`, `"hdfs/default"`},
		"auth-int":             {"qop=auth", "qop=auth-int"},
		"another charset":      {"utf-8", "latin1"},
		"to act for another":   {"qop=auth", `qop=auth,authzid="root"`},
		"no answer":            {"response=" + vectorAnswer + ",", ""},
		"a short answer":       {vectorAnswer, vectorAnswer[:31]},
		"no cnonce":            {vectorCnonce, ""},
		"no user":              {vectorUser, ""},
		"a user not of base64": {vectorUser, "alice!"},
		"a key twice":          {"qop=auth", "qop=auth,qop=auth"},
		"an open quote":        {`realm="default"`, `realm="default`},
		"an open escape":       {"qop=auth", `qop="auth\`},
		"no value":             {"qop=auth", "qop"},
		"no key":               {"qop=auth", "=auth"},
		"a missing comma":      {`realm="default",`, `realm="default"x`},
	} {
		if r, err := parseDigestReply([]byte(strings.ReplaceAll(jdkReply(), change[0], change[1])), vectorNonce); err == nil {
			t.Errorf("%s is taken: %+v", what, r)
		}
	}
	if _, err := digest.Parse([]byte(strings.Repeat("a,", 100))); err == nil {
		t.Error("keys without values are taken")
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "%s=1,", strings.Repeat("k", i+1))
	}
	if _, err := digest.Parse([]byte(many.String())); err == nil {
		t.Error("100 keys are taken")
	}
}

func TestDigestBothSides(t *testing.T) {
	nonce := digest.NewNonce()
	if again := digest.NewNonce(); again == nonce || len(nonce) != 40 {
		t.Errorf("nonces %s, %s", nonce, again)
	}
	answer, want, err := answerDigest(digestChallenge(nonce), []byte("identifier"), []byte("password"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseDigestReply(answer, nonce)
	if err != nil || string(r.identifier) != "identifier" {
		t.Fatalf("%+v, %v", r, err)
	}
	if proof, ok := r.check([]byte("password"), nonce); !ok || !bytes.Equal(proof, want) {
		t.Errorf("%s, want %s", proof, want)
	}
	for _, bad := range []string{"", "x", `realm="default",qop="auth",algorithm=md5-sess`, `nonce="n",qop="auth-conf",algorithm=md5-sess`, `nonce="n",qop="auth"`, `nonce="n\"",qop="auth",algorithm=md5-sess`} {
		if a, _, err := answerDigest([]byte(bad), nil, nil); err == nil {
			t.Errorf("%q is answered: %s", bad, a)
		}
	}
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte(jdkReply()))
	f.Add(digestChallenge(vectorNonce))
	f.Add([]byte(`a="\"\\",b=c , d=""`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := digest.Parse(b)
		if err == nil {
			// What was read is read the same when it is written with every value quoted.
			var w strings.Builder
			for k, v := range d {
				fmt.Fprintf(&w, `%s="%s",`, k, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v))
			}
			again, err := digest.Parse([]byte(w.String()))
			if err != nil || len(again) != len(d) {
				t.Fatalf("%q became %q: %v", b, w.String(), err)
			}
			for k, v := range d {
				if again[k] != v {
					t.Fatalf("%s is %q, was %q", k, again[k], v)
				}
			}
		}
		if r, err := parseDigestReply(b, vectorNonce); err == nil && len(r.identifier) == 0 {
			t.Fatal("a reply without an identifier")
		}
		_, _, _ = answerDigest(b, []byte("i"), []byte("p"))
	})
}
