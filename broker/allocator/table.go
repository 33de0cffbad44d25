package allocator

// table maps 64-bit keys to small non-negative numbers: open addressing with linear probing and backward-shift
// deletion, so that steady churn neither allocates nor leaves tombstones. The zero value is empty.
type table struct {
	slots []pair
	n     int
	shift uint
}

type pair struct {
	key uint64
	val int32 // value + 1; 0: empty
}

func (t *table) home(key uint64) int { return int((key * 0x9E3779B97F4A7C15) >> (t.shift & 63)) }

// get returns the value of key or -1.
func (t *table) get(key uint64) int32 {
	if t.n == 0 {
		return -1
	}
	mask := len(t.slots) - 1
	for i := t.home(key) & mask; t.slots[i].val != 0; i = (i + 1) & mask {
		if t.slots[i].key == key {
			return t.slots[i].val - 1
		}
	}
	return -1
}

func (t *table) put(key uint64, val int32) {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.grow()
	}
	mask := len(t.slots) - 1
	i := t.home(key)
	for ; t.slots[i].val != 0; i = (i + 1) & mask {
		if t.slots[i].key == key {
			t.slots[i].val = val + 1
			return
		}
	}
	t.slots[i] = pair{key, val + 1}
	t.n++
}

func (t *table) del(key uint64) {
	if t.n == 0 {
		return
	}
	mask := len(t.slots) - 1
	i := t.home(key)
	for ; ; i = (i + 1) & mask {
		if t.slots[i].val == 0 {
			return
		}
		if t.slots[i].key == key {
			break
		}
	}
	t.n--
	for j := i; ; {
		j = (j + 1) & mask
		if t.slots[j].val == 0 {
			break
		}
		// An entry may move back to i unless its home lies after i.
		if home := t.home(t.slots[j].key); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i].val = 0
}

func (t *table) grow() {
	size := max(8, 2*len(t.slots))
	old := t.slots
	*t = table{slots: make([]pair, size), shift: 64}
	for s := size; s > 1; s >>= 1 {
		t.shift--
	}
	for _, p := range old {
		if p.val != 0 {
			t.put(p.key, p.val-1)
		}
	}
}

// each calls f with every value, in an order that depends on the history of the table only; f must not change it.
func (t *table) each(f func(int32)) {
	for i := range t.slots {
		if t.slots[i].val != 0 {
			f(t.slots[i].val - 1)
		}
	}
}
