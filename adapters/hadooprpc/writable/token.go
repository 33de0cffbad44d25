package writable

import (
	"encoding/base64"
	"fmt"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// Token is org.apache.hadoop.security.token.Token: who its bearer is (Identifier, in the format of its Kind), the proof
// (Password, an HMAC of the identifier), and the service it is for (host:port or a logical name; may be empty).
type Token struct {
	Identifier []byte
	Password   []byte
	Kind       string
	Service    string
}

// Append appends the token as a Writable.
func (t Token) Append(b []byte) []byte {
	b = AppendBytes(b, t.Identifier)
	b = AppendBytes(b, t.Password)
	b = AppendText(b, t.Kind)
	return AppendText(b, t.Service)
}

// Proto is the token as messages carry it.
func (t Token) Proto() *wire.TokenProto {
	return &wire.TokenProto{Identifier: t.Identifier, Password: t.Password, Kind: proto.String(t.Kind), Service: proto.String(t.Service)}
}

// TokenFrom is the token that a message carried; nil gives the zero token.
func TokenFrom(p *wire.TokenProto) Token {
	return Token{Identifier: p.GetIdentifier(), Password: p.GetPassword(), Kind: p.GetKind(), Service: p.GetService()}
}

// Token reads a token; its bytes are the input's own.
func (r *Reader) Token() Token {
	return Token{Identifier: r.Bytes(), Password: r.Bytes(), Kind: r.Text(), Service: r.Text()}
}

// ParseToken reads a whole token.
func ParseToken(b []byte) (Token, error) {
	r := NewReader(b)
	t := r.Token()
	if len(r.Rest()) != 0 {
		r.fail("%d bytes after a token", len(r.Rest()))
	}
	if r.Err() != nil {
		return Token{}, fmt.Errorf("token: %w", r.Err())
	}
	return t, nil
}

// URLString is the token in the form of Token.encodeToUrlString: URL-safe base64 without padding.
func (t Token) URLString() string { return base64.RawURLEncoding.EncodeToString(t.Append(nil)) }

// ParseURLString reads what URLString wrote; padding is tolerated.
func ParseURLString(s string) (Token, error) {
	for len(s) > 0 && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Token{}, fmt.Errorf("token: %w: %w", ErrFormat, err)
	}
	return ParseToken(b)
}
