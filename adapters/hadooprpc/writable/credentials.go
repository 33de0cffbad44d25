package writable

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

const magic = "HDTS"

const (
	versionWritable = 0
	versionProto    = 1
)

// Named is a token under the alias that its holder finds it by.
type Named struct {
	Alias string
	Token Token
}

// Secret is a secret key under its alias.
type Secret struct {
	Alias string
	Key   []byte
}

// Credentials is org.apache.hadoop.security.Credentials: tokens and secret keys by alias, in the order they were put in.
type Credentials struct {
	Tokens  []Named
	Secrets []Secret
}

// PutToken adds a token or replaces the one of the same alias.
func (c *Credentials) PutToken(alias string, t Token) {
	for i := range c.Tokens {
		if c.Tokens[i].Alias == alias {
			c.Tokens[i].Token = t
			return
		}
	}
	c.Tokens = append(c.Tokens, Named{alias, t})
}

// PutSecret adds a secret key or replaces the one of the same alias.
func (c *Credentials) PutSecret(alias string, key []byte) {
	for i := range c.Secrets {
		if c.Secrets[i].Alias == alias {
			c.Secrets[i].Key = key
			return
		}
	}
	c.Secrets = append(c.Secrets, Secret{alias, key})
}

// Secret is the key of an alias, nil if there is none.
func (c *Credentials) Secret(alias string) []byte {
	for i := range c.Secrets {
		if c.Secrets[i].Alias == alias {
			return c.Secrets[i].Key
		}
	}
	return nil
}

// OfKind is the first token of a kind.
func (c *Credentials) OfKind(kind string) (Token, bool) {
	for i := range c.Tokens {
		if c.Tokens[i].Token.Kind == kind {
			return c.Tokens[i].Token, true
		}
	}
	return Token{}, false
}

// Marshal is the token storage format, version 0, that every Hadoop release reads.
func (c *Credentials) Marshal() []byte {
	b := append([]byte(magic), versionWritable)
	b = AppendVLong(b, int64(len(c.Tokens)))
	for _, t := range c.Tokens {
		b = AppendText(b, t.Alias)
		b = t.Token.Append(b)
	}
	b = AppendVLong(b, int64(len(c.Secrets)))
	for _, s := range c.Secrets {
		b = AppendText(b, s.Alias)
		b = AppendBytes(b, s.Key)
	}
	return b
}

// ParseCredentials reads the token storage format, version 0 (Writable) or 1 (protobuf). Bytes that follow are ignored, as
// some clients send the whole buffer behind their credentials. Empty input is empty credentials. What it returns does not
// refer to b.
func ParseCredentials(b []byte) (*Credentials, error) {
	if len(b) == 0 {
		return &Credentials{}, nil
	}
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("credentials: %w: do not begin with %s", ErrFormat, magic)
	}
	version, body := b[len(magic)], bytes.Clone(b[len(magic)+1:])
	switch version {
	case versionWritable:
		return parseWritable(body)
	case versionProto:
		return parseProto(body)
	}
	return nil, fmt.Errorf("credentials: %w: unknown version %d", ErrFormat, version)
}

// A token takes at least 5 bytes and a secret 2, so a count is checked before anything is made for it.
const leastToken, leastSecret = 5, 2

func parseWritable(b []byte) (*Credentials, error) {
	r := NewReader(b)
	c := &Credentials{}
	n := int(r.VInt())
	if n < 0 || n > len(r.b)/leastToken {
		r.fail("%d tokens in %d bytes", n, len(r.b))
	}
	for i := 0; i < n && r.err == nil; i++ {
		alias, t := r.Text(), r.Token()
		if r.err == nil {
			c.Tokens = append(c.Tokens, Named{alias, t})
		}
	}
	n = int(r.VInt())
	if n < 0 || n > len(r.b)/leastSecret {
		r.fail("%d secrets in %d bytes", n, len(r.b))
	}
	for i := 0; i < n && r.err == nil; i++ {
		alias, key := r.Text(), r.Bytes()
		if r.err == nil {
			c.Secrets = append(c.Secrets, Secret{alias, key})
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("credentials: %w", r.err)
	}
	return c, nil
}

func parseProto(b []byte) (*Credentials, error) {
	size, n := protowire.ConsumeVarint(b)
	if n < 0 || size > uint64(len(b)-n) {
		return nil, fmt.Errorf("credentials: %w: shorter than they say", ErrFormat)
	}
	var p wire.CredentialsProto
	if err := proto.Unmarshal(b[n:n+int(size)], &p); err != nil {
		return nil, fmt.Errorf("credentials: %w: %w", ErrFormat, err)
	}
	c := &Credentials{}
	for _, t := range p.GetTokens() {
		c.Tokens = append(c.Tokens, Named{t.GetAlias(), TokenFrom(t.GetToken())})
	}
	for _, s := range p.GetSecrets() {
		c.Secrets = append(c.Secrets, Secret{s.GetAlias(), s.GetSecret()})
	}
	return c, nil
}
