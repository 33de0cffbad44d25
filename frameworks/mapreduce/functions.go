package mapreduce

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// Map makes a Mapper of a function on one record.
func Map(f func(ctx *Context, key, value []byte, out Emitter) error) NewMapper {
	return func() Mapper { return mapFunc(f) }
}

type mapFunc func(ctx *Context, key, value []byte, out Emitter) error

func (f mapFunc) Map(ctx *Context, key, value []byte, out Emitter) error {
	return f(ctx, key, value, out)
}

// MapLines makes a Mapper of a function on a chunk of whole lines; for input formats other than text it gets one
// value at a time.
func MapLines(f func(ctx *Context, lines []byte, out Emitter) error) NewMapper {
	return func() Mapper { return chunkFunc(f) }
}

type chunkFunc func(ctx *Context, lines []byte, out Emitter) error

func (f chunkFunc) Map(ctx *Context, _, value []byte, out Emitter) error { return f(ctx, value, out) }

func (f chunkFunc) MapChunk(ctx *Context, lines []byte, out Emitter) error { return f(ctx, lines, out) }

// Reduce makes a Reducer of a function on one key and its values.
func Reduce(f func(ctx *Context, key []byte, values Values, out Emitter) error) NewReducer {
	return func() Reducer { return reduceFunc(f) }
}

type reduceFunc func(ctx *Context, key []byte, values Values, out Emitter) error

func (f reduceFunc) Reduce(ctx *Context, key []byte, values Values, out Emitter) error {
	return f(ctx, key, values, out)
}

// Identity passes each record on; it maps and reduces.
type Identity struct{}

// Map emits the record as it is.
func (Identity) Map(_ *Context, key, value []byte, out Emitter) error { return out.Emit(key, value) }

// Reduce emits the key with each of its values.
func (Identity) Reduce(_ *Context, key []byte, values Values, out Emitter) error {
	for v := range values {
		if err := out.Emit(key, v); err != nil {
			return err
		}
	}
	return nil
}

// The combiners that work in place. Their values are decimal numbers, but for Count's.
var (
	Sum   = Combiner{InPlace: &InPlace{Merge: func(a, v int64) int64 { return a + v }}}
	Min   = Combiner{InPlace: &InPlace{Merge: func(a, v int64) int64 { return min(a, v) }}}
	Max   = Combiner{InPlace: &InPlace{Merge: func(a, v int64) int64 { return max(a, v) }}}
	Count = Combiner{InPlace: &InPlace{
		Merge: func(a, v int64) int64 { return a + v },
		Lift:  func(int64) int64 { return 1 }, Any: true,
	}}
)

// Reducer makes a Reducer that does what the combiner does: one record for each key. After a Count combiner the
// values are counts already, so reduce them with Sum.
func (p *InPlace) Reducer() Reducer { return inPlaceReducer{p} }

type inPlaceReducer struct{ p *InPlace }

func (r inPlaceReducer) Reduce(_ *Context, key []byte, values Values, out Emitter) error {
	var acc int64
	first := true
	for v := range values {
		n, err := r.p.Value(v)
		if err != nil {
			return fmt.Errorf("key %q: %w", clip(key), err)
		}
		if first {
			acc, first = n, false
		} else {
			acc = r.p.Merge(acc, n)
		}
	}
	return out.EmitInt(key, acc)
}

// Value makes an accumulator of a mapper's value.
func (p *InPlace) Value(v []byte) (int64, error) {
	var n int64
	if !p.Any {
		var err error
		if n, err = ParseInt(v); err != nil {
			return 0, err
		}
	}
	if p.Lift != nil {
		n = p.Lift(n)
	}
	return n, nil
}

// ParseInt reads a decimal number; white space around it is left out.
func ParseInt(v []byte) (int64, error) {
	if len(v) == 1 && v[0]-'0' <= 9 {
		return int64(v[0] - '0'), nil
	}
	if len(v) > 0 && len(v) <= 18 {
		var n int64
		for _, c := range v {
			if c-'0' > 9 {
				return parseSlow(v)
			}
			n = n*10 + int64(c-'0')
		}
		return n, nil
	}
	return parseSlow(v)
}

func parseSlow(v []byte) (int64, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("value %q is no whole number", clip(v))
	}
	return n, nil
}

// clip shortens bytes for an error message.
func clip(b []byte) []byte {
	if len(b) > 64 {
		return b[:64]
	}
	return b
}

// HashPartition spreads keys by a hash of all their bytes. It is the default Partitioner; every binary of a job must
// compute the same, so it never changes.
func HashPartition(key []byte, n int) int {
	if n <= 1 {
		return 0
	}
	return int(Hash(key) >> 32 * uint64(n) >> 32)
}

// EachRecord calls f for all records of in.
func EachRecord(in Records, f func(key, value []byte) error) error {
	for {
		k, v, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(k, v); err != nil {
			return err
		}
	}
}
