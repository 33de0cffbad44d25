package columnar

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// rowGroupBytes is the size of a row group, compressed, after which the next begins: it is held in memory.
const rowGroupBytes = 32 << 20

// Writer writes records as rows of a columnar file. It is used by one goroutine.
type Writer struct {
	out    *latch
	b      *batcher
	write  func(arrow.Record) error
	finish func() error
	err    error
	closed bool
}

// CreateFile begins a file with the columns key and value. The file is the writer's from then on, but after an error.
func CreateFile(format Format, file io.WriteCloser, conf map[string]string) (*Writer, error) {
	return createFile(memory.DefaultAllocator, format, file, conf)
}

func createFile(mem memory.Allocator, format Format, file io.WriteCloser, conf map[string]string) (*Writer, error) {
	cols, err := columnsOf(conf, OutputKeyTypeProperty, OutputValueTypeProperty)
	if err != nil {
		return nil, err
	}
	w := &Writer{out: &latch{WriteCloser: file}, b: newBatcher(cols)}
	err = w.try(func() error {
		switch format {
		case Parquet:
			return w.parquet(mem, conf)
		case Arrow:
			return w.arrow(mem, conf)
		}
		return fmt.Errorf("unknown columnar format %q", format)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// latch remembers the file's own error, which Arrow replaces or panics over.
type latch struct {
	io.WriteCloser
	err error
}

func (l *latch) Write(p []byte) (int, error) {
	n, err := l.WriteCloser.Write(p)
	if err != nil && l.err == nil {
		l.err = err
	}
	return n, err
}

// try runs f, prefers the file's own error, and takes a panic for an error.
func (w *Writer) try(f func() error) error {
	_, err := caught(f)
	if w.out.err != nil {
		err = w.out.err
	}
	if err != nil {
		return fmt.Errorf("write columnar file: %w", err)
	}
	return nil
}

// position is a writer that knows how much has been written; Arrow asks for a Seeker to learn that.
type position struct {
	io.Writer
	n int64
}

func (p *position) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	p.n += int64(n)
	return n, err
}

func (p *position) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("a file of results is written from front to back")
	}
	return p.n, nil
}

func (w *Writer) arrow(mem memory.Allocator, conf map[string]string) error {
	opts, err := arrowCompression(conf)
	if err != nil {
		return err
	}
	out, err := ipc.NewFileWriter(&position{Writer: w.out}, append(opts, ipc.WithSchema(w.b.schema), ipc.WithAllocator(mem))...)
	if err != nil {
		return err
	}
	w.write, w.finish = out.Write, out.Close
	return nil
}

func (w *Writer) parquet(mem memory.Allocator, conf map[string]string) error {
	codec, err := parquetCompression(conf)
	if err != nil {
		return err
	}
	props := parquet.NewWriterProperties(parquet.WithAllocator(mem), parquet.WithCompression(codec), parquet.WithCreatedBy("fairway"))
	// The stored schema keeps Arrow's types; pqarrow closes what it writes to if it can, which is ours to do.
	out, err := pqarrow.NewFileWriter(w.b.schema, struct{ io.Writer }{w.out}, props,
		pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem), pqarrow.WithStoreSchema()))
	if err != nil {
		return err
	}
	w.write = func(rec arrow.Record) error {
		if out.RowGroupTotalBytesWritten()+out.RowGroupTotalCompressedBytes() > rowGroupBytes {
			out.NewBufferedRowGroup()
		}
		return out.WriteBuffered(rec)
	}
	w.finish = out.Close
	return nil
}

// Write adds a row. Bytes that do not fit the column's type are an error that names the record.
func (w *Writer) Write(key, value []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.b.add(key, value); w.err == nil && w.b.full() {
		w.err = w.flush()
	}
	return w.err
}

func (w *Writer) flush() error {
	return w.try(func() error { return w.b.flush(OutputKeyTypeProperty, OutputValueTypeProperty, w.write) })
}

// Close completes the file. After an error of Write it only closes it. A second call does nothing.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if w.err == nil {
		w.err = w.flush()
	}
	err := w.err
	// Also after an error, for Arrow's buffers; a footer over a broken file harms nobody, for it is not committed.
	if ferr := w.try(w.finish); err == nil {
		err = ferr
	}
	if cerr := w.out.Close(); err == nil {
		err = cerr
	}
	return err
}
