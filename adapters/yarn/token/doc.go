// Package token makes and checks YARN's tokens: what is in their identifiers, the passwords that prove them, and the keys
// that the passwords are made with.
//
// There are no master keys to keep. Every application has a secret that the broker gives both sides; Keys derives from it
// a key per kind of token, so a token of one application or kind never opens another.
//
// A password is checked over the identifier's bytes as they were received: decoding and encoding again could lose fields
// that another release adds.
package token
