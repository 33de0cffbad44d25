package digest

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Mechanism is its name in SASL; Count the only value of nc, as no authentication is repeated.
const (
	Mechanism = "DIGEST-MD5"
	Count     = "00000001"
)

// Prefixes of the two proofs.
const (
	Client = "AUTHENTICATE"
	Server = ""
)

const maxDirectives = 32

// NewNonce makes 30 random bytes printable, as many as the JDK's.
func NewNonce() string {
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// Session is what both sides of an authentication know. QOP is "auth" or "auth-conf".
type Session struct {
	Username, Password, Realm, Nonce, Cnonce, URI, QOP string
}

func (s Session) a1() [md5.Size]byte {
	secret := md5.Sum([]byte(s.Username + ":" + s.Realm + ":" + s.Password))
	return md5.Sum(append(secret[:], ":"+s.Nonce+":"+s.Cnonce...))
}

// Proof is the hash that one side proves itself with, in hexadecimal; prefix is Client or Server.
func (s Session) Proof(prefix string) string {
	a1 := s.a1()
	tail := ""
	if s.QOP != "auth" {
		tail = ":00000000000000000000000000000000" // RFC 2831, 2.1.2.1: the hash of no body
	}
	a2 := md5.Sum([]byte(prefix + ":" + s.URI + tail))
	sum := md5.Sum([]byte(hex.EncodeToString(a1[:]) + ":" + s.Nonce + ":" + Count + ":" + s.Cnonce + ":" + s.QOP + ":" + hex.EncodeToString(a2[:])))
	return hex.EncodeToString(sum[:])
}

// Parse reads key=value and key="value" pairs that commas separate, each key once.
func Parse(b []byte) (map[string]string, error) {
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
