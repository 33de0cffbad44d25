package columnar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"pgregory.net/rapid"

	"fairway/frameworks/storage"
)

// bytesFile is a storage.File in memory.
type bytesFile struct{ *bytes.Reader }

func (bytesFile) Close() error { return nil }

func fileOf(p []byte) storage.File { return bytesFile{bytes.NewReader(p)} }

// buffer is a file to write.
type buffer struct {
	bytes.Buffer
	closed int
}

func (b *buffer) Close() error { b.closed++; return nil }

// collector remembers records.
type collector struct {
	lines []string
	ints  int
	fail  error
}

func (c *collector) Emit(k, v []byte) error {
	c.lines = append(c.lines, fmt.Sprintf("%s=%s", k, v))
	return c.fail
}

func (c *collector) EmitInt(k []byte, n int64) error {
	c.ints++
	return c.Emit(k, strconv.AppendInt(nil, n, 10))
}

func checked(t testing.TB) *memory.CheckedAllocator {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

// mixed is a table of many types with nulls, in batches of n rows.
func mixed(mem memory.Allocator, batches, n int) (*arrow.Schema, []arrow.Record) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "i32", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float64},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "st", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), Nullable: true},
	}, nil)
	var out []arrow.Record
	for b := range batches {
		rb := array.NewRecordBuilder(mem, schema)
		for i := range n {
			row := b*n + i
			if row%7 == 3 {
				rb.Field(0).AppendNull()
				rb.Field(1).AppendNull()
			} else {
				rb.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("row%d", row))
				rb.Field(1).(*array.Int32Builder).Append(int32(row))
			}
			rb.Field(2).(*array.Float64Builder).Append(float64(row) / 4)
			rb.Field(3).(*array.BooleanBuilder).Append(row%2 == 0)
			lb := rb.Field(4).(*array.ListBuilder)
			lb.Append(true)
			lb.ValueBuilder().(*array.Int64Builder).Append(int64(row))
			sb := rb.Field(5).(*array.StructBuilder)
			sb.Append(true)
			sb.FieldBuilder(0).(*array.Int64Builder).Append(int64(row))
		}
		out = append(out, rb.NewRecord())
		rb.Release()
	}
	return schema, out
}

func mixedLine(row int) string {
	name, i := fmt.Sprintf("row%d", row), strconv.Itoa(row)
	if row%7 == 3 {
		name, i = "", ""
	}
	return fmt.Sprintf("%s=%s\t%s\t%v\t[%d]\t{\"x\":%d}", name, i, strconv.FormatFloat(float64(row)/4, 'g', -1, 64), row%2 == 0, row, row)
}

// fileBytes makes a file of the mixed table in each format.
func fileBytes(t testing.TB, format string) []byte {
	mem := checked(t)
	schema, recs := mixed(mem, 5, 40)
	var b bytes.Buffer
	switch format {
	case "parquet":
		w, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{&b}, parquet.NewWriterProperties(parquet.WithAllocator(mem)), pqarrow.DefaultWriterProps())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	case "arrow", "arrow-zstd", "arrow-lz4":
		opts := []ipc.Option{ipc.WithSchema(schema), ipc.WithAllocator(mem)}
		if format == "arrow-zstd" {
			opts = append(opts, ipc.WithZstd())
		} else if format == "arrow-lz4" {
			opts = append(opts, ipc.WithLZ4())
		}
		w, err := ipc.NewFileWriter(&position{Writer: &b}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	case "stream":
		w := ipc.NewWriter(&b, ipc.WithSchema(schema), ipc.WithAllocator(mem))
		for _, r := range recs {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range recs {
		r.Release()
	}
	return b.Bytes()
}

var kinds = []struct {
	name   string
	format Format
}{{"parquet", Parquet}, {"arrow", Arrow}, {"arrow-zstd", Arrow}, {"arrow-lz4", Arrow}, {"stream", Arrow}}

func TestEveryRowOnceWhateverTheSplits(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			p := fileBytes(t, k.name)
			rapid.Check(t, func(rt *rapid.T) {
				mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
				row := 0
				for at := 0; at < len(p); {
					n := min(rapid.IntRange(len(p)/6, len(p)).Draw(rt, "length"), len(p)-at)
					r, err := openFile(mem, k.format, fileOf(p), "mem:///f", int64(at), int64(n), int64(len(p)))
					if err != nil {
						rt.Fatal(err)
					}
					for {
						key, value, err := r.Next()
						if err == io.EOF {
							break
						}
						if err != nil {
							rt.Fatal(err)
						}
						if got := fmt.Sprintf("%s=%s", key, value); got != mixedLine(row) {
							rt.Fatalf("row %d: %s, want %s", row, got, mixedLine(row))
						}
						if k.format == Parquet && r.Offset() != int64(row) {
							rt.Fatalf("row %d is said to be %d", row, r.Offset())
						}
						if r.Pos() < 0 || r.Pos() > int64(n) {
							rt.Fatalf("position %d of %d", r.Pos(), n)
						}
						row++
					}
					if err := r.Close(); err != nil {
						rt.Fatal(err)
					}
					at += n
				}
				if row != 200 {
					rt.Fatalf("%d rows", row)
				}
				mem.AssertSize(t, 0)
			})
		})
	}
}

