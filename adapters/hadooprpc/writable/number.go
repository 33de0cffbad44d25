package writable

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"
)

// ErrFormat is the kind of every error of this package: the bytes are not what they should be.
var ErrFormat = errors.New("malformed writable")

// AppendVLong appends v as org.apache.hadoop.io.WritableUtils.writeVLong does: -112..127 in one byte, else a byte that
// says sign and length (-113..-120 positive, -121..-128 negative, one's complement) and the magnitude, high byte first.
func AppendVLong(b []byte, v int64) []byte {
	if v >= -112 && v <= 127 {
		return append(b, byte(v))
	}
	first := -112
	if v < 0 {
		v, first = ^v, -120
	}
	n := (bits.Len64(uint64(v)) + 7) / 8
	b = append(b, byte(first-n))
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// AppendText appends s as org.apache.hadoop.io.Text: a vint of its length in bytes, then UTF-8.
func AppendText(b []byte, s string) []byte { return append(AppendVLong(b, int64(len(s))), s...) }

// AppendBytes appends a vint of the length of p, then p.
func AppendBytes(b, p []byte) []byte { return append(AppendVLong(b, int64(len(p))), p...) }

// Reader takes Writables from the front of a byte slice. The first error stays.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads from b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is the first error, nil if all reads succeeded.
func (r *Reader) Err() error { return r.err }

// Rest is what has not been read.
func (r *Reader) Rest() []byte { return r.b }

func (r *Reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	r.b = nil
}

// VLong reads a variable-length number, 0 after an error.
func (r *Reader) VLong() int64 {
	if len(r.b) == 0 {
		r.fail("ends before a number")
		return 0
	}
	first := int(int8(r.b[0]))
	if first >= -112 {
		r.b = r.b[1:]
		return int64(first)
	}
	n, negative := -112-first, false
	if first < -120 {
		n, negative = -120-first, true
	}
	if len(r.b) < 1+n {
		r.fail("ends within a number of %d bytes", n)
		return 0
	}
	var v int64
	for _, c := range r.b[1 : 1+n] {
		v = v<<8 | int64(c)
	}
	r.b = r.b[1+n:]
	if negative {
		v = ^v
	}
	return v
}

// VInt reads a variable-length number that must fit 32 bits.
func (r *Reader) VInt() int32 {
	v := r.VLong()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail("%d does not fit 32 bits", v)
		return 0
	}
	return int32(v)
}

// Take returns the next n bytes, which are the input's own.
func (r *Reader) Take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("wants %d bytes, has %d", n, len(r.b))
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// Bytes reads a vint and as many bytes, which are the input's own.
func (r *Reader) Bytes() []byte { return r.Take(int(r.VInt())) }

// Text reads a Text; it must be UTF-8.
func (r *Reader) Text() string {
	p := r.Bytes()
	if !utf8.Valid(p) {
		r.fail("text is not UTF-8")
		return ""
	}
	return string(p)
}
