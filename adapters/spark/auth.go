package spark

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"fairway/adapters/spark/wire"
)

// Spark's own authentication (spark.network.crypto.enabled): both sides send an X25519 key of this connection, sealed with
// AES-GCM by a key from the secret, and all that follows is a stream of AES in counter mode. Version 1 of the engine uses
// the shared secret itself as the key, version 2 a key derived from it. A client does not say which version it has, but its
// first frame begins with a length, so this side sees it.
const (
	authKeySize = 16 // bytes, also of the salt and of the vectors
	gcmNonce    = 12
)

var errAuth = errors.New("java.lang.IllegalArgumentException: Authentication failed.") //lint:ignore ST1005 Spark's own words

// auth is its only step.
func (c *conn) auth(id int64, body []byte) error {
	m, err := wire.ParseAuth(body[1:])
	if err != nil {
		return c.fail(id, fmt.Errorf("java.lang.IllegalArgumentException: %w", err))
	}
	c.s.metrics.requests.WithLabelValues("auth").Inc()
	secret, err := c.secret(m.App)
	if err != nil {
		return c.fail(id, err)
	}
	peer, err := openKey(secret, m, nil)
	if err != nil {
		c.s.warn("authentication failed", c.tcp.RemoteAddr(), err)
		return c.fail(id, errAuth)
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	shared, err := key.ECDH(peer)
	if err != nil {
		return c.fail(id, errAuth)
	}
	transcript := m.Append(nil)
	answer, err := sealKey(secret, m.App, key.PublicKey().Bytes(), transcript)
	if err != nil {
		return err
	}
	said := answer.Append(nil)
	if err := c.reply(id, said); err != nil {
		return err
	}
	streams, err := newAuthStreams(shared, append(transcript, said...))
	if err != nil {
		return err
	}
	c.client = m.App
	a := &authServer{r: c.plain, streams: streams}
	c.seal, c.in = a, a
	return nil
}

// sealKey makes the message that carries a public key.
func sealKey(secret, app string, public, transcript []byte) (wire.Auth, error) {
	m := wire.Auth{App: app, Salt: make([]byte, authKeySize)}
	_, _ = rand.Read(m.Salt) // never fails
	gcm, state, err := authCipher(secret, m, transcript)
	if err != nil {
		return m, err
	}
	nonce := make([]byte, gcmNonce, gcmNonce+len(public)+gcm.Overhead())
	_, _ = rand.Read(nonce)
	m.Sealed = gcm.Seal(nonce, nonce, public, state)
	return m, nil
}

// openKey reads it.
func openKey(secret string, m wire.Auth, transcript []byte) (*ecdh.PublicKey, error) {
	if len(m.Sealed) < gcmNonce || len(m.Salt) > 1024 {
		return nil, errors.New("salt or sealed key of a wrong size")
	}
	gcm, state, err := authCipher(secret, m, transcript)
	if err != nil {
		return nil, err
	}
	public, err := gcm.Open(nil, m.Sealed[:gcmNonce], m.Sealed[gcmNonce:], state)
	if err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPublicKey(public)
}

func authCipher(secret string, m wire.Auth, transcript []byte) (gcm cipher.AEAD, state []byte, err error) {
	state = append(append([]byte(m.App), m.Salt...), transcript...)
	key, err := hkdf.Key(sha256.New, []byte(secret), m.Salt, string(state), authKeySize)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	gcm, err = cipher.NewGCM(block)
	return gcm, state, err
}

// authStreams is one stream for each version and direction.
type authStreams [2]struct{ toServer, toClient cipher.Stream }

func newAuthStreams(shared, transcript []byte) (s authStreams, err error) {
	derive := func(what string) []byte {
		if err != nil {
			return nil
		}
		var k []byte
		k, err = hkdf.Key(sha256.New, shared, transcript, what, authKeySize)
		return k
	}
	derived, in, out := derive("derivedKey"), derive("inputIv"), derive("outputIv")
	if err != nil {
		return s, err
	}
	for i, key := range [][]byte{shared, derived} {
		block, err := aes.NewCipher(key)
		if err != nil {
			return s, err
		}
		s[i].toServer, s[i].toClient = cipher.NewCTR(block, out), cipher.NewCTR(block, in)
	}
	return s, nil
}

// authServer reads and writes once it knows the client's version.
type authServer struct {
	r       io.Reader
	streams authStreams
	ready   bool
	version int // less one
	held    []byte
}

// errCipher is most likely a client with spark.network.crypto.cipher=AES/GCM/NoPadding.
var errCipher = errors.New("what comes after Spark's authentication is not AES/CTR/NoPadding, the only cipher here: unset spark.network.crypto.cipher")

func (a *authServer) Read(b []byte) (int, error) {
	if !a.ready {
		if err := a.settle(); err != nil {
			return 0, err
		}
	}
	if len(a.held) > 0 {
		n := copy(b, a.held)
		a.held = a.held[n:]
		return n, nil
	}
	n, err := a.r.Read(b)
	a.streams[a.version].toServer.XORKeyStream(b[:n], b[:n])
	return n, err
}

// settle reads the first frame's head with both versions: the right one finds a length of a few bytes to a few MiB, the
// other one random bytes.
func (a *authServer) settle() error {
	var sealed [wire.HeadSize]byte
	if _, err := io.ReadFull(a.r, sealed[:]); err != nil {
		return err
	}
	for i := range a.streams {
		head := sealed
		a.streams[i].toServer.XORKeyStream(head[:], sealed[:])
		if _, _, err := wire.ParseHead(head, 1<<30); err == nil && head[8] <= byte(wire.MergedBlockMetaSuccess) {
			a.ready, a.version, a.held = true, i, head[:]
			return nil
		}
	}
	return errCipher
}

func (a *authServer) write(w io.Writer, b []byte) error {
	if !a.ready {
		return errors.New("an answer before the first request") // a bug of ours
	}
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	for len(b) > 0 {
		n := min(len(b), sealStep)
		out := (*pooled)[:n]
		a.streams[a.version].toClient.XORKeyStream(out, b[:n])
		if _, err := w.Write(out); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
