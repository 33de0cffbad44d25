package sorter

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// entry stands for one record of a buffer: sorting moves these 16 bytes and leaves the record where it is.
type entry struct {
	prefix uint64 // the key's first eight bytes, big-endian, padded with zeros
	off    uint32 // where the record is: its offset in an arena, or its slot in a table
	part   uint32 // the partition, shifted left by lengthBits, and the key's length, at most longKey
}

const (
	lengthBits = 8
	longKey    = 1<<lengthBits - 1
)

// newEntry makes the entry of a record.
func newEntry(prefix uint64, off, part uint32, keyLength int) entry {
	return entry{prefix, off, part<<lengthBits | uint32(min(keyLength, longKey))}
}

func (e entry) partition() uint32 { return e.part >> lengthBits }

// length of the key; longKey means that or more.
func (e entry) length() uint32 { return e.part & longKey }

// prefixOf returns the first eight bytes of a key so that integers compare as the bytes do.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var p uint64
	for i, c := range key {
		p |= uint64(c) << (56 - 8*i)
	}
	return p
}

// keyAt returns the key of the encoded record at off.
func keyAt(data []byte, off uint32) []byte {
	b := data[off:]
	if b[0] < 0x80 && b[1] < 0x80 {
		return b[2 : 2+int(b[0])]
	}
	k, n0 := binary.Uvarint(b)
	_, n1 := binary.Uvarint(b[n0:])
	return b[n0+n1:][:k]
}

// recordAt returns the whole encoded record at off.
func recordAt(data []byte, off uint32) []byte {
	b := data[off:]
	if b[0] < 0x80 && b[1] < 0x80 {
		return b[:2+int(b[0])+int(b[1])]
	}
	k, n0 := binary.Uvarint(b)
	v, n1 := binary.Uvarint(b[n0:])
	return b[:n0+n1+int(k)+int(v)]
}

// splitRecord returns key and value of the encoded record at off.
func splitRecord(data []byte, off uint32) (key, value []byte) {
	b := data[off:]
	k, n0 := binary.Uvarint(b)
	v, n1 := binary.Uvarint(b[n0:])
	b = b[n0+n1:]
	return b[:k:k], b[k : k+v : k+v]
}

const (
	insertionMax = 40 // below this many entries insertion sort wins
	widestDigit  = 18 // bits of the widest radix digit: its counters still fit a core's cache
	deepest      = 64 // bytes of keys that are sorted by radix; what is equal so far is compared
)

// entrySorter sorts entries by (partition, key, order of arrival): one counting pass over the partitions, then MSD
// radix passes over the prefixes, whose digit is about as wide as the logarithm of the entries so that keys that
// are spread evenly need one pass. Entries of one prefix go on with the next eight bytes of their keys as prefix; most
// need not be looked at again, as entries know whether their keys are longer.
type entrySorter struct {
	key    func(off uint32) []byte // of the record that an entry's off names
	counts [][]uint32              // one set of counters per depth
}

// sort sorts a with the help of tmp, which is as long. The result is in a; the prefixes have changed.
func (s *entrySorter) sort(a, tmp []entry, partitions int) {
	if partitions <= 1 {
		s.msd(a, tmp, place{}, false)
		return
	}
	ends := make([]uint32, partitions)
	for i := range a {
		ends[a[i].partition()]++
	}
	var sum uint32
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	for i := range a {
		p := &ends[a[i].partition()]
		tmp[*p] = a[i]
		*p++
	}
	var start uint32
	for _, end := range ends {
		s.msd(tmp[start:end], a[start:end], place{}, true)
		start = end
	}
}

// place is how far the keys of some entries are known to be equal.
type place struct {
	base  uint32 // bytes before the prefix
	bit   uint   // bits of the prefix
	depth int    // of recursion
}

// msd sorts src by what comes after at. The result goes to dst if toDst, else it stays in src.
func (s *entrySorter) msd(src, dst []entry, at place, toDst bool) {
	n := len(src)
	if n <= insertionMax {
		s.insertion(src, at.base)
		if toDst {
			copy(dst, src)
		}
		return
	}
	if at.bit >= 64 {
		if s.deeper(src, at.base) {
			s.msd(src, dst, place{base: at.base + 8, depth: at.depth}, toDst)
		} else if toDst {
			copy(dst, src)
		}
		return
	}
	width := min(uint(min(max(bits.Len(uint(n))-3, 8), widestDigit)), 64-at.bit)
	shift := 64 - at.bit - width
	mask := uint64(1)<<width - 1
	counts := s.counters(at.depth, 1<<width)
	for i := range src {
		counts[src[i].prefix>>shift&mask]++
	}
	at.bit += width
	if first := src[0].prefix >> shift & mask; counts[first] == uint32(n) {
		s.msd(src, dst, at, toDst)
		return
	}
	var sum uint32
	for i, c := range counts {
		counts[i] = sum
		sum += c
	}
	for i := range src {
		p := &counts[src[i].prefix>>shift&mask]
		dst[*p] = src[i]
		*p++
	}
	at.depth++
	var start uint32
	for _, end := range counts {
		switch end - start {
		case 0:
			continue
		case 1:
			if !toDst {
				src[start] = dst[start]
			}
		default:
			s.msd(dst[start:end], src[start:end], at, !toDst)
		}
		start = end
	}
}

// deeper sets the next eight bytes as prefixes of entries that are equal up to base+8, and reports whether they are
// to be sorted by them; if not, it has sorted them.
func (s *entrySorter) deeper(a []entry, base uint32) bool {
	short, same := true, true
	for i := range a {
		short = short && a[i].length() <= base+8
		same = same && a[i].length() == a[0].length()
	}
	switch {
	case short && same:
		return false // all keys are equal, in order of arrival
	case short:
		slices.SortStableFunc(a, func(x, y entry) int { return int(x.length()) - int(y.length()) })
		return false
	case base >= deepest:
		slices.SortFunc(a, func(x, y entry) int { return s.tie(x, y, base) })
		return false
	}
	for i := range a {
		a[i].prefix = 0
		if a[i].length() > base+8 {
			a[i].prefix = prefixOf(s.key(a[i].off)[base+8:])
		}
	}
	return true
}

// counters returns n zeroed counters for a depth.
func (s *entrySorter) counters(depth, n int) []uint32 {
	for len(s.counts) <= depth {
		s.counts = append(s.counts, nil)
	}
	if cap(s.counts[depth]) < n {
		s.counts[depth] = make([]uint32, n)
	}
	c := s.counts[depth][:n]
	clear(c)
	return c
}

func (s *entrySorter) insertion(a []entry, base uint32) {
	for i := 1; i < len(a); i++ {
		e := a[i]
		j := i
		for j > 0 && (e.prefix < a[j-1].prefix || e.prefix == a[j-1].prefix && s.tie(e, a[j-1], base) < 0) {
			a[j] = a[j-1]
			j--
		}
		a[j] = e
	}
}

// tie orders two entries whose keys are equal up to base+8, or end before and differ by zeros only.
func (s *entrySorter) tie(x, y entry, base uint32) int {
	if c := int(x.length()) - int(y.length()); c != 0 && x.length() <= base+8 && y.length() <= base+8 {
		return c
	}
	if x.length() > base+8 || y.length() > base+8 {
		if c := bytes.Compare(s.key(x.off), s.key(y.off)); c != 0 {
			return c
		}
	}
	if x.off < y.off {
		return -1
	}
	return 1
}
