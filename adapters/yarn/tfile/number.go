package tfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// The numbers of TFile are a code of their own (org.apache.hadoop.io.file.tfile.Utils), not that of Writables: one byte for
// -32..127; else the first byte says how many follow, and for up to three of them holds the number's high bits as well.

// appendNumber appends n in its shortest form.
func appendNumber(b []byte, n int64) []byte {
	if n >= -32 && n <= 127 {
		return append(b, byte(n))
	}
	u := uint64(n)
	if n < 0 {
		u = ^u
	}
	switch width := bits.Len64(u); { // without the sign
	case n>>8 >= -20 && n>>8 < 20:
		return append(b, byte(n>>8-52), byte(n))
	case n>>16 >= -16 && n>>16 < 16:
		return append(b, byte(n>>16-88), byte(n>>8), byte(n))
	case n>>24 >= -8 && n>>24 < 8:
		return append(b, byte(n>>24-112), byte(n>>16), byte(n>>8), byte(n))
	default:
		size := max(4, width/8+1) // bytes that hold the sign too
		b = append(b, byte(size-129))
		for i := size - 1; i >= 0; i-- {
			b = append(b, byte(n>>(8*i)))
		}
		return b
	}
}

// readNumber reads what appendNumber wrote.
func readNumber(r io.ByteReader) (int64, error) {
	first, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	high := int64(int8(first))
	follow := 0
	switch {
	case high >= -32:
		return high, nil
	case high >= -72:
		high, follow = high+52, 1
	case high >= -104:
		high, follow = high+88, 2
	case high >= -120:
		high, follow = high+112, 3
	default:
		if follow = int(high) + 129; follow < 4 {
			return 0, fmt.Errorf("%w: number of %d bytes", ErrFormat, follow)
		}
		if first, err = r.ReadByte(); err != nil {
			return 0, noEOF(err)
		}
		high, follow = int64(int8(first)), follow-1
	}
	for range follow {
		c, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		high = high<<8 | int64(c)
	}
	return high, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendString(b []byte, s string) []byte { return append(appendNumber(b, int64(len(s))), s...) }

// appendUTF appends what java.io.DataOutput.writeUTF writes: a uint16 of the length and modified UTF-8, in which NUL takes
// two bytes and characters beyond 16 bits are two surrogates of three bytes each.
func appendUTF(b []byte, s string) ([]byte, error) {
	at := len(b)
	b = append(b, 0, 0)
	for _, c := range s { // what is not UTF-8 becomes U+FFFD
		switch {
		case c != 0 && c < 0x80:
			b = append(b, byte(c))
		case c < 0x800:
			b = append(b, 0xc0|byte(c>>6), 0x80|byte(c&0x3f))
		case c < 0x10000:
			b = append3(b, c)
		default:
			c -= 0x10000
			b = append3(append3(b, 0xd800|c>>10), 0xdc00|c&0x3ff)
		}
	}
	n := len(b) - at - 2
	if n > 0xffff {
		return nil, fmt.Errorf("text of %d bytes, at most 65535 can be written", n)
	}
	binary.BigEndian.PutUint16(b[at:], uint16(n))
	return b, nil
}

func append3(b []byte, c rune) []byte {
	return append(b, 0xe0|byte(c>>12), 0x80|byte(c>>6&0x3f), 0x80|byte(c&0x3f))
}

// readUTF reads what appendUTF wrote.
func readUTF(r io.Reader) (string, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:1]); err != nil {
		return "", err // io.EOF: there is none
	}
	if _, err := io.ReadFull(r, size[1:]); err != nil {
		return "", noEOF(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return "", noEOF(err)
	}
	return decodeUTF(b)
}

func decodeUTF(b []byte) (string, error) {
	out := make([]rune, 0, len(b))
	for len(b) > 0 {
		var c rune
		n := 1
		switch {
		case b[0] < 0x80:
			c = rune(b[0])
		case b[0]&0xe0 == 0xc0 && len(b) >= 2 && b[1]&0xc0 == 0x80:
			c, n = rune(b[0]&0x1f)<<6|rune(b[1]&0x3f), 2
		case b[0]&0xf0 == 0xe0 && len(b) >= 3 && b[1]&0xc0 == 0x80 && b[2]&0xc0 == 0x80:
			c, n = rune(b[0]&0xf)<<12|rune(b[1]&0x3f)<<6|rune(b[2]&0x3f), 3
		default:
			return "", fmt.Errorf("%w: text is not modified UTF-8", ErrFormat)
		}
		b = b[n:]
		if l := len(out); l > 0 && out[l-1] >= 0xd800 && out[l-1] < 0xdc00 && c >= 0xdc00 && c < 0xe000 {
			out[l-1] = 0x10000 + (out[l-1]-0xd800)<<10 + c - 0xdc00
			continue
		}
		out = append(out, c)
	}
	return string(out), nil
}
