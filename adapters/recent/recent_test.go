package recent

import (
	"strconv"
	"testing"
)

func TestCache(t *testing.T) {
	const size = 64
	c := New[int](4 * (EntryCost + size))
	at := func(i int) Key { return Key{"job" + strconv.Itoa(i%2), strconv.Itoa(i)} }
	held := func(want ...int) {
		t.Helper()
		for i := range 10 {
			v, ok := c.Get(at(i))
			expected := false
			for _, w := range want {
				expected = expected || w == i
			}
			if ok != expected || ok && v != i*i {
				t.Errorf("%d: %d %v, want %v", i, v, ok, expected)
			}
		}
		if c.Len() != len(want) || c.order.Len() != len(want) || c.used != len(want)*(EntryCost+size) {
			t.Errorf("%d and %d entries of %d bytes, want %d", c.Len(), c.order.Len(), c.used, len(want))
		}
	}
	for i := range 4 {
		c.Put(at(i), i*i, size)
	}
	held(0, 1, 2, 3) // and so 0 was used longest ago
	if _, ok := c.Get(at(0)); !ok {
		t.Error("0 is gone")
	}
	c.Put(at(4), 16, size)
	held(0, 2, 3, 4)
	c.Put(at(2), 99, size) // it is kept already
	c.Put(at(5), 25, size+1)
	held(0, 2, 3, 4)
	c.Drop(at(2))
	c.Drop(at(9))
	held(0, 3, 4)
	c.DropJob("job0")
	held(3)
	if c.Fits(size+1) || !c.Fits(size) {
		t.Error("what fits")
	}
}
