package token

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"errors"

	"fairway/adapters/hadooprpc/writable"
)

// The kinds of tokens.
const (
	KindAMRM       = "YARN_AM_RM_TOKEN"
	KindNM         = "NMToken"
	KindContainer  = "ContainerToken"
	KindDelegation = "RM_DELEGATION_TOKEN"
	KindClientToAM = "YARN_CLIENT_TOKEN"
)

// ErrInvalid is the kind of every error of this package: bytes that are no identifier of their kind.
var ErrInvalid = errors.New("invalid token identifier")

// KeyID is the number of the one key of each kind: keys do not roll, as they live no longer than their application.
const KeyID = 1

// Keyring holds the keys of one application's tokens.
type Keyring struct {
	AMRM, NM, Container, ClientToAM []byte
}

// Keys derives the keys from the application's secret (of any length; the broker's are 32 bytes), each with
// HMAC-SHA256 of a label of its own.
func Keys(secret []byte) Keyring {
	return Keyring{
		AMRM:       derive(secret, KindAMRM),
		NM:         derive(secret, KindNM),
		Container:  derive(secret, KindContainer),
		ClientToAM: derive(secret, KindClientToAM),
	}
}

func derive(secret []byte, kind string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("fairway yarn token " + kind))
	return h.Sum(nil)
}

// Password proves an identifier: HMAC-SHA1 over its bytes, as org.apache.hadoop.security.token.SecretManager makes it.
func Password(key, identifier []byte) []byte {
	h := hmac.New(sha1.New, key)
	h.Write(identifier)
	return h.Sum(nil)
}

// Check says whether a password proves an identifier (its bytes as received). It takes the same time wherever they differ.
func Check(key, identifier, password []byte) bool {
	return hmac.Equal(Password(key, identifier), password)
}

// Issue makes a token of an identifier. service is host:port of the server that it is for; the master's own token has "".
func Issue(kind, service string, key, identifier []byte) writable.Token {
	return writable.Token{Identifier: identifier, Password: Password(key, identifier), Kind: kind, Service: service}
}
