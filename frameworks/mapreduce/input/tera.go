package input

import (
	"fmt"
	"io"

	"fairway/frameworks/storage"
)

// teraReader reads records of 100 bytes. A record belongs to the split in which it starts.
type teraReader struct {
	src    *source
	space  []byte
	hi     int
	at     int   // next record in space
	base   int64 // file offset of space[0]
	next   int64 // file offset of the first byte not yet read
	limit  int64 // records that start at or beyond it are not ours; -1: none
	skip   int64 // bytes before our first record
	offset int64
}

func newTeraReader(src *source) *teraReader {
	r := &teraReader{src: src, next: src.start, limit: src.end}
	if rest := src.start % TeraRecord; rest != 0 {
		r.skip = TeraRecord - rest
	}
	return r
}

// Next returns one record of a 10-byte key and a 90-byte value.
func (r *teraReader) Next() (key, value []byte, err error) {
	if r.at == r.hi {
		if err := r.fill(); err != nil {
			return nil, nil, err
		}
	}
	p := r.space[r.at : r.at+TeraRecord : r.at+TeraRecord]
	r.offset = r.base + int64(r.at)
	r.at += TeraRecord
	return p[:TeraKey:TeraKey], p[TeraKey:], nil
}

// NextChunk returns many records back to back.
func (r *teraReader) NextChunk() ([]byte, int64, error) {
	if err := r.fill(); err != nil {
		return nil, 0, err
	}
	r.offset, r.at = r.base, r.hi
	return r.space[:r.hi], r.base, nil
}

// fill reads the next whole records into space.
func (r *teraReader) fill() error {
	if r.space == nil {
		r.space = make([]byte, chunkSize/TeraRecord*TeraRecord)
	}
	if r.skip > 0 {
		n, err := r.src.read(r.space[:r.skip], r.next)
		r.next += int64(n)
		if err == nil && int64(n) < r.skip {
			err = r.torn(r.next)
		}
		if err != nil {
			return err
		}
		r.skip = 0
	}
	want := int64(len(r.space))
	if r.limit >= 0 {
		records := (r.limit - r.next + TeraRecord - 1) / TeraRecord
		if records <= 0 {
			return io.EOF
		}
		want = min(want, records*TeraRecord)
	}
	n, err := r.src.read(r.space[:want], r.next)
	if err != nil {
		return err
	}
	if n%TeraRecord != 0 {
		return r.torn(r.next + int64(n))
	}
	r.base, r.at, r.hi = r.next, 0, n
	r.next += int64(n)
	return nil
}

func (r *teraReader) torn(size int64) error {
	return fmt.Errorf("%s: %w: the file ends at byte %d in the middle of a %d-byte record: it is no TeraSort data",
		r.src.url, storage.ErrCorrupt, size, TeraRecord)
}

func (r *teraReader) Pos() int64 {
	if r.src.counted != nil {
		return min(r.src.counted.n, r.src.splitBytes)
	}
	return min(max(r.base+int64(r.at)-r.src.start, 0), r.src.splitBytes)
}

func (r *teraReader) Offset() int64 { return r.offset }

func (r *teraReader) Close() error { return r.src.close() }
