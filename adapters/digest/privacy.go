package digest

import (
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
)

// Cipher is the one that Privacy speaks, as the directive of that name says it. The JDK's clients take the strongest that
// is offered, which is this one.
const Cipher = "3des"

// Overhead is the most bytes by which a sealed message is longer than its text.
const Overhead = des.BlockSize + macSize + 6

const macSize = 10

// ErrSeal says that a sealed message is damaged, forged, repeated or out of order.
var ErrSeal = errors.New("digest: a sealed message is damaged or out of order")

// Privacy seals what one side sends and opens what it receives (RFC 2831, 2.4, with 3DES). Each direction is for one
// goroutine at a time.
type Privacy struct {
	seal, open         cipher.BlockMode
	sealMAC, openMAC   [md5.Size]byte
	sealNext, openNext uint32
}

// NewPrivacy derives the keys of an authenticated session; server says which side this is.
func NewPrivacy(s Session, server bool) (*Privacy, error) {
	a1 := s.a1()
	key := func(what string) [md5.Size]byte { return md5.Sum(append(a1[:len(a1):len(a1)], what...)) }
	out, in := "client-to-server", "server-to-client"
	if server {
		out, in = in, out
	}
	p := &Privacy{
		sealMAC: key("Digest session key to " + out + " signing key magic constant"),
		openMAC: key("Digest session key to " + in + " signing key magic constant"),
	}
	block, iv, err := tripleDES(key("Digest H(A1) to " + out + " sealing key magic constant"))
	if err != nil {
		return nil, err
	}
	p.seal = cipher.NewCBCEncrypter(block, iv)
	if block, iv, err = tripleDES(key("Digest H(A1) to " + in + " sealing key magic constant")); err != nil {
		return nil, err
	}
	p.open = cipher.NewCBCDecrypter(block, iv)
	return p, nil
}

// tripleDES makes two DES keys of 14 bytes, used as first, second, first again; the last 8 bytes are the first vector.
func tripleDES(k [md5.Size]byte) (cipher.Block, []byte, error) {
	first, second := spread(k[:7]), spread(k[7:14])
	key := append(append(append([]byte{}, first[:]...), second[:]...), first[:]...)
	block, err := des.NewTripleDESCipher(key)
	return block, k[8:], err
}

// spread puts 56 bits into the upper seven of each of 8 bytes; nobody reads the lowest, a parity.
func spread(b []byte) (out [8]byte) {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	for i := range out {
		out[i] = byte(v>>(49-7*i)) << 1
	}
	return out
}

func mac(key [md5.Size]byte, next uint32, text []byte) []byte {
	h := hmac.New(md5.New, key[:])
	h.Write(binary.BigEndian.AppendUint32(nil, next))
	h.Write(text)
	return h.Sum(nil)[:macSize]
}

// Seal appends the sealed text to dst.
func (p *Privacy) Seal(dst, text []byte) []byte {
	start := len(dst)
	dst = append(dst, text...)
	pad := des.BlockSize - (len(text)+macSize)%des.BlockSize
	for range pad {
		dst = append(dst, byte(pad))
	}
	dst = append(dst, mac(p.sealMAC, p.sealNext, text)...)
	p.seal.CryptBlocks(dst[start:], dst[start:])
	dst = append(dst, 0, 1)
	dst = binary.BigEndian.AppendUint32(dst, p.sealNext)
	p.sealNext++
	return dst
}

// Open reads a sealed message in place and returns its text. After an error nothing more can be read.
func (p *Privacy) Open(b []byte) ([]byte, error) {
	n := len(b) - 6
	if n < 2*des.BlockSize || n%des.BlockSize != 0 || b[n] != 0 || b[n+1] != 1 || binary.BigEndian.Uint32(b[n+2:]) != p.openNext {
		return nil, ErrSeal
	}
	p.open.CryptBlocks(b[:n], b[:n])
	pad := int(b[n-macSize-1])
	if pad < 1 || pad > des.BlockSize || pad > n-macSize {
		return nil, ErrSeal
	}
	text := b[:n-macSize-pad]
	if !hmac.Equal(mac(p.openMAC, p.openNext, text), b[n-macSize:n]) {
		return nil, ErrSeal
	}
	p.openNext++
	return text, nil
}
