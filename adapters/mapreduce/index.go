package mapreduce

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// errNoOutput says that no local folder has the map's output.
var errNoOutput = errors.New("no output of this map")

// errReduce says that the map has no partition of this number.
var errReduce = errors.New("no such partition")

const (
	recordSize = 24       // three int64: start, raw length, length in the file
	footerSize = 8        // CRC-32 of the records, as an int64
	maxIndex   = 32 << 20 // bytes: more than a million partitions
)

// span is where a partition is in file.out.
type span struct {
	start, raw, length int64
}

// index is a map output's file.out.index, checked, and the local folder it was found in. It keeps the records as they are.
type index struct {
	records []byte
	dir     string
}

// parseIndex checks a whole index file (IndexRecord and SpillRecord in Hadoop). It keeps b.
func parseIndex(b []byte) (*index, error) {
	if len(b) < footerSize || (len(b)-footerSize)%recordSize != 0 {
		return nil, fmt.Errorf("index file of %d bytes", len(b))
	}
	records, footer := b[:len(b)-footerSize:len(b)-footerSize], b[len(b)-footerSize:]
	if want, got := binary.BigEndian.Uint64(footer), uint64(crc32.ChecksumIEEE(records)); want != got {
		return nil, fmt.Errorf("index file has checksum %x, says %x", got, want)
	}
	return &index{records: records}, nil
}

// partition of a reduce. Its numbers are not negative and its end does not overflow.
func (x *index) partition(reduce int) (span, error) {
	if reduce < 0 || reduce >= len(x.records)/recordSize {
		return span{}, fmt.Errorf("%w: %d of %d", errReduce, reduce, len(x.records)/recordSize)
	}
	r := x.records[reduce*recordSize:]
	s := span{
		start:  int64(binary.BigEndian.Uint64(r)),
		raw:    int64(binary.BigEndian.Uint64(r[8:])),
		length: int64(binary.BigEndian.Uint64(r[16:])),
	}
	if s.start < 0 || s.raw < 0 || s.length < 0 || s.start+s.length < 0 {
		return span{}, fmt.Errorf("partition %d is said to be %d bytes at %d", reduce, s.length, s.start)
	}
	return s, nil
}

// openOwned opens a regular file of an account below dir. No symbolic link leads out of dir, and a link within it is of no
// use as the file must belong to uid (-1: anyone). size is the file's.
func openOwned(dir, name string, uid int) (f *os.File, size int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	// Without O_NONBLOCK a fifo would hold the request for as long as its writer likes.
	f, err = root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err == nil && uid >= 0 {
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != uid {
			err = &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("does not belong to uid %d: %w", uid, fs.ErrPermission)}
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// readIndex finds a map's index in the job's folders. A folder where it cannot be had is passed over; the last such reason
// is part of the error if none has it.
func readIndex(reg *registration, attempt string) (*index, error) {
	var reason error
	for _, dir := range reg.Dirs {
		f, size, err := openOwned(dir, "output/"+attempt+"/file.out.index", reg.UID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			reason = err
			continue
		}
		x, err := readIndexFile(f, size)
		f.Close()
		if err != nil {
			return nil, err // it exists, and it is damaged: another folder has no better one
		}
		x.dir = dir
		return x, nil
	}
	if reason != nil {
		return nil, reason
	}
	return nil, errNoOutput
}

func readIndexFile(f *os.File, size int64) (*index, error) {
	if size > maxIndex {
		return nil, fmt.Errorf("index file of %d bytes, at most %d are read", size, maxIndex)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read index file: %w", err)
	}
	return parseIndex(b)
}

// indexes keeps the indexes that were last used: each of a job's reduces asks for the same ones. A map's output never
// changes, as no two attempts have one id.
type indexes struct {
	mu     sync.Mutex
	budget int // bytes
	used   int
	byKey  map[indexKey]*list.Element
	order  list.List // of *cached, the last used first
}

type indexKey struct{ job, attempt string }

type cached struct {
	key indexKey
	x   *index
}

func newIndexes(budget int) *indexes {
	return &indexes{budget: budget, byKey: map[indexKey]*list.Element{}}
}

func (c *indexes) get(k indexKey) *index {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).x
}

const entryCost = 512 // of an entry beside its records

func (c *indexes) put(k indexKey, x *index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[k] != nil || len(x.records)+entryCost > c.budget/4 {
		return
	}
	c.byKey[k] = c.order.PushFront(&cached{k, x})
	c.used += len(x.records) + entryCost
	for c.used > c.budget {
		c.remove(c.order.Back())
	}
}

// drop forgets one index, after its file could not be opened.
func (c *indexes) drop(k indexKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		c.remove(e)
	}
}

// dropJob forgets those of a job that has ended.
func (c *indexes) dropJob(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.byKey {
		if k.job == job {
			c.remove(e)
		}
	}
}

func (c *indexes) remove(e *list.Element) {
	v := c.order.Remove(e).(*cached)
	delete(c.byKey, v.key)
	c.used -= len(v.x.records) + entryCost
}
