package columnar

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"fairway/frameworks/storage"
)

// parquetRows is the size of batches made of Parquet.
const parquetRows = 16 << 10

// parquetFile reads the row groups of a Parquet file that start in a range.
//
// It reads column after column in the caller's goroutine: pqarrow's own record reader uses others, in which a panic
// over damaged bytes would end the process. See trial.go for columns of structs.
type parquetFile struct {
	mem    memory.Allocator
	r      *file.Reader
	arrow  *pqarrow.FileReader
	sch    *arrow.Schema
	leaves map[int]bool
	flat   []bool // by leaf: a column of its own, not part of a struct or list
	groups []group
	i      int // the next group to open
	cols   []*pqarrow.ColumnReader
	open   group // being read
	done   int64 // rows of open already handed out
	at     int64
}

// group is a row group of the split.
type group struct {
	index       int
	start, size int64 // bytes
	rows        int64
	firstRow    int64 // in the file
}

func openParquet(mem memory.Allocator, f storage.File, offset, length, size int64) (batches, error) {
	props := parquet.NewReaderProperties(mem)
	props.BufferedStreamEnabled = true // pages, not whole column chunks, in memory
	props.BufferSize = 256 << 10
	r, err := file.NewParquetReader(sized{f, size}, file.WithReadProps(props))
	if err != nil {
		return nil, err
	}
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: parquetRows}, mem)
	if err != nil {
		return nil, err
	}
	p := &parquetFile{mem: mem, r: r, arrow: fr, leaves: make(map[int]bool), at: offset}
	if p.sch, err = fr.Schema(); err != nil {
		return nil, err
	}
	for i := range r.MetaData().Schema.NumColumns() {
		p.leaves[i] = true
		p.flat = append(p.flat, r.MetaData().Schema.Column(i).ColumnPath().String() == r.MetaData().Schema.Column(i).Name())
	}
	row := int64(0)
	for i := range r.NumRowGroups() {
		g, err := groupOf(r, i, row, size)
		if err != nil {
			return nil, err
		}
		row += g.rows
		if g.start >= offset && g.start < offset+length {
			p.groups = append(p.groups, g)
		}
	}
	return p, nil
}

func groupOf(r *file.Reader, i int, row, size int64) (group, error) {
	md := r.MetaData().RowGroup(i)
	g := group{index: i, rows: md.NumRows(), firstRow: row, start: size}
	end := int64(0)
	for c := range md.NumColumns() {
		chunk, err := md.ColumnChunk(c)
		if err != nil {
			return g, fmt.Errorf("row group %d: %w", i, err)
		}
		start := chunk.DataPageOffset()
		if chunk.HasDictionaryPage() && chunk.DictionaryPageOffset() > 0 && chunk.DictionaryPageOffset() < start {
			start = chunk.DictionaryPageOffset()
		}
		n := chunk.TotalCompressedSize()
		if start < 4 || n < 0 || start > size || n > size-start {
			return g, fmt.Errorf("row group %d, column %d: %d bytes at byte %d of %d: %w", i, c, n, start, size, errTooLarge)
		}
		g.start, end = min(g.start, start), max(end, start+n)
	}
	if g.rows < 0 || g.rows > 1<<40 {
		return g, fmt.Errorf("row group %d of %d rows: %w", i, g.rows, errTooLarge)
	}
	g.size = max(end-g.start, 0)
	return g, nil
}

func (p *parquetFile) schema() *arrow.Schema { return p.sch }
func (p *parquetFile) pos() int64            { return p.at }

func (p *parquetFile) close() {
	p.release()
	p.r.Close()
}

func (p *parquetFile) release() {
	for _, c := range p.cols {
		c.Release()
	}
	p.cols = nil
}

func (p *parquetFile) next() (arrow.Record, int64, error) {
	for p.cols == nil || p.done == p.open.rows {
		p.release()
		if p.i == len(p.groups) {
			return nil, 0, io.EOF
		}
		p.open, p.done = p.groups[p.i], 0
		p.i++
		if err := p.try(p.open); err != nil {
			return nil, 0, err
		}
		for i := range p.sch.NumFields() {
			c, err := p.arrow.GetFieldReader(context.Background(), i, p.leaves, []int{p.open.index})
			if err != nil {
				return nil, 0, fmt.Errorf("row group %d, column %s: %w", p.open.index, p.sch.Field(i).Name, err)
			}
			p.cols = append(p.cols, c)
		}
	}
	n := min(parquetRows, p.open.rows-p.done)
	arrays := make([]arrow.Array, len(p.cols))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i, c := range p.cols {
		a, err := p.read(c, n)
		if err == nil && int64(a.Len()) != n {
			a.Release()
			err = fmt.Errorf("%d rows where %d are told of", a.Len(), n)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("row group %d, column %s: %w", p.open.index, p.sch.Field(i).Name, err)
		}
		arrays[i] = a
	}
	first := p.open.firstRow + p.done
	p.done += n
	p.at = p.open.start + int64(float64(p.open.size)*float64(p.done)/float64(p.open.rows))
	return array.NewRecord(p.sch, arrays, n), first, nil
}

// read takes the next n rows of a column as one array.
func (p *parquetFile) read(c *pqarrow.ColumnReader, n int64) (arrow.Array, error) {
	chunks, err := c.NextBatch(n)
	if err != nil {
		return nil, err
	}
	defer chunks.Release()
	switch len(chunks.Chunks()) {
	case 0:
		return nil, io.ErrUnexpectedEOF
	case 1:
		a := chunks.Chunk(0)
		a.Retain()
		return a, nil
	}
	return array.Concatenate(chunks.Chunks(), p.mem)
}
