package columnar

import (
	"errors"

	"fairway/frameworks/storage"
)

// Reader reads the rows of one split of a columnar file.
type Reader struct{}

// OpenFile opens the part of a file whose row groups (record batches) start in [offset, offset+length).
func OpenFile(format Format, f storage.File, url string, offset, length, size int64) (*Reader, error) {
	return nil, errors.ErrUnsupported
}

// Next returns a row as key and value.
func (r *Reader) Next() (key, value []byte, err error) { return nil, nil, errors.ErrUnsupported }

// Pos returns the consumed bytes of the split.
func (r *Reader) Pos() int64 { return 0 }

// Offset returns the number of the row that Next last returned, from 0 in the file.
func (r *Reader) Offset() int64 { return 0 }

// Close releases all memory and closes the file.
func (r *Reader) Close() error { return nil }
