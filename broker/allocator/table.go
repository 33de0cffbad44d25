package allocator

// table maps 64-bit keys to small non-negative numbers: open addressing with linear probing and backward-shift
// deletion, so that steady churn neither allocates nor leaves tombstones. The zero value is empty.
type table struct {
	keys  []uint64
	vals  []int32 // value + 1; 0: empty
	n     int
	shift uint
}

func (t *table) slot(key uint64) int { return int((key * 0x9E3779B97F4A7C15) >> t.shift) }

// get returns the value of key or -1.
func (t *table) get(key uint64) int32 {
	if t.n == 0 {
		return -1
	}
	mask := len(t.keys) - 1
	for i := t.slot(key); t.vals[i] != 0; i = (i + 1) & mask {
		if t.keys[i] == key {
			return t.vals[i] - 1
		}
	}
	return -1
}

func (t *table) put(key uint64, val int32) {
	if 4*(t.n+1) > 3*len(t.keys) {
		t.grow()
	}
	mask := len(t.keys) - 1
	i := t.slot(key)
	for ; t.vals[i] != 0; i = (i + 1) & mask {
		if t.keys[i] == key {
			t.vals[i] = val + 1
			return
		}
	}
	t.keys[i], t.vals[i] = key, val+1
	t.n++
}

func (t *table) del(key uint64) {
	if t.n == 0 {
		return
	}
	mask := len(t.keys) - 1
	i := t.slot(key)
	for ; ; i = (i + 1) & mask {
		if t.vals[i] == 0 {
			return
		}
		if t.keys[i] == key {
			break
		}
	}
	t.n--
	for j := i; ; {
		j = (j + 1) & mask
		if t.vals[j] == 0 {
			break
		}
		// An entry may move back to i unless its home lies after i.
		if home := t.slot(t.keys[j]); (j-home)&mask >= (j-i)&mask {
			t.keys[i], t.vals[i] = t.keys[j], t.vals[j]
			i = j
		}
	}
	t.vals[i] = 0
}

func (t *table) grow() {
	size := max(8, 2*len(t.keys))
	old := *t
	*t = table{keys: make([]uint64, size), vals: make([]int32, size), shift: 64}
	for s := size; s > 1; s >>= 1 {
		t.shift--
	}
	for i, v := range old.vals {
		if v != 0 {
			t.put(old.keys[i], v-1)
		}
	}
}

// each calls f with every value, in an order that depends on the history of the table only; f must not change it.
func (t *table) each(f func(int32)) {
	for i := 0; i < len(t.vals); i++ {
		if t.vals[i] != 0 {
			f(t.vals[i] - 1)
		}
	}
}
