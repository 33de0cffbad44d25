package hadooprpc

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// DIGEST-MD5 (RFC 2831) as the JDK speaks it for Hadoop's tokens: realm and server are "default", the protocol is "", the
// quality is "auth", the algorithm md5-sess.
const (
	digestMechanism = "DIGEST-MD5"
	digestRealm     = "default"
	digestServer    = "default"
	digestURI       = "/" + digestServer
	digestCount     = "00000001"
	maxDirectives   = 32
)

// newNonce makes 30 random bytes printable, as many as the JDK's.
func newNonce() string {
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

func digestChallenge(nonce string) []byte {
	return []byte(`realm="` + digestRealm + `",nonce="` + nonce + `",qop="auth",charset=utf-8,algorithm=md5-sess`)
}

// digestProof is the hash that one side proves itself with; prefix is "AUTHENTICATE" for the client and "" for the server.
func digestProof(prefix, username, password, realm, nonce, cnonce, uri string) string {
	secret := md5.Sum([]byte(username + ":" + realm + ":" + password))
	a1 := md5.Sum(append(secret[:], ":"+nonce+":"+cnonce...))
	a2 := md5.Sum([]byte(prefix + ":" + uri))
	sum := md5.Sum([]byte(hex.EncodeToString(a1[:]) + ":" + nonce + ":" + digestCount + ":" + cnonce + ":auth:" + hex.EncodeToString(a2[:])))
	return hex.EncodeToString(sum[:])
}

// digestReply is what a client answers to a challenge, checked in all but its proof.
type digestReply struct {
	identifier               []byte // of the token
	username, cnonce, answer string
}

// parseDigestReply reads a client's answer to the challenge with our nonce.
func parseDigestReply(b []byte, nonce string) (digestReply, error) {
	d, err := parseDirectives(b)
	if err != nil {
		return digestReply{}, err
	}
	for _, must := range []struct{ key, want string }{{"realm", digestRealm}, {"nonce", nonce}, {"nc", digestCount}, {"digest-uri", digestURI}} {
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
	want := digestProof("AUTHENTICATE", r.username, p, digestRealm, nonce, r.cnonce, digestURI)
	if subtle.ConstantTimeCompare([]byte(want), []byte(r.answer)) != 1 {
		return nil, false
	}
	return []byte("rspauth=" + digestProof("", r.username, p, digestRealm, nonce, r.cnonce, digestURI)), true
}

// answerDigest is a client's answer to a challenge, and the proof that it then expects.
func answerDigest(challenge, identifier, password []byte) (answer, proof []byte, err error) {
	d, err := parseDirectives(challenge)
	if err != nil {
		return nil, nil, err
	}
	nonce, realm := d["nonce"], d["realm"]
	if nonce == "" || d["algorithm"] != "md5-sess" || !bytes.Contains([]byte(","+d["qop"]+","), []byte(",auth,")) || strings.ContainsAny(nonce+realm, `"\`) {
		return nil, nil, errors.New("unsupported challenge")
	}
	user, pass, cnonce := base64.StdEncoding.EncodeToString(identifier), base64.StdEncoding.EncodeToString(password), newNonce()
	answer = fmt.Appendf(nil, `charset=utf-8,username="%s",realm="%s",nonce="%s",nc=%s,cnonce="%s",digest-uri="%s",maxbuf=65536,response=%s,qop=auth`,
		user, realm, nonce, digestCount, cnonce, digestURI, digestProof("AUTHENTICATE", user, pass, realm, nonce, cnonce, digestURI))
	return answer, []byte("rspauth=" + digestProof("", user, pass, realm, nonce, cnonce, digestURI)), nil
}

// parseDirectives reads key=value and key="value" pairs that commas separate, each key once.
func parseDirectives(b []byte) (map[string]string, error) {
	d := make(map[string]string, 12)
	i := 0
	for {
		for i < len(b) && (b[i] == ',' || b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
			i++
		}
		if i == len(b) {
			return d, nil
		}
		start := i
		for i < len(b) && (b[i] == '-' || b[i] >= 'a' && b[i] <= 'z' || b[i] >= 'A' && b[i] <= 'Z') {
			i++
		}
		key := strings.ToLower(string(b[start:i]))
		if key == "" || i == len(b) || b[i] != '=' {
			return nil, errors.New("want key=value")
		}
		i++
		var value []byte
		if i < len(b) && b[i] == '"' {
			i++
			for ; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
					if i == len(b) {
						break
					}
				}
				value = append(value, b[i])
			}
			if i >= len(b) {
				return nil, errors.New("a quote is not closed")
			}
			i++
			if i < len(b) && b[i] != ',' && b[i] != ' ' && b[i] != '\t' && b[i] != '\r' && b[i] != '\n' {
				return nil, errors.New("want a comma after a quote")
			}
		} else {
			start := i
			for i < len(b) && b[i] != ',' && b[i] != ' ' && b[i] != '\t' && b[i] != '\r' && b[i] != '\n' {
				if b[i] < 0x21 || b[i] == 0x7f || b[i] == '"' {
					return nil, errors.New("unexpected character in a value")
				}
				i++
			}
			value = b[start:i]
		}
		if _, twice := d[key]; twice || len(d) == maxDirectives {
			return nil, fmt.Errorf("%.40q is given twice, or too many keys", key)
		}
		d[key] = string(value)
	}
}
