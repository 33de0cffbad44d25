package recent

import (
	"container/list"
	"sync"
)

// Key of an entry: the job that it is dropped with, and its name there.
type Key struct{ Job, Name string }

// EntryCost is what an entry takes beside the bytes of its value.
const EntryCost = 512

// Cache is safe for concurrent use.
type Cache[T any] struct {
	mu     sync.Mutex
	budget int // bytes
	used   int
	byKey  map[Key]*list.Element
	order  list.List // of *entry[T], the last used first
}

type entry[T any] struct {
	key  Key
	v    T
	cost int
}

// New makes a cache of at most so many bytes.
func New[T any](budget int) *Cache[T] {
	return &Cache[T]{budget: budget, byKey: map[Key]*list.Element{}}
}

// Fits tells whether a value of so many bytes is kept: one may take a quarter of the cache.
func (c *Cache[T]) Fits(bytes int64) bool { return bytes+EntryCost <= int64(c.budget/4) }

// Get returns a value that is kept.
func (c *Cache[T]) Get(k Key) (v T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[T]).v, true
}

// Put keeps a value of so many bytes, if it fits and is not kept already.
func (c *Cache[T]) Put(k Key, v T, bytes int) {
	if !c.Fits(int64(bytes)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[k] != nil {
		return
	}
	x := &entry[T]{k, v, bytes + EntryCost}
	c.byKey[k] = c.order.PushFront(x)
	c.used += x.cost
	for c.used > c.budget {
		c.remove(c.order.Back())
	}
}

// Drop forgets a value whose file is gone or has changed.
func (c *Cache[T]) Drop(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		c.remove(e)
	}
}

// DropJob forgets the values of a job that has ended.
func (c *Cache[T]) DropJob(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.byKey {
		if k.Job == job {
			c.remove(e)
		}
	}
}

// Len is how many values are kept.
func (c *Cache[T]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey)
}

func (c *Cache[T]) remove(e *list.Element) {
	x := c.order.Remove(e).(*entry[T])
	delete(c.byKey, x.key)
	c.used -= x.cost
}
