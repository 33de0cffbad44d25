package state

// owner is the right to write a page in place. A State has one, and marks with it what it makes. Snapshot and Clone
// give the State a new owner, so all that existed before is frozen: whoever wants to change it finds another owner's
// mark and makes a copy. No page is ever written by anyone but the one goroutine whose State holds its owner, and no
// mark of a frozen page is changed, so readers need neither locks nor atomics.
type owner struct{ _ byte } // not empty: pointers to empty structs may be equal

const tablePageSize = 64

// table maps small numbers to entries of type E, in pages that are copied when a frozen one is written.
type table[E any] struct {
	owner *owner // of dir
	dir   []*tablePage[E]
	len   int
	free  uint32 // no smaller number but 0 is free
}

type tablePage[E any] struct {
	owner *owner
	slots [tablePageSize]*E
}

func (t *table[E]) get(n uint32) *E {
	p := int(n / tablePageSize)
	if p >= len(t.dir) || t.dir[p] == nil {
		return nil
	}
	return t.dir[p].slots[n%tablePageSize]
}

// next is the smallest free number.
func (t *table[E]) next() uint32 {
	n := max(t.free, 1)
	for t.get(n) != nil {
		n++
	}
	return n
}

// set stores an entry, or removes one where e is nil.
func (t *table[E]) set(o *owner, n uint32, e *E) {
	p := int(n / tablePageSize)
	if t.owner != o {
		dir := make([]*tablePage[E], len(t.dir), max(len(t.dir), p+1)+8)
		copy(dir, t.dir)
		t.dir, t.owner = dir, o
	}
	for p >= len(t.dir) {
		t.dir = append(t.dir, nil)
	}
	smallest := e != nil && n == t.next()
	switch page := t.dir[p]; {
	case page == nil:
		t.dir[p] = &tablePage[E]{owner: o}
	case page.owner != o:
		c := *page
		c.owner = o
		t.dir[p] = &c
	}
	slot := &t.dir[p].slots[n%tablePageSize]
	switch {
	case *slot == nil && e != nil:
		t.len++
		if smallest {
			t.free = n + 1
		}
	case *slot != nil && e == nil:
		t.len--
		t.free = min(t.free, n)
	}
	*slot = e
}

// each calls f with all entries by ascending number until it returns false.
func (t *table[E]) each(f func(uint32, *E) bool) bool {
	for p, page := range t.dir {
		if page == nil {
			continue
		}
		for i, e := range page.slots {
			if e != nil && !f(uint32(p*tablePageSize+i), e) {
				return false
			}
		}
	}
	return true
}
