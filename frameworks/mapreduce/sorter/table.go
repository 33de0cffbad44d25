package sorter

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"unsafe"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
)

// slot of a table holds one key and its accumulator, two to a cache line. A key of at most 16 bytes lies in k0 and k1
// as it is; of a longer one k0 has the first eight bytes, k1 the hash, and off tells where all of it lies.
type slot struct {
	k0, k1 uint64
	acc    int64
	n      uint32 // length of the key plus one; 0: free
	off    uint32
}

const (
	slotSize   = 32
	firstSlots = 1 << 12
	inlineKey  = 16
)

// table is the Collector that combines in place: open addressing with linear probing. When it is full it is sorted
// and spilled as a whole.
type table struct {
	o       Options
	spills  *spills
	slots   []slot
	mask    uint64
	used    int
	limit   int    // of used, before the table grows or spills
	keys    []byte // long keys
	nkeys   int
	mem     *arena // of slots
	keyMem  *arena
	sum     bool // merge is addition
	lift    func(int64) int64
	sorter  entrySorter
	number  [24]byte
	records int64
	bytes   int64
	batch   [batchSize]waiting
	nbatch  int
	touched uint64
}

func newTable(o Options) (*table, error) {
	t := &table{o: o}
	t.spills = newSpills(&t.o)
	t.sum = o.InPlace == mapreduce.Sum.InPlace || o.InPlace == mapreduce.Count.InPlace
	t.lift = o.InPlace.Lift
	t.sorter.key = t.key
	var err error
	if t.keyMem, err = newArena(min(max(o.Memory/3, 4096), math.MaxUint32-1)); err != nil {
		return nil, err
	}
	t.keys = t.keyMem.mem
	if err = t.alloc(firstSlots); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// alloc sets the table to n free slots.
func (t *table) alloc(n int) error {
	a, err := newArena(int64(n) * slotSize)
	if err != nil {
		return err
	}
	t.mem, t.slots, t.mask, t.limit = a, sliceOf[slot](a), uint64(n-1), n*5/8
	return nil
}

// key returns the key of a slot. It relies on the machine being little-endian, as all that Fairway runs on are.
func (t *table) key(i uint32) []byte {
	s := &t.slots[i]
	n := s.n - 1
	if n <= inlineKey {
		return unsafe.Slice((*byte)(unsafe.Pointer(&s.k0)), n)
	}
	return t.keys[s.off:][:n:n]
}

func (t *table) Emit(key, value []byte) error {
	n, err := t.o.InPlace.Value(value)
	if err != nil {
		return fmt.Errorf("in-place combiner: key %.64q: %w", key, err)
	}
	return t.add(key, n, int64(len(value)))
}

// EmitInt puts the key into the batch of keys that wait for their slots: the slots of a whole batch are touched first,
// so that the misses of the cache overlap, which on a large vocabulary is half of the time.
func (t *table) EmitInt(key []byte, v int64) error {
	if t.lift != nil {
		v = t.lift(v)
	}
	n := uint64(len(key))
	if n > inlineKey || cap(key) < inlineKey {
		return t.add(key, v, 1)
	}
	t.bytes += int64(n) + 1
	// The bytes after the key belong to the same array: load whole words and cut them.
	p := unsafe.Pointer(unsafe.SliceData(key))
	m := &masks[n]
	k0 := *(*uint64)(p) & m[0]
	k1 := *(*uint64)(unsafe.Add(p, 8)) & m[1]
	w := &t.batch[t.nbatch&(batchSize-1)]
	w.k0, w.k1, w.h, w.acc, w.n = k0, k1, mapreduce.HashWords(k0, k1, n), v, uint32(n+1)
	if t.nbatch++; t.nbatch < batchSize {
		return nil
	}
	return t.settle()
}

// masks keep the first n bytes of sixteen.
var masks = func() (m [inlineKey + 1][2]uint64) {
	for n := range m {
		m[n][0] = 1<<(8*min(n, 8)) - 1
		m[n][1] = 1<<(8*max(n-8, 0)) - 1
	}
	return m
}()

// waiting is a short key on its way to its slot.
type waiting struct {
	k0, k1, h uint64
	acc       int64
	n         uint32 // length plus one
}

const batchSize = 32

func (t *table) add(key []byte, v, size int64) error {
	n := uint64(len(key))
	t.bytes += int64(n) + size
	if n > inlineKey {
		t.records++
		return t.addLong(key, v)
	}
	k0, k1 := mapreduce.Words(key)
	w := &t.batch[t.nbatch&(batchSize-1)]
	w.k0, w.k1, w.h, w.acc, w.n = k0, k1, mapreduce.HashWords(k0, k1, n), v, uint32(n+1)
	if t.nbatch++; t.nbatch < batchSize {
		return nil
	}
	return t.settle()
}

// settle brings the waiting keys to their slots.
func (t *table) settle() error {
	batch := t.batch[:t.nbatch]
	t.nbatch = 0
	t.records += int64(len(batch))
	var touched uint64
	for i := range batch {
		touched += t.slots[batch[i].h&t.mask].k0
	}
	t.touched = touched // or the compiler would leave the loop out
	for i := range batch {
		if t.place(&batch[i]) {
			if err := t.added(); err != nil {
				return err
			}
		}
	}
	return nil
}

// place merges one key into the table and reports whether it took a free slot.
func (t *table) place(w *waiting) bool {
	for i := w.h & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.k0 == w.k0 && s.k1 == w.k1 && s.n == w.n {
			if t.sum {
				s.acc += w.acc
			} else {
				s.acc = t.o.InPlace.Merge(s.acc, w.acc)
			}
			return false
		}
		if s.n == 0 {
			*s = slot{k0: w.k0, k1: w.k1, acc: w.acc, n: w.n}
			return true
		}
	}
}

