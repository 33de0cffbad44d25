package columnar

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Emitter takes the records of a stream; *mapreduce's Emitter is one.
type Emitter interface {
	Emit(key, value []byte) error
	EmitInt(key []byte, n int64) error
}

// WriteError marks an error of the writer that a stream went to, not of the stream.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "write Arrow stream: " + e.Err.Error() }

// Unwrap returns Err.
func (e *WriteError) Unwrap() error { return e.Err }

// marked keeps the writer's errors apart from Arrow's.
type marked struct{ w io.Writer }

func (m marked) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	if err != nil {
		err = &WriteError{err}
	}
	return n, err
}

// finish closes a stream and returns the first error, the writer's own as such.
func finish(w *ipc.Writer, err error) error {
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	var we *WriteError
	if errors.As(err, &we) {
		return we
	}
	return err
}

// WriteLines writes the lines of text as a stream of batches of one column, line. next gives whole lines, as
// input.ChunkReader's NextChunk does; moved is called after each batch. name is the input's, for errors. A line that is
// not UTF-8 is an error unless binary.
func WriteLines(w io.Writer, name string, next func() ([]byte, int64, error), binary bool, moved func()) error {
	return writeLines(memory.DefaultAllocator, w, name, next, binary, moved)
}

func writeLines(mem memory.Allocator, w io.Writer, name string, next func() ([]byte, int64, error), binary bool, moved func()) error {
	typ := arrow.DataType(arrow.BinaryTypes.String)
	if binary {
		typ = arrow.BinaryTypes.Binary
	}
	col := newColumn("line", typ)
	schema := arrow.NewSchema([]arrow.Field{col.field()}, nil)
	out := ipc.NewWriter(marked{w}, ipc.WithSchema(schema), ipc.WithAllocator(mem))
	start := int64(0) // of the batch's first chunk
	flush := func() error {
		n := len(col.offsets) - 1
		if n == 0 {
			return nil
		}
		if bad := col.invalid(); bad >= 0 {
			return fmt.Errorf("%s: line %d after byte %d is not UTF-8 (%q): set %s=binary", name, bad, start,
				clip(col.data[col.offsets[bad]:col.offsets[bad+1]]), LineTypeProperty)
		}
		rec := batch(schema, n, col)
		defer rec.Release()
		if err := out.Write(rec); err != nil {
			return err
		}
		col.reset()
		moved()
		return nil
	}
	for {
		chunk, offset, err := next()
		if err == io.EOF {
			return finish(out, flush())
		}
		if err != nil {
			return finish(out, err)
		}
		if len(col.offsets) == 1 {
			start = offset
		}
		for len(chunk) > 0 {
			end := bytes.IndexByte(chunk, '\n')
			line := chunk
			if end >= 0 {
				line, chunk = chunk[:end], chunk[end+1:]
			} else {
				chunk = nil
			}
			col.data = append(col.data, line...)
			col.offsets = append(col.offsets, int32(len(col.data)))
			if len(col.offsets) > batchRows || len(col.data) >= batchBytes {
				if err := flush(); err != nil {
					return finish(out, err)
				}
				start = offset
			}
		}
	}
}

// WriteRecords writes records as a stream of batches of the columns key and value. Where a value is nil it is written as
// an empty one.
func WriteRecords(w io.Writer, next func() (key, value []byte, err error), cols Columns, moved func()) error {
	return writeRecords(memory.DefaultAllocator, w, next, cols, moved)
}

func writeRecords(mem memory.Allocator, w io.Writer, next func() (key, value []byte, err error), cols Columns, moved func()) error {
	b := newBatcher(cols)
	out := ipc.NewWriter(marked{w}, ipc.WithSchema(b.schema), ipc.WithAllocator(mem))
	flush := func() error {
		err := b.flush(KeyTypeProperty, ValueTypeProperty, out.Write)
		moved()
		return err
	}
	for {
		key, value, err := next()
		if err == io.EOF {
			return finish(out, flush())
		}
		if err == nil {
			err = b.add(key, value)
		}
		if err == nil && b.full() {
			err = flush()
		}
		if err != nil {
			return finish(out, err)
		}
	}
}

// batcher makes batches of records.
type batcher struct {
	schema     *arrow.Schema
	key, value *column
	n          int   // rows in the batch
	total      int64 // rows in batches before
}

