package run

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// blockSize is how much a block holds before compression, unless a single record is longer: small enough for the
// cache of one core, large enough for the checksum and a disk.
const blockSize = 128 << 10

// Writer writes a run. Records come sorted: partitions ascending, keys ascending within each. It does not check.
type Writer struct {
	w       io.Writer
	codec   Codec
	buf     []byte // headerSize bytes of room, then the records of the current block
	records int    // in buf, each as often as it stands there
	repeats bool   // of the current block and all that follow
	packed  []byte
	off     int64 // of the file
	index   Index
	part    int // current
	err     error
}

// NewWriter returns a writer of a run with so many partitions. It writes whole blocks to w.
func NewWriter(w io.Writer, partitions int, codec Codec) *Writer {
	return &Writer{
		w: w, codec: codec, index: make(Index, partitions),
		buf: make([]byte, headerSize, headerSize+blockSize+4096),
	}
}

// Partition says that the next records belong to partition p, which is not below the one before.
func (w *Writer) Partition(p int) error {
	if p == w.part {
		return w.err
	}
	if p < w.part || p >= len(w.index) {
		panic(fmt.Sprintf("run: partition %d after %d of %d", p, w.part, len(w.index)))
	}
	if err := w.flush(true); err != nil {
		return err
	}
	for w.part < p {
		w.part++
		w.index[w.part].Offset = w.off
	}
	return nil
}

// Append adds a record to the current partition.
func (w *Writer) Append(key, value []byte) error {
	n := len(key) + len(value)
	if n > MaxRecord {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, n, MaxRecord)
	}
	if err := w.room(n + 1 + 2*binary.MaxVarintLen32); err != nil {
		return err
	}
	b := w.buf
	if w.repeats {
		b = append(b, 1)
	}
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, key...)
	w.buf = append(b, value...)
	w.records++
	return nil
}

// AppendEncoded adds a record that is encoded already, as AppendRecord does.
func (w *Writer) AppendEncoded(record []byte) error {
	if err := w.room(len(record) + 1); err != nil {
		return err
	}
	if w.repeats {
		w.buf = append(w.buf, 1)
	}
	w.buf = append(w.buf, record...)
	w.records++
	return nil
}

// maxRepeats bounds how often a record is said to stand in one place, so that a block's number of records fits.
const maxRepeats = 1 << 31

// AppendRepeated adds a record n times, which takes hardly more room than once. record is encoded, as AppendRecord
// does.
func (w *Writer) AppendRepeated(record []byte, n int64) error {
	if !w.repeats && n > 0 {
		if err := w.flush(false); err != nil {
			return err
		}
		w.repeats = true
	}
	for n > 0 {
		k := min(n, maxRepeats)
		n -= k
		if err := w.room(len(record) + binary.MaxVarintLen32); err != nil {
			return err
		}
		if int64(w.records)+k > math.MaxUint32 {
			if err := w.flush(false); err != nil {
				return err
			}
		}
		w.buf = append(binary.AppendUvarint(w.buf, uint64(k)), record...)
		w.records += int(k)
	}
	return nil
}

// room ends the block if n more bytes do not fit.
func (w *Writer) room(n int) error {
	if len(w.buf)+n > headerSize+blockSize && w.records > 0 {
		return w.flush(false)
	}
	return w.err
}

// flush writes the current block, if it holds anything.
func (w *Writer) flush(last bool) error {
	if w.err != nil || w.records == 0 {
		return w.err
	}
	payload := w.buf[headerSize:]
	h := header{codec: None, last: last, repeats: w.repeats, raw: len(payload), stored: len(payload), records: w.records}
	out := w.buf
	if w.codec != None {
		if cap(w.packed) < headerSize {
			w.packed = make([]byte, headerSize)
		}
		packed, smaller, err := w.codec.compress(w.packed[:headerSize], payload)
		if err != nil {
			w.err = err
			return err
		}
		w.packed = packed
		if smaller {
			out, h.codec, h.stored = packed, w.codec, len(packed)-headerSize
		}
	}
	h.put(out[:headerSize], out[headerSize:])
	if _, err := w.w.Write(out); err != nil {
		w.err = fmt.Errorf("write run: %w", err)
		return w.err
	}
	w.off += int64(len(out))
	w.index[w.part].Length += int64(len(out))
	w.index[w.part].Records += int64(w.records)
	w.records = 0
	w.buf = w.buf[:headerSize]
	if cap(w.buf) > 4*blockSize { // a giant record passed: give its memory back
		w.buf = make([]byte, headerSize, headerSize+blockSize+4096)
	}
	return nil
}

// Close ends the last partition and writes the index. It does not close the underlying writer.
func (w *Writer) Close() (Index, error) {
	if len(w.index) == 0 {
		panic("run: no partitions")
	}
	if err := w.flush(true); err != nil {
		return nil, err
	}
	for w.part+1 < len(w.index) {
		w.part++
		w.index[w.part].Offset = w.off
	}
	if _, err := w.w.Write(appendIndex(nil, w.index)); err != nil {
		w.err = fmt.Errorf("write index of run: %w", err)
		return nil, w.err
	}
	return w.index, nil
}

// AppendRecord appends the encoded form of a record.
func AppendRecord(b, key, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(b, key...)
	return append(b, value...)
}
