package wire

import (
	"encoding/binary"
	"errors"
)

var errShort = errors.New("ends too early")

// reader reads fields until one does not fit; what it then returns is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) int32() int32 {
	if p := r.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

func (r *reader) int64() int64 {
	if p := r.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

func (r *reader) bytes() []byte  { return r.take(int(r.int32())) }
func (r *reader) string() string { return string(r.bytes()) }

// count reads that of an array whose items take at least size bytes each.
func (r *reader) count(size int) int {
	n := int(r.int32())
	if n < 0 || n > len(r.b)/size {
		if r.err == nil {
			r.err = errShort
		}
		return 0
	}
	return n
}

func (r *reader) strings() []string {
	l := make([]string, r.count(4))
	for i := range l {
		l[i] = r.string()
	}
	return l
}

func (r *reader) int32s() []int32 {
	l := make([]int32, r.count(4))
	for i := range l {
		l[i] = r.int32()
	}
	return l
}

func (r *reader) int64s() []int64 {
	l := make([]int64, r.count(8))
	for i := range l {
		l[i] = r.int64()
	}
	return l
}

func appendInt32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func appendInt64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

func appendString(b []byte, s string) []byte { return append(appendInt32(b, int32(len(s))), s...) }

func appendStrings(b []byte, l []string) []byte {
	b = appendInt32(b, int32(len(l)))
	for _, s := range l {
		b = appendString(b, s)
	}
	return b
}

func appendInt32s(b []byte, l []int32) []byte {
	b = appendInt32(b, int32(len(l)))
	for _, v := range l {
		b = appendInt32(b, v)
	}
	return b
}

func appendInt64s(b []byte, l []int64) []byte {
	b = appendInt32(b, int32(len(l)))
	for _, v := range l {
		b = appendInt64(b, v)
	}
	return b
}
