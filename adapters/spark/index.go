package spark

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
)

// An index file is the offsets of a map's partitions in its data file, and one more for the end, as big-endian int64s.
type index []byte

// span is what a partition run [from, to) covers.
func (x index) span(from, to int32) (start, end int64, err error) {
	return spanOf(int64(len(x)), from, to, func(b []byte, at int64) error { copy(b, x[at:]); return nil })
}

func spanOf(size int64, from, to int32, read func(b []byte, at int64) error) (start, end int64, err error) {
	if size%8 != 0 || size < 16 {
		return 0, 0, fmt.Errorf("index file of %d bytes", size)
	}
	if n := size/8 - 1; from < 0 || to <= from || int64(to) > n {
		return 0, 0, fmt.Errorf("no partitions %d to %d, the map has %d", from, to, n)
	}
	var b [8]byte
	if err := read(b[:], int64(from)*8); err != nil {
		return 0, 0, err
	}
	start = int64(binary.BigEndian.Uint64(b[:]))
	if err := read(b[:], int64(to)*8); err != nil {
		return 0, 0, err
	}
	end = int64(binary.BigEndian.Uint64(b[:]))
	if start < 0 || end < start {
		return 0, 0, fmt.Errorf("index file says that partitions %d to %d are from %d to %d", from, to, start, end)
	}
	return start, end, nil
}

// indexes keeps those that were last used: each reducer asks for the same ones. A map's output never changes, as no two
// attempts of a task have one id.
type indexes struct {
	mu     sync.Mutex
	budget int // bytes
	used   int
	byKey  map[indexKey]*list.Element
	order  list.List // of *cached, the last used first
}

type indexKey struct{ app, path string }

type cached struct {
	key indexKey
	x   index
}

const entryCost = 512 // bytes of an entry beside its offsets

func newIndexes(budget int) *indexes {
	return &indexes{budget: budget, byKey: map[indexKey]*list.Element{}}
}

// span looks a run of partitions up. Of an index that is too large to keep, only what is asked for is read.
func (c *indexes) span(reg registration, path string, from, to int32) (start, end int64, err error) {
	k := indexKey{reg.Application, path}
	if x := c.get(k); x != nil {
		return x.span(from, to)
	}
	f, size, err := openOwned(reg.Dirs, path, reg.UID)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	if size+entryCost > int64(c.budget/4) {
		return spanOf(size, from, to, func(b []byte, at int64) error { return readAt(f, b, at) })
	}
	x := make(index, size)
	if err := readAt(f, x, 0); err != nil {
		return 0, 0, err
	}
	if start, end, err = x.span(from, to); err == nil {
		c.put(k, x)
	}
	return start, end, err
}

func readAt(f *os.File, b []byte, at int64) error {
	if _, err := f.ReadAt(b, at); err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return nil
}

func (c *indexes) get(k indexKey) index {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).x
}

func (c *indexes) put(k indexKey, x index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[k] != nil {
		return
	}
	c.byKey[k] = c.order.PushFront(&cached{k, x})
	c.used += len(x) + entryCost
	for c.used > c.budget {
		c.remove(c.order.Back())
	}
}

// forget drops one whose file, or its data, is gone.
func (c *indexes) forget(k indexKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		c.remove(e)
	}
}

// dropAll drops those of an application that has ended.
func (c *indexes) dropAll(app string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.byKey {
		if k.app == app {
			c.remove(e)
		}
	}
}

func (c *indexes) remove(e *list.Element) {
	v := c.order.Remove(e).(*cached)
	delete(c.byKey, v.key)
	c.used -= len(v.x) + entryCost
}