func newBatcher(cols Columns) *batcher {
	b := &batcher{key: newColumn("key", cols.Key), value: newColumn("value", cols.Value)}
	b.schema = arrow.NewSchema([]arrow.Field{b.key.field(), b.value.field()}, nil)
	return b
}

func (b *batcher) add(key, value []byte) error {
	err := b.key.add(key)
	if err == nil {
		err = b.value.add(value)
	}
	if err != nil {
		return fmt.Errorf("record %d: %w", b.total+int64(b.n), err)
	}
	b.n++
	return nil
}

func (b *batcher) full() bool {
	return b.n >= batchRows || b.key.bytes()+b.value.bytes() >= batchBytes
}

// flush hands the batch on, if there is any. The properties are named in the error of a value that is not UTF-8.
func (b *batcher) flush(keyProperty, valueProperty string, write func(arrow.Record) error) error {
	if b.n == 0 {
		return nil
	}
	for c, property := range map[*column]string{b.key: keyProperty, b.value: valueProperty} {
		if bad := c.invalid(); bad >= 0 {
			return fmt.Errorf("record %d: the %s is not UTF-8 (%q): set %s=binary", b.total+int64(bad), c.name,
				clip(c.data[c.offsets[bad]:c.offsets[bad+1]]), property)
		}
	}
	rec := batch(b.schema, b.n, b.key, b.value)
	defer rec.Release()
	if err := write(rec); err != nil {
		return err
	}
	b.total += int64(b.n)
	b.n = 0
	b.key.reset()
	b.value.reset()
	return nil
}

// StreamError marks a stream that is none, is damaged, or cannot be records. It wraps storage.ErrCorrupt or tells what
// its columns lack.
type StreamError struct{ Err error }

func (e *StreamError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *StreamError) Unwrap() error { return e.Err }

// emitError keeps the emitter's own errors apart from the stream's.
type emitError struct{ error }

func (e emitError) Unwrap() error { return e.error }

// ReadRecords reads an IPC stream, which must be all of r, and emits its rows. What is wrong with the stream is a
// *StreamError; the emitter's errors come back as they are. No bytes at all are no rows.
func ReadRecords(r io.Reader, out Emitter) error {
	return readRecords(memory.DefaultAllocator, r, out)
}

func readRecords(mem memory.Allocator, r io.Reader, out Emitter) error {
	f := &framed{r: r}
	err := guarded("Arrow stream", func() error { return emitStream(bounded{mem}, f, out) })
	var own emitError
	if errors.As(err, &own) {
		return own.error
	}
	if err == nil && f.begun {
		if n, _ := io.Copy(io.Discard, r); n > 0 {
			err = corrupt("Arrow stream", fmt.Errorf("%d bytes follow its end", n))
		}
	}
	if err != nil {
		return &StreamError{err}
	}
	return nil
}

func emitStream(mem memory.Allocator, f *framed, out Emitter) error {
	in, err := ipc.NewReader(f, ipc.WithAllocator(mem))
	if err != nil {
		if !f.begun && errors.Is(err, io.EOF) {
			return nil
		}
		return corrupt("Arrow stream", streamError(f, err))
	}
	defer in.Release()
	p, err := pairOf(in.Schema())
	if err != nil {
		return err
	}
	for in.Next() {
		if err := emitBatch(in.Record(), p, out); err != nil {
			return err
		}
	}
	if err := streamError(f, in.Err()); err != nil {
		return corrupt("Arrow stream", err)
	}
	return nil
}

// streamError prefers what the framing says to Arrow's wording of it, and finds a break that Arrow took for the end.
func streamError(f *framed, err error) error {
	if f.err != nil && f.err != io.EOF {
		return f.err
	}
	return err
}

func emitBatch(rec arrow.Record, p pair, out Emitter) error {
	if rec.NumRows() > maxRows {
		return errTooLarge
	}
	r := newRows(rec, p)
	if r.ints != nil {
		for i := range r.n {
			if err := out.EmitInt(r.keyAt(i), r.ints(i)); err != nil {
				return emitError{err}
			}
		}
		return nil
	}
	for i := range r.n {
		if err := out.Emit(r.keyAt(i), r.valueAt(i)); err != nil {
			return emitError{err}
		}
	}
	return nil
}
