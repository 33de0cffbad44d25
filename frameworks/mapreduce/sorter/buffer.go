package sorter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"fairway/frameworks/mapreduce/run"
)

const entrySize = 16

// buffer is the Collector that sorts: encoded records one after another in an arena, and an entry for each.
type buffer struct {
	o       Options
	spills  *spills
	arenas  [3]*arena // records, entries, the sorter's second set of entries
	data    []byte
	entries []entry
	second  []entry
	used    int // of data
	n       int // of entries
	bytes   int64
	records int          // emitted since the counters were brought up to date
	same    *sameRecords // nil: not looked for
	sorter  entrySorter
	number  [24]byte
	touched byte
}

func newBuffer(o Options) (*buffer, error) {
	b := &buffer{o: o}
	b.spills = newSpills(&b.o)
	sizes := [3]int64{min(o.Memory, math.MaxUint32-1), o.Memory/2 + entrySize, o.Memory/2 + entrySize}
	for i, size := range sizes {
		a, err := newArena(size)
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		b.arenas[i] = a
	}
	b.data = b.arenas[0].mem
	b.entries, b.second = sliceOf[entry](b.arenas[1]), sliceOf[entry](b.arenas[2])
	if o.Combine == nil && o.Cuts == nil {
		b.same = newSameRecords(o.Memory)
	}
	b.sorter.key = func(off uint32) []byte { return keyAt(b.data, off) }
	return b, nil
}

func (b *buffer) EmitInt(key []byte, n int64) error {
	return b.Emit(key, strconv.AppendInt(b.number[:0], n, 10))
}

func (b *buffer) Emit(key, value []byte) error {
	if b.same != nil && b.same.looking {
		return b.emitOnce(key, value, b.same.slot(key))
	}
	return b.keep(key, value, nil)
}

// keep adds a record, and puts where it lies into last if that is not nil.
func (b *buffer) keep(key, value []byte, last *uint32) error {
	k, v := len(key), len(value)
	need := k + v + 2
	if k >= 0x80 || v >= 0x80 {
		need = k + v + 2*binary.MaxVarintLen32
	}
	if b.same != nil {
		need += countSize
	}
	// A record costs its bytes and an entry in each of the two sets.
	if b.used+need > len(b.data) || int64(b.used+need)+int64(b.n+1)*2*entrySize > b.o.Memory {
		if k+v > run.MaxRecord {
			return fmt.Errorf("%w: %d bytes, at most %d", run.ErrTooLong, k+v, run.MaxRecord)
		}
		if err := b.spill(); err != nil {
			return err
		}
		if int64(need)+2*entrySize > b.o.Memory || need > len(b.data) {
			return b.alone(key, value)
		}
	}
	part, err := b.o.partition(key)
	if err != nil {
		return err
	}
	if b.same != nil {
		binary.LittleEndian.PutUint32(b.data[b.used:], 1)
		b.used += countSize
		need -= countSize
	}
	at := b.used
	if last != nil {
		*last = uint32(at)
	}
	d := b.data[at : at+need]
	if k < 0x80 && v < 0x80 {
		d[0], d[1] = byte(k), byte(v)
		copy(d[2:], key)
		copy(d[2+k:], value)
		b.used = at + need
	} else {
		n := binary.PutUvarint(d, uint64(k))
		n += binary.PutUvarint(d[n:], uint64(v))
		n += copy(d[n:], key)
		n += copy(d[n:], value)
		b.used = at + n
	}
	b.entries[b.n] = newEntry(prefixOf(key), uint32(at), part, k)
	b.n++
	b.emitted(k + v)
	return nil
}

// emitted counts a record.
func (b *buffer) emitted(size int) {
	b.bytes += int64(size)
	if b.records++; b.records == 4096 {
		b.count()
	}
}

// count brings the counters up to date.
func (b *buffer) count() {
	b.o.Counts.Records.Add(int64(b.records))
	b.o.Counts.Bytes.Add(b.bytes)
	b.records, b.bytes = 0, 0
}

// alone spills a record that is larger than the whole budget.
func (b *buffer) alone(key, value []byte) error {
	part, err := b.o.partition(key)
	if err != nil {
		return err
	}
	if b.o.Cuts != nil {
		part = uint32(cutOf(b.o.Cuts, key))
	}
	b.o.Counts.Records.Add(1)
	b.o.Counts.Bytes.Add(int64(len(key) + len(value)))
	return b.spills.add(func(w *run.Writer) error {
		if err := w.Partition(int(part)); err != nil {
			return err
		}
		b.o.Counts.Spilled.Add(1)
		return w.Append(key, value)
	})
}

// spill sorts what is there and writes it as a run of its own.
func (b *buffer) spill() error {
	if b.n == 0 {
		return nil
	}
	if err := b.spills.add(b.write); err != nil {
		return err
	}
	return nil
}

// write sorts the records, writes them to w and empties the buffer.
func (b *buffer) write(w *run.Writer) error {
	b.count()
	a := b.entries[:b.n]
	parts := b.o.Partitions
	if b.o.Cuts != nil {
		parts = 1
	}
	b.sorter.sort(a, b.second[:b.n], parts)
	err := b.o.ranges(a, b.sorter.key, func(p int, a []entry) error {
		if err := w.Partition(p); err != nil {
			return err
		}
		if b.o.Combine != nil {
			return b.spills.combine(&sortedRecords{data: b.data, a: a}, w)
		}
		if b.same != nil && b.same.found {
			return b.writeRepeated(w, a)
		}
		for i := range a {
			if i%gather == 0 {
				b.touch(a[i:min(i+gather, len(a))])
			}
			if err := w.AppendEncoded(recordAt(b.data, a[i].off)); err != nil {
				return err
			}
		}
		b.o.Counts.Spilled.Add(int64(len(a)))
		return nil
	})
	b.n, b.used = 0, 0
	if b.same != nil {
		b.same.reset()
	}
	return err
}

// gather is how many records are touched before they are copied, so that the misses of the cache overlap.
const gather = 32

func (b *buffer) touch(a []entry) {
	var sum byte
	for i := range a {
		sum += b.data[a[i].off]
	}
	b.touched = sum // or the compiler would leave the loop out
}

func (b *buffer) Finish(path string) (run.Index, error) {
	if len(b.spills.files) == 0 {
		ix, err := writeRun(path, &b.o, b.write)
		return ix, errors.Join(err, b.free())
	}
	if err := b.spill(); err != nil {
		return nil, err
	}
	if err := b.free(); err != nil {
		return nil, err
	}
	return b.spills.merge(path)
}

// free returns the memory before a merge needs some.
func (b *buffer) free() error {
	var errs []error
	for _, a := range b.arenas {
		errs = append(errs, a.free())
	}
	b.data, b.entries, b.second = nil, nil, nil
	return errors.Join(errs...)
}

func (b *buffer) Close() error { return errors.Join(b.free(), b.spills.close()) }

// sortedRecords reads the records of sorted entries.
type sortedRecords struct {
	data []byte
	a    []entry
}

func (s *sortedRecords) Next() (key, value []byte, err error) {
	if len(s.a) == 0 {
		return nil, nil, io.EOF
	}
	key, value = splitRecord(s.data, s.a[0].off)
	s.a = s.a[1:]
	return key, value, nil
}
