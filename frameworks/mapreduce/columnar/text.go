package columnar

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// cell appends the text of row i of a column.
type cell func(dst []byte, i int) []byte

// textOf returns how to print a column; see the package's comment.
func textOf(col arrow.Array) cell {
	print := printer(col)
	if col.NullN() == 0 {
		return print
	}
	return func(dst []byte, i int) []byte {
		if col.IsNull(i) {
			return dst
		}
		return print(dst, i)
	}
}

func printer(col arrow.Array) cell {
	if ints := integers(col); ints != nil {
		return func(dst []byte, i int) []byte { return strconv.AppendInt(dst, ints(i), 10) }
	}
	if b := bytesOf(col); b != nil {
		return func(dst []byte, i int) []byte { return append(dst, b(i)...) }
	}
	switch a := col.(type) {
	case *array.Uint64:
		return func(dst []byte, i int) []byte { return strconv.AppendUint(dst, a.Value(i), 10) }
	case *array.Float32:
		return func(dst []byte, i int) []byte { return strconv.AppendFloat(dst, float64(a.Value(i)), 'g', -1, 32) }
	case *array.Float64:
		return func(dst []byte, i int) []byte { return strconv.AppendFloat(dst, a.Value(i), 'g', -1, 64) }
	case *array.Boolean:
		return func(dst []byte, i int) []byte { return strconv.AppendBool(dst, a.Value(i)) }
	case *array.Dictionary:
		values := textOf(a.Dictionary())
		return func(dst []byte, i int) []byte { return values(dst, a.GetValueIndex(i)) }
	}
	return func(dst []byte, i int) []byte { return append(dst, col.ValueStr(i)...) }
}

// integers returns the values of an integer column that fits int64, or nil for others.
func integers(col arrow.Array) func(i int) int64 {
	switch a := col.(type) {
	case *array.Int64:
		return func(i int) int64 { return a.Value(i) }
	case *array.Int32:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int16:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int8:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint32:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint16:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint8:
		return func(i int) int64 { return int64(a.Value(i)) }
	}
	return nil
}

// bytesOf returns the values of a column of bytes without a copy, or nil for others. The offsets come from outside and
// are checked by the slicing.
func bytesOf(col arrow.Array) func(i int) []byte {
	switch a := col.(type) {
	case *array.String:
		return slices(a.Len(), a.Data(), a.ValueOffsets)
	case *array.LargeString:
		return slices(a.Len(), a.Data(), a.ValueOffsets)
	case *array.Binary:
		return a.Value
	case *array.LargeBinary:
		return a.Value
	case *array.FixedSizeBinary:
		return a.Value
	case *array.StringView:
		return func(i int) []byte { return []byte(a.Value(i)) }
	case *array.BinaryView:
		return a.Value
	}
	return nil
}

// slices cuts the values of strings out of their buffer: Arrow's own accessor makes strings of them.
func slices[T int32 | int64](n int, data arrow.ArrayData, offsets func() []T) func(i int) []byte {
	if n == 0 {
		return func(int) []byte { return nil }
	}
	var buf []byte
	if b := data.Buffers()[2]; b != nil {
		buf = b.Bytes()
	}
	buf = buf[:len(buf):len(buf)]
	offs := offsets()
	return func(i int) []byte { return buf[offs[i]:offs[i+1]] }
}

// pair tells which columns make key and value: see the package's comment.
type pair struct {
	key    int
	values []int // none: no value
}

func pairOf(schema *arrow.Schema) (pair, error) {
	n := schema.NumFields()
	if n == 0 {
		return pair{}, fmt.Errorf("a table without columns: at least one is needed, for the key")
	}
	k, v := schema.FieldIndices("key"), schema.FieldIndices("value")
	if len(k) == 1 && (len(v) == 1 && n == 2 || n == 1) {
		return pair{key: k[0], values: v}, nil
	}
	p := pair{}
	for i := 1; i < n; i++ {
		p.values = append(p.values, i)
	}
	return p, nil
}

// rows walks a batch record by record.
type rows struct {
	n       int
	keyCell cell
	keyRaw  func(i int) []byte // without a copy; nil if the key must be printed
	cells   []cell
	raw     func(i int) []byte // of a single value column
	ints    func(i int) int64  // of a single value column of integers without nulls
	key     []byte
	value   []byte
}

func newRows(rec arrow.Record, p pair) *rows {
	r := &rows{n: int(rec.NumRows())}
	k := rec.Column(p.key)
	r.keyCell = textOf(k)
	if k.NullN() == 0 {
		r.keyRaw = bytesOf(k)
	}
	for _, i := range p.values {
		r.cells = append(r.cells, textOf(rec.Column(i)))
	}
	if len(p.values) == 1 && rec.Column(p.values[0]).NullN() == 0 {
		r.raw, r.ints = bytesOf(rec.Column(p.values[0])), integers(rec.Column(p.values[0]))
	}
	return r
}

func (r *rows) keyAt(i int) []byte {
	if r.keyRaw != nil {
		return r.keyRaw(i)
	}
	r.key = r.keyCell(r.key[:0], i)
	return r.key
}

func (r *rows) valueAt(i int) []byte {
	if r.raw != nil {
		return r.raw(i)
	}
	if r.value == nil {
		r.value = make([]byte, 0, 64)
	}
	v := r.value[:0]
	for j, c := range r.cells {
		if j > 0 {
			v = append(v, '\t')
		}
		v = c(v, i)
	}
	r.value = v
	return v
}
