package sparktest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"fairway/adapters/digest"
	"fairway/adapters/spark/wire"
)

// SASL authenticates with DIGEST-MD5; qop is auth or auth-conf.
func (c *Client) SASL(app, secret, qop string) error {
	challenge, err := c.RPC(wire.SASL{App: app}.Append(nil))
	if err != nil {
		return err
	}
	d, err := digest.Parse(challenge)
	if err != nil {
		return err
	}
	s := digest.Session{Username: wire.Base64("sparkSaslUser"), Password: wire.Base64(secret), Realm: d["realm"], Nonce: d["nonce"], Cnonce: digest.NewNonce(), URI: "null/default", QOP: qop}
	extra := ""
	if qop == "auth-conf" {
		extra = `,cipher="` + d["cipher"] + `"`
	}
	token := fmt.Sprintf(`charset=utf-8,username="%s",realm="%s",nonce="%s",nc=%s,cnonce="%s",digest-uri="%s",maxbuf=65536,response=%s,qop=%s%s`,
		s.Username, s.Realm, s.Nonce, digest.Count, s.Cnonce, s.URI, s.Proof(digest.Client), qop, extra)
	proof, err := c.RPC(wire.SASL{App: app, Token: []byte(token)}.Append(nil))
	if err != nil {
		return err
	}
	if string(proof) != "rspauth="+s.Proof(digest.Server) {
		return errors.New("the service does not know the secret")
	}
	if qop == "auth-conf" {
		p, err := digest.NewPrivacy(s, false)
		if err != nil {
			return err
		}
		c.in, c.out = &opened{r: c.in, p: p}, &sealed{w: c.Conn, p: p}
	}
	return nil
}

type sealed struct {
	w io.Writer
	p *digest.Privacy
}

func (s *sealed) Write(b []byte) (int, error) {
	// In two messages, so that a frame does not come in one.
	for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		text := s.p.Seal(nil, part)
		if _, err := s.w.Write(append(binary.BigEndian.AppendUint64(nil, uint64(8+len(text))), text...)); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

type opened struct {
	r    io.Reader
	p    *digest.Privacy
	text bytes.Buffer
}

func (o *opened) Read(b []byte) (int, error) {
	for o.text.Len() == 0 {
		var h [8]byte
		if _, err := io.ReadFull(o.r, h[:]); err != nil {
			return 0, err
		}
		m := make([]byte, binary.BigEndian.Uint64(h[:])-8)
		if _, err := io.ReadFull(o.r, m); err != nil {
			return 0, err
		}
		text, err := o.p.Open(m)
		if err != nil {
			return 0, err
		}
		o.text.Write(text)
	}
	return o.text.Read(b)
}

func expand(key, salt []byte, info string) []byte {
	k, err := hkdf.Key(sha256.New, key, salt, info, 16)
	if err != nil {
		panic(err) // of 16 bytes, never
	}
	return k
}

// Auth authenticates with Spark's own protocol, of engine version 1 or 2.
func (c *Client) Auth(app, secret string, version int) error {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	gcm := func(salt []byte, state string) cipher.AEAD {
		block, err := aes.NewCipher(expand([]byte(secret), salt, state))
		if err != nil {
			panic(err)
		}
		g, err := cipher.NewGCM(block)
		if err != nil {
			panic(err)
		}
		return g
	}
	m := wire.Auth{App: app, Salt: []byte("0123456789abcdef")}
	nonce := []byte("abcdefghijkl")
	state := app + string(m.Salt)
	m.Sealed = gcm(m.Salt, state).Seal(nonce, nonce, key.PublicKey().Bytes(), []byte(state))
	hello := m.Append(nil)
	said, err := c.RPC(hello)
	if err != nil {
		return err
	}
	if len(said) == 0 || said[0] != wire.TagAuth {
		return errors.New("no answer to the challenge")
	}
	a, err := wire.ParseAuth(said[1:])
	if err != nil || a.App != app || len(a.Sealed) < 12 {
		return fmt.Errorf("%+v, %w", a, err)
	}
	state = app + string(a.Salt) + string(hello)
	public, err := gcm(a.Salt, state).Open(nil, a.Sealed[:12], a.Sealed[12:], []byte(state))
	if err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return err
	}
	shared, err := key.ECDH(peer)
	if err != nil {
		return err
	}
	transcript := append(hello, said...)
	session := shared
	if version == 2 {
		session = expand(shared, transcript, "derivedKey")
	}
	block, err := aes.NewCipher(session)
	if err != nil {
		return err
	}
	c.in = &cipher.StreamReader{S: cipher.NewCTR(block, expand(shared, transcript, "inputIv")), R: c.in}
	c.out = &cipher.StreamWriter{S: cipher.NewCTR(block, expand(shared, transcript, "outputIv")), W: c.Conn}
	return nil
}
