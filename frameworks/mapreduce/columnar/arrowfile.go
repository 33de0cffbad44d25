package columnar

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"fairway/frameworks/storage"
)

// batches are the record batches of a part of a file. next's batch is the caller's to release; io.EOF at the end.
type batches interface {
	schema() *arrow.Schema
	next() (rec arrow.Record, firstRow int64, err error)
	// pos is the place in the file up to which batches have been handed out.
	pos() int64
	close()
}

// arrowFile reads the record batches of an IPC file that start in a range.
type arrowFile struct {
	r      *ipc.FileReader
	blocks []block
	i      int
	upTo   int64 // batches that start at or beyond it are another split's
	row    int64 // of batch i in the file; batches of other splits are not counted, see openArrow
	at     int64
}

const (
	arrowMagic = "ARROW1"
	// arrowTrailer is the length of a footer and the magic.
	arrowTrailer = 4 + len(arrowMagic)
)

// openArrow opens an IPC file, or a file that holds a stream, which belongs whole to the split at offset 0.
func openArrow(mem memory.Allocator, f storage.File, offset, length, size int64) (batches, error) {
	head := make([]byte, len(arrowMagic))
	if n, err := f.ReadAt(head, 0); n < len(head) {
		if err == nil || err == io.EOF {
			err = fmt.Errorf("a file of %d bytes is no Arrow file", n)
		}
		return nil, err
	}
	if !bytes.Equal(head, []byte(arrowMagic)) {
		return openStream(mem, f, offset, size)
	}
	if size < int64(len(arrowMagic)+2+arrowTrailer) {
		return nil, fmt.Errorf("a file of %d bytes is no Arrow file", size)
	}
	trailer := make([]byte, arrowTrailer)
	if n, err := f.ReadAt(trailer, size-int64(arrowTrailer)); n < len(trailer) {
		return nil, fmt.Errorf("read its end: %w", unexpected(err))
	}
	if !bytes.Equal(trailer[4:], []byte(arrowMagic)) {
		return nil, errors.New("it begins as an Arrow file but has no footer: was it written to its end?")
	}
	n := int64(trailer[0]) | int64(trailer[1])<<8 | int64(trailer[2])<<16 | int64(trailer[3])<<24
	limit := size - int64(arrowTrailer) - n
	if n > maxMetadata || limit < 8 {
		return nil, errFlat
	}
	footer := make([]byte, n)
	if m, err := f.ReadAt(footer, limit); m < len(footer) {
		return nil, fmt.Errorf("read its footer: %w", unexpected(err))
	}
	_, blocks, err := footerBlocks(footer, limit)
	if err != nil {
		return nil, err
	}
	r, err := ipc.NewFileReader(sized{f, size}, ipc.WithAllocator(mem))
	if err != nil {
		return nil, err
	}
	a := &arrowFile{r: r, blocks: blocks, upTo: offset + length, at: offset}
	for a.i < len(blocks) && blocks[a.i].offset < offset {
		a.i++
	}
	return a, nil
}

// sized answers where the end is without asking the storage.
type sized struct {
	storage.File
	size int64
}

func (s sized) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return s.File.Seek(s.size+offset, io.SeekStart)
	}
	return s.File.Seek(offset, whence)
}

// Close does nothing: Arrow's readers close what they are given, and the file is the Reader's to close, once.
func (s sized) Close() error { return nil }

func (a *arrowFile) schema() *arrow.Schema { return a.r.Schema() }
func (a *arrowFile) pos() int64            { return a.at }
func (a *arrowFile) close()                { a.r.Close() }

func (a *arrowFile) next() (arrow.Record, int64, error) {
	if a.i == len(a.blocks) || a.blocks[a.i].offset >= a.upTo {
		return nil, 0, io.EOF
	}
	rec, err := a.r.RecordAt(a.i)
	if err != nil {
		return nil, 0, fmt.Errorf("record batch %d at byte %d: %w", a.i, a.blocks[a.i].offset, err)
	}
	a.at = a.blocks[a.i].end()
	a.i++
	first := a.row
	a.row += rec.NumRows()
	return rec, first, nil
}

// arrowStream reads a file that holds an IPC stream.
type arrowStream struct {
	f   *framed
	in  *ipc.Reader // nil: another split's
	n   int64       // bytes read
	row int64
	sch *arrow.Schema
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n *int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

func openStream(mem memory.Allocator, f storage.File, offset, size int64) (batches, error) {
	s := &arrowStream{}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	s.f = &framed{r: counted{f, &s.n}}
	in, err := ipc.NewReader(s.f, ipc.WithAllocator(mem))
	if err != nil {
		return nil, streamError(s.f, err)
	}
	s.sch = in.Schema()
	if offset > 0 {
		in.Release()
		return s, nil
	}
	s.in = in
	return s, nil
}

func (s *arrowStream) schema() *arrow.Schema { return s.sch }
func (s *arrowStream) pos() int64            { return s.n }

func (s *arrowStream) close() {
	if s.in != nil {
		s.in.Release()
		s.in = nil
	}
}

func (s *arrowStream) next() (arrow.Record, int64, error) {
	if s.in == nil {
		return nil, 0, io.EOF
	}
	if !s.in.Next() {
		if err := streamError(s.f, s.in.Err()); err != nil {
			return nil, 0, fmt.Errorf("near byte %d: %w", s.n, err)
		}
		return nil, 0, io.EOF
	}
	rec := s.in.Record()
	rec.Retain()
	first := s.row
	s.row += rec.NumRows()
	return rec, first, nil
}
