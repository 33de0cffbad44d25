package run

import (
	"fmt"
	"hash/crc32"
)

// Verifier checks a segment that passes through it in pieces, as Verify does one in memory.
// It checks blocks, not the records in them; a Reader finds what is wrong there.
type Verifier struct {
	Length  int64 // of the segment
	Records int64 // in it

	seen    int64
	records int64
	head    [headerSize]byte
	nhead   int
	payload int // bytes of the current block still to come
	crc     uint32
	want    uint32
}

// Write takes the next piece; the error is ErrCorrupt.
func (v *Verifier) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if v.payload > 0 {
			k := min(v.payload, len(p))
			v.crc = crc32.Update(v.crc, castagnoli, p[:k])
			v.payload -= k
			v.seen += int64(k)
			p = p[k:]
			if v.payload == 0 && v.crc != v.want {
				return 0, fmt.Errorf("%w: checksum of a block", ErrCorrupt)
			}
			continue
		}
		k := copy(v.head[v.nhead:], p)
		v.nhead += k
		p = p[k:]
		if v.nhead < headerSize {
			break
		}
		h, err := parseHeader(v.head[:], v.Length-v.seen)
		if err != nil {
			return 0, err
		}
		if h.stored == 0 {
			return 0, fmt.Errorf("%w: empty block", ErrCorrupt)
		}
		v.nhead = 0
		v.seen += headerSize
		v.records += int64(h.records)
		v.payload, v.want = h.stored, h.crc
		v.crc = crc32.Checksum(v.head[:16], castagnoli)
	}
	return n, nil
}

// Close reports a segment that was cut or holds another number of records.
func (v *Verifier) Close() error {
	if v.seen != v.Length || v.payload != 0 || v.nhead != 0 {
		return fmt.Errorf("%w: segment was cut at %d of %d bytes", ErrCorrupt, v.seen, v.Length)
	}
	if v.records != v.Records {
		return fmt.Errorf("%w: %d records, expected %d", ErrCorrupt, v.records, v.Records)
	}
	return nil
}