func TestWriterAndReader(t *testing.T) {
	for _, c := range []struct {
		format Format
		conf   map[string]string
	}{
		{Parquet, nil},
		{Parquet, map[string]string{ParquetCompressionProperty: "ZSTD", OutputValueTypeProperty: "int64"}},
		{Parquet, map[string]string{ParquetCompressionProperty: "uncompressed", OutputKeyTypeProperty: "binary"}},
		{Arrow, map[string]string{OutputValueTypeProperty: "float64"}},
		{Arrow, map[string]string{ArrowCompressionProperty: "lz4"}},
		{Arrow, map[string]string{ArrowCompressionProperty: "zstd"}},
	} {
		t.Run(fmt.Sprint(c.format, c.conf), func(t *testing.T) {
			mem := checked(t)
			if err := CheckFile(c.format, c.conf); err != nil {
				t.Fatal(err)
			}
			var b buffer
			w, err := createFile(mem, c.format, &b, c.conf)
			if err != nil {
				t.Fatal(err)
			}
			const n = 70_000
			for i := range n {
				if err := w.Write([]byte(fmt.Sprintf("key%d", i)), strconv.AppendInt(nil, int64(i), 10)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(w.Close(), w.Close()); err != nil || b.closed != 1 {
				t.Fatal(err, b.closed)
			}
			r, err := openFile(mem, c.format, fileOf(b.Bytes()), "f", 0, int64(b.Len()), int64(b.Len()))
			if err != nil {
				t.Fatal(err)
			}
			i := 0
			for {
				k, v, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil || string(k) != fmt.Sprintf("key%d", i) {
					t.Fatalf("row %d: %s, %v", i, k, err)
				}
				if f, err := strconv.ParseFloat(string(v), 64); err != nil || int(f) != i {
					t.Fatalf("row %d: %s", i, v)
				}
				i++
			}
			if i != n {
				t.Errorf("%d rows", i)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWriterRefusesWhatDoesNotFit(t *testing.T) {
	mem := checked(t)
	for _, c := range []struct {
		typ, value, want string
	}{
		{"int64", "12a", `record 1: column value: "12a" is no int64`},
		{"float64", "x", `is no float64`},
		{"utf8", "\xff", "record 1: the value is not UTF-8"},
	} {
		for _, f := range []Format{Parquet, Arrow} {
			w, err := createFile(mem, f, &buffer{}, map[string]string{OutputValueTypeProperty: c.typ})
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(w.Write([]byte("k"), []byte("1")), w.Write([]byte("k"), []byte(c.value)), w.Close())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %s: %v", f, c.typ, err)
			}
		}
	}
	for _, conf := range []map[string]string{
		{OutputKeyTypeProperty: "date"}, {ParquetCompressionProperty: "lzo"}, {OutputValueTypeProperty: "string"},
	} {
		if CheckFile(Parquet, conf) == nil {
			t.Errorf("%v was taken", conf)
		}
	}
	if CheckFile(Arrow, map[string]string{ArrowCompressionProperty: "gzip"}) == nil {
		t.Error("gzip in Arrow was taken")
	}
}

func TestWriteErrorsOfTheFileComeBack(t *testing.T) {
	mem := checked(t)
	for _, f := range []Format{Parquet, Arrow} {
		full := errors.New("no space left")
		w, err := createFile(mem, f, failing{full}, nil)
		if err == nil {
			for i := 0; err == nil && i < 1_000_000; i++ {
				err = w.Write([]byte(strconv.Itoa(i)), nil)
			}
			if cerr := w.Close(); err == nil {
				err = cerr
			}
		}
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return nil }

func streamOf(t testing.TB, names []string, typ arrow.DataType) []byte {
	mem := checked(t)
	var fields []arrow.Field
	for i, n := range names {
		f := arrow.Field{Name: n, Type: arrow.BinaryTypes.String}
		if i > 0 {
			f.Type = typ
		}
		fields = append(fields, f)
	}
	schema := arrow.NewSchema(fields, nil)
	rb := array.NewRecordBuilder(mem, schema)
	defer rb.Release()
	for i := range 3 {
		for c := range names {
			if err := rb.Field(c).AppendValueFromString(strconv.Itoa(10*i + c)); err != nil {
				t.Fatal(err)
			}
		}
	}
	rec := rb.NewRecord()
	defer rec.Release()
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(schema), ipc.WithAllocator(mem))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadRecords(t *testing.T) {
	for _, c := range []struct {
		names []string
		typ   arrow.DataType
		want  string
		ints  int
	}{
		{[]string{"key", "value"}, arrow.PrimitiveTypes.Int64, "[0=1 10=11 20=21]", 3},
		{[]string{"value", "key"}, arrow.PrimitiveTypes.Int8, "[1=0 11=10 21=20]", 0},
		{[]string{"word", "n"}, arrow.PrimitiveTypes.Uint64, "[0=1 10=11 20=21]", 0},
		{[]string{"a", "b", "c"}, arrow.PrimitiveTypes.Float32, "[0=1\t2 10=11\t12 20=21\t22]", 0},
		{[]string{"a"}, nil, "[0= 10= 20=]", 0},
		{[]string{"key"}, nil, "[0= 10= 20=]", 0},
		{[]string{"a", "b"}, arrow.BinaryTypes.LargeString, "[0=1 10=11 20=21]", 0},
		{[]string{"a", "b"}, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, "[0=1 10=11 20=21]", 0},
	} {
		var out collector
		if err := readRecords(checked(t), bytes.NewReader(streamOf(t, c.names, c.typ)), &out); err != nil {
			t.Errorf("%v: %v", c.names, err)
		}
		if s := fmt.Sprint(out.lines); s != c.want || out.ints != c.ints {
			t.Errorf("%v %v: %s, %d as integers", c.names, c.typ, s, out.ints)
		}
	}
	p := streamOf(t, []string{"key", "value"}, arrow.PrimitiveTypes.Int64)
	mine := errors.New("mine")
	if err := readRecords(checked(t), bytes.NewReader(p), &collector{fail: mine}); err != mine {
		t.Errorf("emitter's error: %v", err)
	}
	var se *StreamError
	for name, q := range map[string][]byte{
		"text": []byte("hello world\n"), "cut": p[:len(p)-20], "more": append(p[:len(p):len(p)], "print"...), "head": p[:5],
	} {
		if err := readRecords(checked(t), bytes.NewReader(q), &collector{}); !errors.As(err, &se) || !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := readRecords(checked(t), strings.NewReader(""), &collector{}); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
}

func TestWriteLinesAndRecords(t *testing.T) {
	mem := checked(t)
	chunks := []string{"one\ntwo\n\n", "three"}
	next := func() ([]byte, int64, error) {
		if len(chunks) == 0 {
			return nil, 0, io.EOF
		}
		c := chunks[0]
		chunks = chunks[1:]
		return []byte(c), 0, nil
	}
	var b bytes.Buffer
	moved := 0
	if err := writeLines(mem, &b, "f", next, false, func() { moved++ }); err != nil {
		t.Fatal(err)
	}
	var out collector
	if err := readRecords(mem, &b, &out); err != nil || fmt.Sprint(out.lines) != "[one= two= = three=]" || moved != 1 {
		t.Errorf("%v %q %d", err, out.lines, moved)
	}
	// Many records make several batches.
	i := 0
	records := func() (k, v []byte, err error) {
		if i == 3*batchRows+5 {
			return nil, nil, io.EOF
		}
		i++
		return []byte(strconv.Itoa(i)), []byte("7"), nil
	}
	b.Reset()
	moved = 0
	if err := writeRecords(mem, &b, records, Columns{arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64}, func() { moved++ }); err != nil {
		t.Fatal(err)
	}
	out = collector{}
	if err := readRecords(mem, &b, &out); err != nil || out.ints != 3*batchRows+5 || out.lines[batchRows] != fmt.Sprintf("%d=7", batchRows+1) || moved != 4 {
		t.Errorf("%v %d %d", err, out.ints, moved)
	}
	broken := errors.New("pipe")
	err := writeRecords(mem, failing{broken}, func() ([]byte, []byte, error) { return nil, nil, io.EOF }, Columns{arrow.BinaryTypes.String, arrow.BinaryTypes.String}, func() {})
	var we *WriteError
	if !errors.As(err, &we) || we.Err != broken {
		t.Errorf("%v", err)
	}
}
