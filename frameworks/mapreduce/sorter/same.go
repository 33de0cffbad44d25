package sorter

import (
	"encoding/binary"
	"math"
	"math/bits"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
)

// countSize is what stands before each record of a buffer that looks for repeats: how often it was emitted.
const countSize = 4

const (
	mostSlots = 1 << 18
	trial     = 1 << 16 // records after which it is judged whether looking pays
)

// sameRecords finds records that repeat the one last emitted with their key, as a mapper's "word 1" do: they are
// counted instead of kept. A record that differs from the last one of its key is kept, so records of one key stay in
// the order in which they came. What was emitted last is remembered in one slot for each hash; a key that loses its
// slot to another costs a record that could have been saved, no more.
type sameRecords struct {
	last    []uint32 // where the last record of each hash lies, 0: none
	shift   uint
	looking bool
	found   bool // a record has a count over one
	tries   int
	hits    int
}

func newSameRecords(memory int64) *sameRecords {
	width := min(bits.Len64(uint64(memory/64)), bits.Len(mostSlots)-1)
	return &sameRecords{last: make([]uint32, 1<<width), shift: uint(64 - width), looking: true}
}

// reset forgets all, as the buffer has been emptied; what comes next may be of another kind.
func (s *sameRecords) reset() {
	clear(s.last)
	s.looking, s.found, s.tries, s.hits = true, false, 0, 0
}

// slot returns where the last record of a key is remembered.
func (s *sameRecords) slot(key []byte) *uint32 {
	if s.tries++; s.tries == trial {
		// Looking costs a third of what keeping a record does.
		s.looking = s.hits >= s.tries/4
		s.tries, s.hits = 0, 0
	}
	return &s.last[mapreduce.Hash(key)>>s.shift]
}

// look is how many records are looked for at once, so that the misses of the cache overlap.
const look = 32

// EmitAll is Emit for records whose keys and values stay as they are until it returns; it takes half the time if
// they repeat.
func (b *buffer) EmitAll(keys, values [][]byte) error {
	var slots [look]*uint32
	for len(keys) > 0 && b.same != nil && b.same.looking {
		n := min(look, len(keys))
		for i, key := range keys[:n] {
			slots[i] = b.same.slot(key)
		}
		var touched byte
		for _, slot := range slots[:n] {
			touched += b.data[*slot]
		}
		b.touched = touched // or the compiler would leave the loop out
		for i, slot := range slots[:n] {
			if err := b.emitOnce(keys[i], values[i], slot); err != nil {
				return err
			}
		}
		keys, values = keys[n:], values[n:]
	}
	for i, key := range keys {
		if err := b.Emit(key, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// emitOnce counts a record that is the last one of its key, and keeps another.
func (b *buffer) emitOnce(key, value []byte, last *uint32) error {
	if b.same.again(b.data, *last, key, value) {
		b.emitted(len(key) + len(value))
		return nil
	}
	return b.keep(key, value, last)
}

// again counts the record at off once more, if it is this one, and reports whether it is.
func (s *sameRecords) again(data []byte, off uint32, key, value []byte) bool {
	if off == 0 || len(key) >= 0x80 || len(value) >= 0x80 {
		return false
	}
	k, v := len(key), len(value)
	d := data[off-countSize:]
	if int(d[countSize]) != k || int(d[countSize+1]) != v {
		return false
	}
	r := d[countSize+2:][:k+v]
	if string(r[:k]) != string(key) || string(r[k:]) != string(value) {
		return false
	}
	n := binary.LittleEndian.Uint32(d)
	if n == math.MaxUint32 {
		return false
	}
	binary.LittleEndian.PutUint32(d, n+1)
	s.found = true
	s.hits++
	return true
}

// writeRepeated writes sorted records with how often they stand there.
func (b *buffer) writeRepeated(w *run.Writer, a []entry) error {
	var records int64
	for i := range a {
		if i%gather == 0 {
			b.touch(a[i:min(i+gather, len(a))])
		}
		off := a[i].off
		n := int64(binary.LittleEndian.Uint32(b.data[off-countSize:]))
		records += n
		if err := w.AppendRepeated(recordAt(b.data, off), n); err != nil {
			return err
		}
	}
	b.o.Counts.Spilled.Add(records)
	return nil
}
