package run

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Reader reads one segment, record by record. Key and Value are valid until the next call of Next.
type Reader struct {
	Key, Value []byte

	src     io.Reader // nil: bytes in memory
	mem     []byte    // the rest of an in-memory segment
	rest    int64     // bytes of the segment not yet taken from src or mem
	records int64     // not yet returned, of the whole segment
	trusted bool      // checksums were verified before

	block   []byte // rest of the current block's records
	count   int    // records left in block
	again   int    // of count, those that are the current record once more
	repeats bool   // of the current block
	stored  []byte
	raw     []byte
	err     error
	closer  io.Closer
}

// NewReader reads a segment of so many bytes and records from src, a block at a time; src is closed by Close if it
// is an io.Closer.
func NewReader(src io.Reader, length, records int64) *Reader {
	c, _ := src.(io.Closer)
	return &Reader{src: src, rest: length, records: records, closer: c}
}

// NewBytesReader reads a segment in memory, without copying it. trusted says that Verify has passed.
func NewBytesReader(b []byte, records int64, trusted bool) *Reader {
	return &Reader{mem: b, rest: int64(len(b)), records: records, trusted: trusted}
}

// Next moves to the next record and reports whether there is one; if not see Err.
func (r *Reader) Next() bool {
	if r.again > 0 {
		r.again--
		r.count--
		return true
	}
	if r.count == 0 && !r.nextBlock() {
		return false
	}
	if r.repeats && !r.readRepeats() {
		return false
	}
	b := r.block
	if len(b) >= 2 && b[0] < 0x80 && b[1] < 0x80 { // short key and value: nearly all
		k, v := int(b[0]), int(b[1])
		if k+v <= len(b)-2 {
			r.Key, r.Value = b[2:2+k:2+k], b[2+k:2+k+v:2+k+v]
			r.block = b[2+k+v:]
			r.count--
			return true
		}
	}
	return r.longRecord()
}

// readRepeats takes how often the next record stands there.
func (r *Reader) readRepeats() bool {
	n, k := binary.Uvarint(r.block)
	if k <= 0 || n == 0 || n > uint64(r.count) {
		return r.fail(fmt.Errorf("%w: a record stands %d times where %d are left", ErrCorrupt, n, r.count))
	}
	r.again, r.block = int(n-1), r.block[k:]
	return true
}

// Repeats returns how often the current record stands there once more, and moves past all of these.
func (r *Reader) Repeats() int64 {
	n := r.again
	r.again = 0
	r.count -= n
	return int64(n)
}

// Buffered reports whether the next record lies in memory already: then Key and Value stay as they are when Next moves
// on to it.
func (r *Reader) Buffered() bool { return r.count > 0 }

func (r *Reader) longRecord() bool {
	k, v, n := recordLengths(r.block)
	if n == 0 || k+v > uint64(len(r.block)-n) {
		return r.fail(fmt.Errorf("%w: record exceeds its block", ErrCorrupt))
	}
	b := r.block[n:]
	r.Key, r.Value = b[:k:k], b[k:k+v:k+v]
	r.block = b[k+v:]
	r.count--
	return true
}

// recordLengths returns the lengths of key and value of the record that starts b, and the length of these lengths;
// n is 0 if they are no record's.
func recordLengths(b []byte) (k, v uint64, n int) {
	k, n0 := binary.Uvarint(b)
	if n0 <= 0 || k > MaxRecord {
		return 0, 0, 0
	}
	v, n1 := binary.Uvarint(b[n0:])
	if n1 <= 0 || v > MaxRecord {
		return 0, 0, 0
	}
	return k, v, n0 + n1
}

func (r *Reader) fail(err error) bool {
	if r.err == nil {
		r.err = err
	}
	r.count, r.again, r.block, r.Key, r.Value = 0, 0, nil, nil, nil
	return false
}

// nextBlock reads blocks until one has a record.
func (r *Reader) nextBlock() bool {
	switch {
	case r.err != nil:
		return false
	case len(r.block) != 0:
		return r.fail(fmt.Errorf("%w: %d bytes after the last record of a block", ErrCorrupt, len(r.block)))
	case r.rest == 0 && r.records != 0:
		return r.fail(fmt.Errorf("%w: %d records are missing", ErrCorrupt, r.records))
	case r.rest == 0:
		r.Key, r.Value = nil, nil
		return false
	}
	head, err := r.take(headerSize)
	if err != nil {
		return r.fail(err)
	}
	h, err := parseHeader(head, r.rest+int64(len(head)))
	if err != nil {
		return r.fail(err)
	}
	var hb [16]byte
	copy(hb[:], head)
	payload, err := r.take(h.stored)
	if err != nil {
		return r.fail(err)
	}
	if !r.trusted && checksum(hb[:], payload) != h.crc {
		return r.fail(fmt.Errorf("%w: checksum of a block", ErrCorrupt))
	}
	if int64(h.records) > r.records {
		return r.fail(fmt.Errorf("%w: more records than announced", ErrCorrupt))
	}
	if h.codec != None {
		if cap(r.raw) < h.raw {
			r.raw = make([]byte, h.raw)
		}
		if err := h.codec.decompress(r.raw[:h.raw], payload); err != nil {
			return r.fail(fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
		payload = r.raw[:h.raw]
	}
	r.records -= int64(h.records)
	r.block, r.count, r.repeats = payload, h.records, h.repeats
	return true
}

// take returns the next n bytes of the segment; they are valid until the next call.
func (r *Reader) take(n int) ([]byte, error) {
	if int64(n) > r.rest {
		return nil, fmt.Errorf("%w: segment was cut", ErrCorrupt)
	}
	r.rest -= int64(n)
	if r.src == nil {
		b := r.mem[:n:n]
		r.mem = r.mem[n:]
		return b, nil
	}
	if cap(r.stored) < n {
		r.stored = make([]byte, n, max(n, min(int(min(r.rest, blockSize))+4096, 2*blockSize)))
	}
	b := r.stored[:n]
	if _, err := io.ReadFull(r.src, b); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("%w: segment was cut", ErrCorrupt)
		}
		return nil, fmt.Errorf("read run: %w", err)
	}
	return b, nil
}

// Err is why Next returned false: nil at the end of a whole segment.
func (r *Reader) Err() error { return r.err }

// Close closes the source.
func (r *Reader) Close() error {
	r.block, r.count, r.again, r.mem, r.rest = nil, 0, 0, nil, 0
	if r.err == nil {
		r.err = fmt.Errorf("read run: %w", io.ErrClosedPipe)
	}
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

// Verify checks the blocks of a segment in memory: their order, lengths, checksums and number of records.
func Verify(segment []byte, records int64) error {
	v := Verifier{Length: int64(len(segment)), Records: records}
	if _, err := v.Write(segment); err != nil {
		return err
	}
	return v.Close()
}
