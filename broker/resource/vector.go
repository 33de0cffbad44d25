package resource

import (
	"math"
	"strings"
)

// Slots is the number of dense slots in a Vector. The first five kinds are well known, the rest are named by the
// operator and numbered by Kinds.
const Slots = 8

// The well-known slots of a Vector.
const (
	CPU    = 0 // milli-cpu
	Memory = 1 // bytes
	Disk   = 2 // bytes
	GPU    = 3 // whole devices
	Ports  = 4 // number of ports
	Named  = 5 // first slot of operator-named kinds
)

// Unlimited in a slot of a guarantee or limit means that there is none.
const Unlimited int64 = -1

// Vector is an amount of each kind of resource, in integers (milli-cpu, bytes, devices). Arithmetic saturates.
type Vector [Slots]int64

// PortRange is a range of ports, both ends inclusive.
type PortRange struct{ First, Last uint16 }

// None is the vector that limits nothing: Unlimited in every slot.
func None() Vector {
	var v Vector
	for i := range v {
		v[i] = Unlimited
	}
	return v
}

// Add is v + w.
func (v Vector) Add(w Vector) Vector {
	for i := range v {
		v[i] = addSat(v[i], w[i])
	}
	return v
}

// Sub is v - w; a slot may become negative.
func (v Vector) Sub(w Vector) Vector {
	for i := range v {
		v[i] = subSat(v[i], w[i])
	}
	return v
}

// Scale is v times n.
func (v Vector) Scale(n int64) Vector {
	for i := range v {
		v[i] = mulSat(v[i], n)
	}
	return v
}

// Max takes the larger amount in each slot.
func (v Vector) Max(w Vector) Vector {
	for i := range v {
		v[i] = max(v[i], w[i])
	}
	return v
}

// Min takes the smaller amount in each slot.
func (v Vector) Min(w Vector) Vector {
	for i := range v {
		v[i] = min(v[i], w[i])
	}
	return v
}

// Floor replaces negative amounts by zero.
func (v Vector) Floor() Vector { return v.Max(Vector{}) }

// Fits says whether v is at most w in every slot. A zero amount always fits, even where w is negative.
func (v Vector) Fits(w Vector) bool {
	for i := range v {
		if v[i] > w[i] && v[i] > 0 {
			return false
		}
	}
	return true
}

// Within says whether v keeps limit: a slot of limit that is Unlimited limits nothing.
func (v Vector) Within(limit Vector) bool {
	for i := range v {
		if limit[i] >= 0 && v[i] > limit[i] {
			return false
		}
	}
	return true
}

// Times is how often shape fits into v; math.MaxInt64 for a shape of zero.
func (v Vector) Times(shape Vector) int64 {
	n := int64(math.MaxInt64)
	for i, s := range shape {
		if s > 0 {
			n = min(n, max(v[i], 0)/s)
		}
	}
	return n
}

// IsZero says whether every slot is zero.
func (v Vector) IsZero() bool { return v == Vector{} }

// Negative says whether any slot is negative.
func (v Vector) Negative() bool {
	var or int64
	for _, n := range v {
		or |= n
	}
	return or < 0
}

// Dominant is the largest share of total that v holds in any slot, and that slot. A slot of which total has nothing
// does not count; -1 is the slot when none does.
func (v Vector) Dominant(total Vector) (share float64, slot int) {
	slot = -1
	for i := range v {
		if total[i] <= 0 {
			continue
		}
		if s := float64(v[i]) / float64(total[i]); slot < 0 || s > share {
			share, slot = s, i
		}
	}
	return share, slot
}

// String is v for a log, such as "cpu=4 memory=8GiB"; operator-named kinds show their slot. "none" if v is zero.
func (v Vector) String() string { return v.Format(nil) }

// Format is v for a person, with the names of kinds; kinds may be nil.
func (v Vector) Format(kinds *Kinds) string {
	var b strings.Builder
	for i, n := range v {
		if n == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(kinds.Name(i))
		b.WriteByte('=')
		b.WriteString(FormatQuantity(i, n))
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

func addSat(a, b int64) int64 {
	s := a + b
	if (a^s)&(b^s) < 0 {
		if a < 0 {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	return s
}

func subSat(a, b int64) int64 {
	s := a - b
	if (a^b)&(a^s) < 0 {
		if a < 0 {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	return s
}

func mulSat(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	p := a * b
	if p/b != a || (a == -1 && b == math.MinInt64) || (b == -1 && a == math.MinInt64) {
		if (a < 0) != (b < 0) {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	return p
}
