package hadooprpc

import (
	"bytes"
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"fairway/adapters/digest"
)

// DIGEST-MD5 (RFC 2831) as the JDK speaks it for Hadoop's tokens: realm and server are "default", the protocol is "", the
// quality is "auth", the algorithm md5-sess.
const (
	digestMechanism = digest.Mechanism
	digestRealm     = "default"
	digestServer    = "default"
	digestURI       = "/" + digestServer
)

func digestChallenge(nonce string) []byte {
	return []byte(`realm="` + digestRealm + `",nonce="` + nonce + `",qop="auth",charset=utf-8,algorithm=md5-sess`)
}

// session is a token's: its identifier and password are in base64.
func session(username, password, realm, nonce, cnonce string) digest.Session {
	return digest.Session{Username: username, Password: password, Realm: realm, Nonce: nonce, Cnonce: cnonce, URI: digestURI, QOP: "auth"}
}

// digestReply is what a client answers to a challenge, checked in all but its proof.
type digestReply struct {
	identifier               []byte // of the token
	username, cnonce, answer string
}

// parseDigestReply reads a client's answer to the challenge with our nonce.
func parseDigestReply(b []byte, nonce string) (digestReply, error) {
	d, err := digest.Parse(b)
	if err != nil {
		return digestReply{}, err
	}
	for _, must := range []struct{ key, want string }{{"realm", digestRealm}, {"nonce", nonce}, {"nc", digest.Count}, {"digest-uri", digestURI}} {
		if d[must.key] != must.want {
			return digestReply{}, fmt.Errorf("%s is %.40q, must be %q", must.key, d[must.key], must.want)
		}
	}
	if qop, ok := d["qop"]; ok && qop != "auth" {
		return digestReply{}, fmt.Errorf("qop %.40q is not supported: hadoop.rpc.protection must be authentication", qop)
	}
	if charset, ok := d["charset"]; ok && charset != "utf-8" {
		return digestReply{}, fmt.Errorf("charset %.40q", charset)
	}
	if _, ok := d["authzid"]; ok {
		return digestReply{}, errors.New("a token cannot act for another")
	}
	r := digestReply{username: d["username"], cnonce: d["cnonce"], answer: d["response"]}
	if r.cnonce == "" || len(r.answer) != 2*md5.Size {
		return digestReply{}, errors.New("cnonce or response is missing")
	}
	if r.identifier, err = base64.StdEncoding.Strict().DecodeString(r.username); err != nil || len(r.identifier) == 0 {
		return digestReply{}, errors.New("username is not the base64 of a token's identifier")
	}
	return r, nil
}

// check says whether the client knows the password, and if so what proves to it that we do.
func (r digestReply) check(password []byte, nonce string) (proof []byte, ok bool) {
	p := base64.StdEncoding.EncodeToString(password)
	both := session(r.username, p, digestRealm, nonce, r.cnonce)
	want := both.Proof(digest.Client)
	if subtle.ConstantTimeCompare([]byte(want), []byte(r.answer)) != 1 {
		return nil, false
	}
	return []byte("rspauth=" + both.Proof(digest.Server)), true
}

// answerDigest is a client's answer to a challenge, and the proof that it then expects.
func answerDigest(challenge, identifier, password []byte) (answer, proof []byte, err error) {
	d, err := digest.Parse(challenge)
	if err != nil {
		return nil, nil, err
	}
	nonce, realm := d["nonce"], d["realm"]
	if nonce == "" || d["algorithm"] != "md5-sess" || !bytes.Contains([]byte(","+d["qop"]+","), []byte(",auth,")) || strings.ContainsAny(nonce+realm, `"\`) {
		return nil, nil, errors.New("unsupported challenge")
	}
	user, pass, cnonce := base64.StdEncoding.EncodeToString(identifier), base64.StdEncoding.EncodeToString(password), digest.NewNonce()
	both := session(user, pass, realm, nonce, cnonce)
	answer = fmt.Appendf(nil, `charset=utf-8,username="%s",realm="%s",nonce="%s",nc=%s,cnonce="%s",digest-uri="%s",maxbuf=65536,response=%s,qop=auth`,
		user, realm, nonce, digest.Count, cnonce, digestURI, both.Proof(digest.Client))
	return answer, []byte("rspauth=" + both.Proof(digest.Server)), nil
}
