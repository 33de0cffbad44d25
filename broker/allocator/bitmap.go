package allocator

import "math/bits"

// bitmap is a set of small numbers as a tree of words, 64 wide: finding the next member looks at one word per level.
type bitmap struct {
	levels [][]uint64 // levels[0] are the members, levels[i+1] says which words of levels[i] are not zero
	n      int
}

// grow makes room for numbers below 64*words.
func (b *bitmap) grow(words int) {
	for level := 0; ; level++ {
		if level == len(b.levels) {
			b.levels = append(b.levels, nil)
			if level > 0 {
				// A new top: mark what is below.
				b.levels[level] = make([]uint64, words)
				for i, w := range b.levels[level-1] {
					if w != 0 {
						b.levels[level][i>>6] |= 1 << (i & 63)
					}
				}
			}
		}
		for len(b.levels[level]) < words {
			b.levels[level] = append(b.levels[level], 0)
		}
		if words == 1 {
			return
		}
		words = (words + 63) >> 6
	}
}

func (b *bitmap) set(i uint32) {
	b.n++
	for l := range b.levels {
		w := &b.levels[l][i>>6]
		old := *w
		*w = old | 1<<(i&63)
		if old != 0 {
			return
		}
		i >>= 6
	}
}

func (b *bitmap) clear(i uint32) {
	b.n--
	for l := range b.levels {
		w := &b.levels[l][i>>6]
		*w &^= 1 << (i & 63)
		if *w != 0 {
			return
		}
		i >>= 6
	}
}

// next is the smallest member that is at least i, or -1.
func (b *bitmap) next(i uint32) int {
	for l := 0; l < len(b.levels); l++ {
		if int(i>>6) >= len(b.levels[l]) {
			return -1
		}
		if w := b.levels[l][i>>6] >> (i & 63); w != 0 {
			i += uint32(bits.TrailingZeros64(w))
			for l--; l >= 0; l-- {
				i = i<<6 + uint32(bits.TrailingZeros64(b.levels[l][i]))
			}
			return int(i)
		}
		i = i>>6 + 1
	}
	return -1
}

// nextAround is next that begins again at 0.
func (b *bitmap) nextAround(i uint32) int {
	if b.n == 0 {
		return -1
	}
	if at := b.next(i); at >= 0 {
		return at
	}
	return b.next(0)
}
