package allocator

import (
	"fmt"

	"fairway/broker/resource"
)

// Arithmetic on amounts where they change with every placement: in place, slot by slot without a loop. The machine has
// checked that nothing overflows.

func add(v, w *resource.Vector) {
	v[0] += w[0]
	v[1] += w[1]
	v[2] += w[2]
	v[3] += w[3]
	v[4] += w[4]
	v[5] += w[5]
	v[6] += w[6]
	v[7] += w[7]
}

func sub(v, w *resource.Vector) {
	v[0] -= w[0]
	v[1] -= w[1]
	v[2] -= w[2]
	v[3] -= w[3]
	v[4] -= w[4]
	v[5] -= w[5]
	v[6] -= w[6]
	v[7] -= w[7]
}

func isZero(v *resource.Vector) bool {
	return v[0]|v[1]|v[2]|v[3]|v[4]|v[5]|v[6]|v[7] == 0
}

// fits is resource.Vector.Fits without copies.
func fits(v, w *resource.Vector) bool {
	for i := range v {
		if v[i] > w[i] && v[i] > 0 {
			return false
		}
	}
	return true
}

func checkAmount(v *resource.Vector) error {
	if uint64(v[0]|v[1]|v[2]|v[3]|v[4]|v[5]|v[6]|v[7]) < maxAmount {
		return nil
	}
	for i, n := range v {
		if n < 0 || n > maxAmount {
			return fmt.Errorf("%d of %s: %w", n, (*resource.Kinds)(nil).Name(i), ErrInvalid)
		}
	}
	return nil
}
