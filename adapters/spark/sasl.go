package spark

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"fairway/adapters/digest"
	"fairway/adapters/spark/wire"
)

// What Spark's SASL clients are given and say back: the protocol is unset, which the JDK spells "null".
const (
	saslRealm = "default"
	saslURI   = "null/default"
	maxSealed = 256 << 10 // bytes of a sealed message; spark.network.sasl.maxEncryptedBlockSize is 64 KiB
)

// sealer writes bytes so that only the peer can read them.
type sealer interface {
	write(w io.Writer, b []byte) error
}

// saslLogin is an authentication under way.
type saslLogin struct {
	app, secret, nonce string
}

// fail tells the client and ends the connection: it is not worth another try.
func (c *conn) fail(id int64, why error) error {
	c.s.metrics.refused.WithLabelValues("authentication").Inc()
	return errors.Join(c.refuse(id, why), errBye)
}

// secret of an application, for authentication.
func (c *conn) secret(app string) (string, error) {
	a := c.s.apps.find(app)
	if a == nil {
		return "", fmt.Errorf("java.lang.IllegalStateException: application %.200s is not known to this shuffle service: no container of it here asked for %s", app, Name)
	}
	secret := a.head().Secret
	if secret == "" {
		return "", fmt.Errorf("java.lang.IllegalStateException: application %.200s gave this shuffle service no secret", app)
	}
	return secret, nil
}

// sasl is a step: the first asks for the challenge, the second answers it.
func (c *conn) sasl(id int64, body []byte) error {
	m, err := wire.ParseSASL(body)
	if err != nil {
		return c.fail(id, fmt.Errorf("java.lang.IllegalArgumentException: %w", err))
	}
	if c.login == nil {
		secret, err := c.secret(m.App)
		if err != nil {
			return c.fail(id, err)
		}
		c.s.metrics.requests.WithLabelValues("sasl").Inc()
		c.login = &saslLogin{app: m.App, secret: secret, nonce: digest.NewNonce()}
		return c.reply(id, []byte(`realm="`+saslRealm+`",nonce="`+c.login.nonce+`",qop="auth-conf,auth",charset=utf-8,cipher="`+digest.Cipher+`",algorithm=md5-sess`))
	}
	if m.App != c.login.app {
		return c.fail(id, errors.New("javax.security.sasl.SaslException: another application in the second step"))
	}
	session, err := c.login.check(m.Token)
	if err != nil {
		return c.fail(id, fmt.Errorf("javax.security.sasl.SaslException: DIGEST-MD5: %w", err))
	}
	if err := c.reply(id, []byte("rspauth="+session.Proof(digest.Server))); err != nil {
		return err
	}
	c.client, c.login = c.login.app, nil
	if session.QOP == "auth-conf" {
		p, err := digest.NewPrivacy(session, true)
		if err != nil {
			return err
		}
		c.seal, c.in = &saslSealer{p: p}, &saslOpener{r: c.plain, p: p}
	}
	return nil
}

// check says whether a client's answer proves that it knows the secret.
func (l *saslLogin) check(token []byte) (digest.Session, error) {
	d, err := digest.Parse(token)
	if err != nil {
		return digest.Session{}, err
	}
	for _, must := range []struct{ key, want string }{{"realm", saslRealm}, {"nonce", l.nonce}, {"nc", digest.Count}, {"digest-uri", saslURI}} {
		if d[must.key] != must.want {
			return digest.Session{}, fmt.Errorf("%s is %.40q, must be %q", must.key, d[must.key], must.want)
		}
	}
	s := digest.Session{
		Username: d["username"], Password: wire.Base64(l.secret),
		Realm: saslRealm, Nonce: l.nonce, Cnonce: d["cnonce"], URI: saslURI, QOP: d["qop"],
	}
	if s.QOP == "" {
		s.QOP = "auth"
	}
	switch {
	case s.QOP != "auth" && s.QOP != "auth-conf":
		return s, fmt.Errorf("qop %.40q is not offered", s.QOP)
	case s.QOP == "auth-conf" && d["cipher"] != digest.Cipher:
		return s, fmt.Errorf("cipher %.40q is not offered, %s is", d["cipher"], digest.Cipher)
	case s.Cnonce == "":
		return s, errors.New("cnonce is missing")
	case d["charset"] != "" && d["charset"] != "utf-8":
		return s, fmt.Errorf("charset %.40q", d["charset"])
	case d["authzid"] != "" && d["authzid"] != s.Username:
		return s, errors.New("an application cannot act for another")
	}
	if subtle.ConstantTimeCompare([]byte(s.Proof(digest.Client)), []byte(d["response"])) != 1 {
		return s, errors.New("digest response format violation. Mismatched response.") //lint:ignore ST1005 the JDK's words
	}
	return s, nil
}

// saslSealer writes messages of an int64 length, which counts itself, and what Privacy made.
type saslSealer struct {
	p *digest.Privacy
}

func (s *saslSealer) write(w io.Writer, b []byte) error {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	for len(b) > 0 {
		n := min(len(b), sealStep)
		out := s.p.Seal(append((*pooled)[:0], 0, 0, 0, 0, 0, 0, 0, 0), b[:n])
		binary.BigEndian.PutUint64(out, uint64(len(out)))
		if _, err := w.Write(out); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// saslOpener reads such messages.
type saslOpener struct {
	r    io.Reader
	p    *digest.Privacy
	buf  []byte
	text []byte // of buf, not yet read
}

func (o *saslOpener) Read(b []byte) (int, error) {
	for len(o.text) == 0 {
		if cap(o.buf) > maxHeld {
			o.buf = nil
		}
		var head [8]byte
		if _, err := io.ReadFull(o.r, head[:]); err != nil {
			return 0, err
		}
		n := int64(binary.BigEndian.Uint64(head[:])) - 8
		if n < 0 || n > maxSealed {
			return 0, fmt.Errorf("a sealed message of %d bytes, at most %d are read", n, maxSealed)
		}
		o.buf = o.buf[:0]
		for int64(len(o.buf)) < n {
			at := len(o.buf)
			step := int(min(n-int64(at), readStep))
			o.buf = append(o.buf, make([]byte, step)...)
			if _, err := io.ReadFull(o.r, o.buf[at:]); err != nil {
				return 0, unexpected(err)
			}
		}
		var err error
		if o.text, err = o.p.Open(o.buf); err != nil {
			return 0, err
		}
	}
	n := copy(b, o.text)
	o.text = o.text[n:]
	return n, nil
}
