package columnar

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"fairway/frameworks/storage"
)

// Reader reads the rows of one split of a columnar file, as records (Next) or whole as a stream (WriteStream): use one
// of the two. It is used by one goroutine.
type Reader struct {
	name   string
	mem    memory.Allocator
	file   storage.File
	source batches
	pair   pair
	start  int64
	length int64

	rec   arrow.Record
	rows  *rows
	i     int
	first int64
	row   int64
}

// OpenFile opens the part of a file whose row groups (record batches) start in [offset, offset+length); size is the
// file's. The file is the reader's from then on, but after an error. name is for errors; damage wraps
// storage.ErrCorrupt.
func OpenFile(format Format, f storage.File, name string, offset, length, size int64) (*Reader, error) {
	return openFile(memory.DefaultAllocator, format, f, name, offset, length, size)
}

func openFile(mem memory.Allocator, format Format, f storage.File, name string, offset, length, size int64) (*Reader, error) {
	r := &Reader{name: name, mem: bounded{mem}, file: f, start: offset, length: length}
	if size == 0 && length == 0 { // an empty file has no rows, though it has no schema either
		return r, nil
	}
	err := guarded(name, func() (err error) {
		open := openArrow
		if format == Parquet {
			open = openParquet
		}
		if r.source, err = open(r.mem, f, offset, length, size); err != nil {
			return corrupt(name, err)
		}
		if r.pair, err = pairOf(r.source.schema()); err != nil {
			r.source.close()
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// advance takes the next batch.
func (r *Reader) advance() error {
	if r.rec != nil {
		r.rec.Release()
		r.rec, r.rows = nil, nil
	}
	if r.source == nil {
		return io.EOF
	}
	rec, first, err := r.source.next()
	if err == io.EOF {
		return io.EOF
	}
	if err != nil {
		return corrupt(r.name, err)
	}
	if rec.NumRows() > maxRows {
		rec.Release()
		return corrupt(r.name, errTooLarge)
	}
	r.rec, r.first, r.i = rec, first, 0
	return nil
}

// Next returns a row as a record; io.EOF after the last. The slices are valid until the next call.
func (r *Reader) Next() (key, value []byte, err error) {
	err = guarded(r.name, func() error {
		for r.rec == nil || r.i == r.rows.n {
			if err := r.advance(); err != nil {
				return err
			}
			r.rows = newRows(r.rec, r.pair)
		}
		key, value = r.rows.keyAt(r.i), r.rows.valueAt(r.i)
		r.row = r.first + int64(r.i)
		r.i++
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return key, value, nil
}

// WriteStream writes all batches of the split as an IPC stream with the file's columns; moved is called after each with
// its number of rows.
func (r *Reader) WriteStream(w io.Writer, moved func(rows int64)) error {
	if r.source == nil {
		return nil
	}
	out := ipc.NewWriter(marked{w}, ipc.WithSchema(r.source.schema()), ipc.WithAllocator(r.mem), ipc.WithDictionaryDeltas(true))
	for {
		var we *WriteError
		err := guarded(r.name, func() error {
			if err := r.advance(); err != nil {
				return err
			}
			if err := out.Write(r.rec); err != nil {
				return corrupt(r.name, err) // or a WriteError, which is looked for first
			}
			return nil
		})
		switch {
		case err == io.EOF:
			return finish(out, nil)
		case errors.As(err, &we):
			return we
		case err != nil:
			return finish(out, err)
		}
		moved(r.rec.NumRows())
	}
}

// Pos returns the consumed bytes of the split, as far as whole batches (of Parquet: rows) tell.
func (r *Reader) Pos() int64 {
	if r.source == nil {
		return r.length
	}
	return min(max(r.source.pos()-r.start, 0), r.length)
}

// Offset returns the number of the row that Next last returned: of Parquet in the file, of Arrow files in the split.
func (r *Reader) Offset() int64 { return r.row }

// Close releases all memory and closes the file.
func (r *Reader) Close() error {
	if r.rec != nil {
		r.rec.Release()
		r.rec = nil
	}
	err := guarded(r.name, func() error {
		if r.source != nil {
			r.source.close()
			r.source = nil
		}
		return nil
	})
	return errors.Join(err, r.file.Close())
}
