package run

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// A run file is: the segments of partitions 0, 1, ... one after another, then the index, then the trailer.
// A segment is a sequence of blocks; an empty partition has none. All numbers are little-endian.
//
//	block    "FR", codec (1 byte), flags (1 byte: 1 is the last of its segment, 2 has repeats), raw length (4),
//	         stored length (4), records (4), CRC32C (4) of the 16 bytes before it and the payload; then the payload
//	payload  records, each: uvarint length of key, uvarint length of value, key, value; perhaps compressed as a whole.
//	         In a block with repeats a uvarint before each says how often it stands there, and the block's number of
//	         records counts each of these
//	index    for each partition: uvarint offset, uvarint length, uvarint records
//	trailer  partitions (4), length of index (4), CRC32C (4) of these 8 bytes and the index, "FRUN" (4)
const (
	headerSize  = 20
	trailerSize = 16
	flagLast    = 1
	flagRepeats = 2

	// MaxRecord bounds key and value together, in bytes; MaxBlock a block before compression.
	MaxRecord = 256 << 20
	MaxBlock  = MaxRecord + 1<<20
	// MaxPartitions bounds the index.
	MaxPartitions = 1 << 20
)

var (
	// ErrCorrupt marks bytes that are no run, or a run that was damaged or cut.
	ErrCorrupt = errors.New("corrupt run")
	// ErrTooLong marks a record over MaxRecord.
	ErrTooLong = errors.New("record too long")

	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	trailerMagic = [4]byte{'F', 'R', 'U', 'N'}
)

// Range is where a segment lies in its file.
type Range struct {
	Offset, Length, Records int64
}

// Index holds the range of each partition.
type Index []Range

// header describes one block.
type header struct {
	codec       Codec
	last        bool
	repeats     bool
	raw, stored int
	records     int
	crc         uint32
}

// put writes the header for payload into b, which has headerSize bytes.
func (h header) put(b, payload []byte) {
	b[0], b[1], b[2], b[3] = 'F', 'R', byte(h.codec), 0
	if h.last {
		b[3] = flagLast
	}
	if h.repeats {
		b[3] |= flagRepeats
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(h.raw))
	binary.LittleEndian.PutUint32(b[8:], uint32(h.stored))
	binary.LittleEndian.PutUint32(b[12:], uint32(h.records))
	binary.LittleEndian.PutUint32(b[16:], checksum(b[:16], payload))
}

// parseHeader reads a header of a segment that has rest bytes left, the header among them.
func parseHeader(b []byte, rest int64) (header, error) {
	if len(b) < headerSize {
		return header{}, fmt.Errorf("%w: cut inside a block header", ErrCorrupt)
	}
	h := header{
		codec:   Codec(b[2]),
		last:    b[3]&flagLast != 0,
		repeats: b[3]&flagRepeats != 0,
		raw:     int(binary.LittleEndian.Uint32(b[4:])),
		stored:  int(binary.LittleEndian.Uint32(b[8:])),
		records: int(binary.LittleEndian.Uint32(b[12:])),
		crc:     binary.LittleEndian.Uint32(b[16:]),
	}
	switch {
	case b[0] != 'F' || b[1] != 'R' || b[3] > flagLast|flagRepeats:
		return h, fmt.Errorf("%w: no block header", ErrCorrupt)
	case h.codec > Zstd:
		return h, fmt.Errorf("%w: codec %d is not known", ErrCorrupt, h.codec)
	case h.raw > MaxBlock || h.records > h.raw/2 && !h.repeats || h.records == 0:
		return h, fmt.Errorf("%w: block of %d bytes and %d records", ErrCorrupt, h.raw, h.records)
	case int64(h.stored) > rest-headerSize:
		return h, fmt.Errorf("%w: block of %d stored bytes where %d are left", ErrCorrupt, h.stored, rest-headerSize)
	case h.last != (int64(h.stored) == rest-headerSize):
		return h, fmt.Errorf("%w: segment was cut or runs on", ErrCorrupt)
	case h.codec == None && h.raw != h.stored:
		return h, fmt.Errorf("%w: plain block of %d bytes stored in %d", ErrCorrupt, h.raw, h.stored)
	}
	return h, nil
}

func checksum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

// appendIndex appends index and trailer.
func appendIndex(b []byte, ix Index) []byte {
	start := len(b)
	for _, r := range ix {
		b = binary.AppendUvarint(b, uint64(r.Offset))
		b = binary.AppendUvarint(b, uint64(r.Length))
		b = binary.AppendUvarint(b, uint64(r.Records))
	}
	body := b[start:]
	var t [trailerSize]byte
	binary.LittleEndian.PutUint32(t[0:], uint32(len(ix)))
	binary.LittleEndian.PutUint32(t[4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(t[8:], checksum(t[:8], body))
	copy(t[12:], trailerMagic[:])
	return append(b, t[:]...)
}

// ReadIndex reads the index of a run file of size bytes.
func ReadIndex(r io.ReaderAt, size int64) (Index, error) {
	var t [trailerSize]byte
	if size < trailerSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, size)
	}
	if _, err := r.ReadAt(t[:], size-trailerSize); err != nil {
		return nil, fmt.Errorf("read trailer of run: %w", err)
	}
	n, length := int64(binary.LittleEndian.Uint32(t[0:])), int64(binary.LittleEndian.Uint32(t[4:]))
	if [4]byte(t[12:]) != trailerMagic || n > MaxPartitions || length > size-trailerSize ||
		length < 3*n || length > 3*n*binary.MaxVarintLen64 {
		return nil, fmt.Errorf("%w: no trailer", ErrCorrupt)
	}
	body := make([]byte, length)
	if _, err := r.ReadAt(body, size-trailerSize-length); err != nil {
		return nil, fmt.Errorf("read index of run: %w", err)
	}
	if checksum(t[:8], body) != binary.LittleEndian.Uint32(t[8:]) {
		return nil, fmt.Errorf("%w: checksum of index", ErrCorrupt)
	}
	return parseIndex(body, int(n), size-trailerSize-length)
}

// parseIndex checks that the n segments follow each other and fill the bytes before the index.
func parseIndex(b []byte, n int, end int64) (Index, error) {
	ix := make(Index, n)
	var at int64
	for i := range ix {
		for _, p := range []*int64{&ix[i].Offset, &ix[i].Length, &ix[i].Records} {
			v, k := binary.Uvarint(b)
			if k <= 0 || v > math.MaxInt64 {
				return nil, fmt.Errorf("%w: index entry %d", ErrCorrupt, i)
			}
			*p, b = int64(v), b[k:]
		}
		if ix[i].Offset != at || ix[i].Length > end-at || (ix[i].Length == 0) != (ix[i].Records == 0) {
			return nil, fmt.Errorf("%w: index entry %d", ErrCorrupt, i)
		}
		at += ix[i].Length
	}
	if at != end || len(b) != 0 {
		return nil, fmt.Errorf("%w: index does not cover the file", ErrCorrupt)
	}
	return ix, nil
}