func (t *table) addLong(key []byte, v int64) error {
	k0 := *(*uint64)(unsafe.Pointer(unsafe.SliceData(key)))
	h := mapreduce.Hash(key)
	for i := h & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.k1 == h && s.k0 == k0 && s.n == uint32(len(key)+1) && bytes.Equal(t.keys[s.off:][:len(key)], key) {
			s.acc = t.o.InPlace.Merge(s.acc, v)
			return nil
		}
		if s.n != 0 {
			continue
		}
		if t.nkeys+len(key) > len(t.keys) {
			return t.noRoom(key, v)
		}
		*s = slot{k0: k0, k1: h, acc: v, n: uint32(len(key) + 1), off: uint32(t.nkeys)}
		t.nkeys += copy(t.keys[t.nkeys:], key)
		return t.added()
	}
}

// noRoom makes room for a long key, or spills it alone.
func (t *table) noRoom(key []byte, v int64) error {
	if len(key) > run.MaxRecord-len(t.number) {
		return fmt.Errorf("%w: %d bytes, at most %d", run.ErrTooLong, len(key), run.MaxRecord)
	}
	if t.used > 0 {
		if err := t.spill(); err != nil {
			return err
		}
	}
	if len(key) <= len(t.keys) {
		return t.addLong(key, v)
	}
	part, err := t.o.partition(key)
	if err != nil {
		return err
	}
	if t.o.Cuts != nil {
		part = uint32(cutOf(t.o.Cuts, key))
	}
	return t.spills.add(func(w *run.Writer) error {
		if err := w.Partition(int(part)); err != nil {
			return err
		}
		return w.Append(key, strconv.AppendInt(t.number[:0], v, 10))
	})
}

// added counts one more slot in use, and grows or spills a table that is full.
func (t *table) added() error {
	t.used++
	if t.used < t.limit {
		return nil
	}
	t.count()
	n := len(t.slots)
	// While it grows both tables are there; while it is sorted there are two sets of entries.
	if int64(n)*3*slotSize+int64(len(t.keys)) <= t.o.Memory {
		return t.grow(2 * n)
	}
	return t.spill()
}

func (t *table) grow(n int) error {
	old, oldMem := t.slots, t.mem
	if err := t.alloc(n); err != nil {
		return err
	}
	for i := range old {
		s := &old[i]
		if s.n == 0 {
			continue
		}
		h := s.k1
		if s.n <= inlineKey+1 {
			h = mapreduce.HashWords(s.k0, s.k1, uint64(s.n-1))
		}
		at := h & t.mask
		for t.slots[at].n != 0 {
			at = (at + 1) & t.mask
		}
		t.slots[at] = *s
	}
	return oldMem.free()
}

func (t *table) count() {
	t.o.Counts.Records.Add(t.records)
	t.o.Counts.Bytes.Add(t.bytes)
	t.o.Counts.CombineInput.Add(t.records)
	t.records, t.bytes = 0, 0
}

// spill writes the table as a run and empties it.
func (t *table) spill() error {
	if err := t.spills.add(t.write); err != nil {
		return err
	}
	t.used, t.nkeys = 0, 0
	clear(t.slots)
	return nil
}

// write sorts the keys in use and writes them to w.
func (t *table) write(w *run.Writer) error {
	t.count()
	mem, err := newArena(int64(max(t.used, 1)) * 2 * entrySize)
	if err != nil {
		return err
	}
	defer mem.free()
	all := sliceOf[entry](mem)
	a, second := all[:0:t.used], all[t.used:][:t.used]
	for i := range t.slots {
		s := &t.slots[i]
		if s.n == 0 {
			continue
		}
		part, err := t.o.partition(t.key(uint32(i)))
		if err != nil {
			return err
		}
		a = append(a, newEntry(bits.ReverseBytes64(s.k0), uint32(i), part, int(s.n-1)))
	}
	parts := t.o.Partitions
	if t.o.Cuts != nil {
		parts = 1
	}
	t.sorter.sort(a, second, parts)
	err = t.o.ranges(a, t.key, func(p int, a []entry) error {
		if err := w.Partition(p); err != nil {
			return err
		}
		for i := range a {
			v := strconv.AppendInt(t.number[:0], t.slots[a[i].off].acc, 10)
			if err := w.Append(t.key(a[i].off), v); err != nil {
				return err
			}
		}
		return nil
	})
	t.o.Counts.CombineDone.Add(int64(len(a)))
	t.o.Counts.Spilled.Add(int64(len(a)))
	return err
}

func (t *table) Finish(path string) (run.Index, error) {
	if err := t.settle(); err != nil {
		return nil, err
	}
	if len(t.spills.files) == 0 {
		ix, err := writeRun(path, &t.o, t.write)
		return ix, errors.Join(err, t.free())
	}
	if t.used > 0 {
		if err := t.spill(); err != nil {
			return nil, err
		}
	}
	if err := t.free(); err != nil {
		return nil, err
	}
	return t.spills.merge(path)
}

func (t *table) free() error {
	err := errors.Join(t.mem.free(), t.keyMem.free())
	t.slots, t.keys = nil, nil
	return err
}

func (t *table) Close() error { return errors.Join(t.free(), t.spills.close()) }
