package allocator

import (
	"fairway/broker/resource"
	"math/bits"
	"slices"
)

// Shapes are interned to classes, a bit each, so that "what fits here" is one word. The last two bits are special.
const (
	ownClasses   = 62
	mixedClass   = 62 // all further shapes together; the bit says that the smallest amounts fit, the rest is checked
	classicClass = 63 // frameworks without requests
	classicBit   = uint64(1) << classicClass
	mixedBit     = uint64(1) << mixedClass
)

// classes holds the shapes and answers which of them fit into an amount by one search per kind of resource.
type classes struct {
	shapes   [ownClasses + 1]resource.Vector // that of mixedClass: the smallest amounts
	refs     [ownClasses + 1]int32
	known    uint64 // classes with a shape, used or kept for the next that asks
	byShape  map[resource.Vector]uint8
	dims     []threshold
	minOffer resource.Vector
}

// threshold orders the classes by their need of one kind.
type threshold struct {
	slot  int
	most  int64    // the last of needs
	needs []int64  // ascending, > 0
	masks []uint64 // masks[i]: the classes whose need is below needs[i]; one more entry for all
}

// acquire finds or makes the class of a shape; changed says that the class's bit must be computed anew everywhere.
func (c *classes) acquire(shape resource.Vector) (class uint8, changed bool) {
	if class, ok := c.byShape[shape]; ok {
		c.refs[class]++
		return class, false
	}
	free := bits.TrailingZeros64(^c.known)
	if free >= ownClasses {
		// Take over a class that nobody uses.
		free = slices.Index(c.refs[:ownClasses], 0)
	}
	if free >= 0 {
		if c.known>>free&1 != 0 {
			delete(c.byShape, c.shapes[free])
		}
		c.byShape[shape] = uint8(free)
		c.shapes[free] = shape
		c.refs[free] = 1
		c.known |= 1 << free
		c.build()
		return uint8(free), true
	}
	least := shape
	if c.refs[mixedClass] > 0 {
		least = shape.Min(c.shapes[mixedClass])
	}
	changed = c.known&mixedBit == 0 || least != c.shapes[mixedClass]
	c.refs[mixedClass]++
	if changed {
		c.shapes[mixedClass] = least
		c.known |= mixedBit
		c.build()
	}
	return mixedClass, changed
}

func (c *classes) release(class uint8) { c.refs[class]-- }

func (c *classes) build() {
	c.dims = c.dims[:0]
	for slot := range resource.Slots {
		var needs []int64
		for k := c.known; k != 0; k &= k - 1 {
			if n := c.shapes[bits.TrailingZeros64(k)][slot]; n > 0 {
				needs = append(needs, n)
			}
		}
		if len(needs) == 0 {
			continue
		}
		slices.Sort(needs)
		needs = slices.Compact(needs)
		t := threshold{slot: slot, most: needs[len(needs)-1], needs: needs}
		for i := 0; i <= len(t.needs); i++ {
			var mask uint64
			for k := c.known; k != 0; k &= k - 1 {
				b := bits.TrailingZeros64(k)
				if i == len(t.needs) || c.shapes[b][slot] < t.needs[i] {
					mask |= 1 << b
				}
			}
			t.masks = append(t.masks, mask)
		}
		c.dims = append(c.dims, t)
	}
}

// fit is the set of classes that fit into free, with the classic bit.
func (c *classes) fit(free *resource.Vector) uint64 {
	mask := c.known
	for i := range c.dims {
		// Some kinds are seldom short anywhere.
		if t := &c.dims[i]; free[t.slot] < t.most {
			mask &= t.below(free[t.slot])
		}
	}
	if free[resource.CPU] >= c.minOffer[resource.CPU] || free[resource.Memory] >= c.minOffer[resource.Memory] {
		mask |= classicBit
	}
	return mask
}

// below is the set of classes that need at most have.
func (t *threshold) below(have int64) uint64 {
	// Halve without a branch, for none could be foreseen: all before from are at most have.
	from := 0
	for n := len(t.needs); n > 0; {
		half := (n + 1) / 2
		next := from
		if t.needs[from+half-1] <= have {
			next = from + half
		}
		from = next
		n -= half
	}
	return t.masks[from]
}

// lacking is the first kind of which free has too little for shape, as a reason.
func lacking(shape, free *resource.Vector) Reason {
	for i, n := range shape {
		if n > 0 && n > free[i] {
			return shortage(i)
		}
	}
	return ReasonNone
}

func shortage(slot int) Reason { return NotEnoughCPU + Reason(min(slot, resource.Named)) }
