package columnar

import (
	"fmt"

	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
)

// Columns of structs and lists pqarrow reads in goroutines of its own, where a panic over damaged bytes is beyond
// recovery and ends the process. So a row group that has such columns is read twice: first here, value by value in the
// caller's goroutine, where what would panic there becomes an error.

// trialRows is how many values are decoded at a time.
const trialRows = 4 << 10

// try decodes every page of the nested columns of a row group.
func (p *parquetFile) try(g group) error {
	defs, reps := make([]int16, trialRows), make([]int16, trialRows)
	for c := range p.leaves {
		if p.flat[c] {
			continue
		}
		pages, err := p.r.RowGroup(g.index).GetColumnPageReader(c)
		if err == nil {
			err = decode(file.NewColumnReader(p.r.MetaData().Schema.Column(c), pages, p.mem, p.r.BufferPool()), defs, reps)
		}
		if err != nil {
			return fmt.Errorf("row group %d, column %d: %w", g.index, c, err)
		}
	}
	return nil
}

func decode(r file.ColumnChunkReader, defs, reps []int16) error {
	switch r := r.(type) {
	case *file.BooleanColumnChunkReader:
		return drain[bool](r, defs, reps)
	case *file.Int32ColumnChunkReader:
		return drain[int32](r, defs, reps)
	case *file.Int64ColumnChunkReader:
		return drain[int64](r, defs, reps)
	case *file.Int96ColumnChunkReader:
		return drain[parquet.Int96](r, defs, reps)
	case *file.Float32ColumnChunkReader:
		return drain[float32](r, defs, reps)
	case *file.Float64ColumnChunkReader:
		return drain[float64](r, defs, reps)
	case *file.ByteArrayColumnChunkReader:
		return drain[parquet.ByteArray](r, defs, reps)
	case *file.FixedLenByteArrayColumnChunkReader:
		return drain[parquet.FixedLenByteArray](r, defs, reps)
	}
	return fmt.Errorf("values of an unknown kind: %T", r)
}

func drain[T any](r interface {
	HasNext() bool
	Err() error
	ReadBatch(int64, []T, []int16, []int16) (int64, int, error)
}, defs, reps []int16) error {
	values := make([]T, trialRows)
	for r.HasNext() {
		n, _, err := r.ReadBatch(trialRows, values, defs, reps)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	return r.Err()
}
