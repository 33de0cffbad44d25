package spark

import (
	"encoding/binary"
	"fmt"
	"os"

	"fairway/adapters/recent"
)

// An index file is the offsets of a map's partitions in its data file, and one more for the end, as big-endian int64s.
type index []byte

// span is what a partition run [from, to) covers.
func (x index) span(from, to int32) (start, end int64, err error) {
	return spanOf(int64(len(x)), from, to, func(b []byte, at int64) error { copy(b, x[at:]); return nil })
}

func spanOf(size int64, from, to int32, read func(b []byte, at int64) error) (start, end int64, err error) {
	if size%8 != 0 || size < 16 {
		return 0, 0, fmt.Errorf("index file of %d bytes", size)
	}
	if n := size/8 - 1; from < 0 || to <= from || int64(to) > n {
		return 0, 0, fmt.Errorf("no partitions %d to %d, the map has %d", from, to, n)
	}
	var b [8]byte
	if err := read(b[:], int64(from)*8); err != nil {
		return 0, 0, err
	}
	start = int64(binary.BigEndian.Uint64(b[:]))
	if err := read(b[:], int64(to)*8); err != nil {
		return 0, 0, err
	}
	end = int64(binary.BigEndian.Uint64(b[:]))
	if start < 0 || end < start {
		return 0, 0, fmt.Errorf("index file says that partitions %d to %d are from %d to %d", from, to, start, end)
	}
	return start, end, nil
}

// indexes keeps those that were last used. A map's output never changes, as no two attempts of a task have one id.
type indexes struct{ *recent.Cache[index] }

// span looks a run of partitions up. Of an index that is too large to keep, only what is asked for is read.
func (c indexes) span(reg registration, path string, from, to int32) (start, end int64, err error) {
	k := recent.Key{Job: reg.Application, Name: path}
	if x, ok := c.Get(k); ok {
		return x.span(from, to)
	}
	f, size, err := openOwned(reg.Dirs, path, reg.UID)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	if !c.Fits(size) {
		return spanOf(size, from, to, func(b []byte, at int64) error { return readAt(f, b, at) })
	}
	x := make(index, size)
	if err := readAt(f, x, 0); err != nil {
		return 0, 0, err
	}
	if start, end, err = x.span(from, to); err == nil {
		c.Put(k, x, len(x))
	}
	return start, end, err
}

func readAt(f *os.File, b []byte, at int64) error {
	if _, err := f.ReadAt(b, at); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}
