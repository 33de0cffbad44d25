package columnar

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Stream joins the rows of several files into one stream of record batches. All must have the same columns. It is used
// by one goroutine.
type Stream struct {
	mem    memory.Allocator
	open   func(*arrow.Schema) *ipc.Writer
	most   int64 // rows of a batch; 0: any
	out    *ipc.Writer
	schema *arrow.Schema
	first  string // where schema comes from
}

// NewStream writes an IPC stream to w.
func NewStream(w io.Writer) *Stream { return newStream(memory.DefaultAllocator, w) }

func newStream(mem memory.Allocator, w io.Writer) *Stream {
	return &Stream{mem: mem, open: func(s *arrow.Schema) *ipc.Writer {
		return ipc.NewWriter(marked{w}, ipc.WithSchema(s), ipc.WithAllocator(mem), ipc.WithDictionaryDeltas(true))
	}}
}

func (s *Stream) begin(name string, schema *arrow.Schema) error {
	if s.out == nil {
		s.out, s.schema, s.first = s.open(schema), schema, name
		return nil
	}
	if !s.schema.Equal(schema) {
		return fmt.Errorf("%s has other columns (%s) than %s (%s)", name, fields(schema), s.first, fields(s.schema))
	}
	return nil
}

func fields(s *arrow.Schema) string {
	text := ""
	for i, f := range s.Fields() {
		if i > 0 {
			text += ", "
		}
		text += f.Name + " " + f.Type.String()
	}
	return text
}

func (s *Stream) write(rec arrow.Record) error {
	n := rec.NumRows()
	if s.most == 0 || n <= s.most {
		return s.out.Write(rec)
	}
	for at := int64(0); at < n; at += s.most {
		part := rec.NewSlice(at, min(at+s.most, n))
		err := s.out.Write(part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// Add writes all rows of a columnar file with its own columns.
func (s *Stream) Add(r *Reader) error {
	if r.source == nil {
		return nil
	}
	if err := s.begin(r.name, r.source.schema()); err != nil {
		return err
	}
	for {
		err := guarded(r.name, func() error {
			if err := r.advance(); err != nil {
				return err
			}
			if err := s.write(r.rec); err != nil {
				return corrupt(r.name, err) // or a WriteError, which is looked for first
			}
			return nil
		})
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return writeErrorFirst(err)
		}
	}
}

// AddRecords writes records as rows of the columns key and value.
func (s *Stream) AddRecords(name string, next func() (key, value []byte, err error), cols Columns) error {
	b := newBatcher(cols)
	if err := s.begin(name, b.schema); err != nil {
		return err
	}
	flush := func() error { return b.flush(OutputKeyTypeProperty, OutputValueTypeProperty, s.write) }
	for {
		key, value, err := next()
		if err == io.EOF {
			if err = flush(); err == nil {
				return nil
			}
		}
		if err == nil {
			err = b.add(key, value)
		}
		if err == nil && b.full() {
			err = flush()
		}
		if err != nil {
			var we *WriteError
			if errors.As(err, &we) {
				return we
			}
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func writeErrorFirst(err error) error {
	var we *WriteError
	if errors.As(err, &we) {
		return we
	}
	return err
}

// Close ends the stream. One to which nothing was added has the columns key and value, and no rows.
func (s *Stream) Close() error {
	if s.out == nil {
		cols, err := columnsOf(nil, OutputKeyTypeProperty, OutputValueTypeProperty)
		if err == nil {
			err = s.begin("", newBatcher(cols).schema)
		}
		if err != nil {
			return err
		}
	}
	return writeErrorFirst(s.out.Close())
}

// OutputColumns returns the types that output files of a job with these properties have.
func OutputColumns(conf map[string]string) (Columns, error) {
	return columnsOf(conf, OutputKeyTypeProperty, OutputValueTypeProperty)
}
