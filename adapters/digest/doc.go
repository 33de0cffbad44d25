// Package digest is SASL's DIGEST-MD5 (RFC 2831, md5-sess) as the JDK speaks it: its directives, its proofs, and the
// confidentiality layer (qop auth-conf, with 3DES) that Spark's SaslEncryption uses. Who knows which secret, and what each
// protocol wants in realm and digest-uri, is for the packages of those protocols.
package digest
