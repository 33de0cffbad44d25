package fetch

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// cache holds whole files, named by their key. What is in it was checked when it came. A file that is evicted while
// somebody reads it stays readable through the open descriptor.
type cache struct {
	dir   string
	bound int64

	mu      sync.Mutex
	files   map[string]*list.Element // of *cached
	order   *list.List               // most recently used first
	bytes   int64
	flights map[string]*flight
	serial  int
}

type cached struct {
	key  string
	size int64
}

// flight is a transfer that others wait for.
type flight struct {
	done chan struct{}
	err  error
}

// cacheKey names content; empty: it cannot be named, so it is not cached. A file that not everybody may read is kept once
// for each user.
func cacheKey(url string, info Info, user User, sha string) string {
	whose := "public"
	if !info.Public {
		whose = fmt.Sprintf("user %s %d", user.Name, user.UID)
	}
	what := ""
	switch {
	case sha != "":
		what = "sha256 " + sha
	case info.Version != "" && info.Size >= 0:
		what = fmt.Sprintf("url %s\x00size %d\x00version %s", url, info.Size, info.Version)
	default:
		return ""
	}
	h := sha256.Sum256([]byte(whose + "\x00" + what))
	return hex.EncodeToString(h[:])
}

const partial = ".partial"

func openCache(dir string, bound int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	c := &cache{dir: dir, bound: bound, files: map[string]*list.Element{}, order: list.New(), flights: map[string]*flight{}}
	var infos []os.FileInfo
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), partial) { // of an agent that was killed
			os.Remove(filepath.Join(dir, e.Name()))
		} else if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			infos = append(infos, info)
		}
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].ModTime().After(infos[j].ModTime()) })
	for _, info := range infos {
		c.files[info.Name()] = c.order.PushBack(&cached{info.Name(), info.Size()})
		c.bytes += info.Size()
	}
	c.shrink(bound)
	return c, nil
}

// get opens the file of a key. If it is missing, one caller fills it and the others wait for that.
func (c *cache) get(ctx context.Context, key string, fill func(*os.File) error) (*os.File, error) {
	for {
		if f := c.open(key); f != nil {
			return f, nil
		}
		c.mu.Lock()
		other := c.flights[key]
		if other == nil {
			mine := &flight{done: make(chan struct{})}
			c.flights[key] = mine
			c.serial++
			name := fmt.Sprintf("%s-%d%s", key, c.serial, partial)
			c.mu.Unlock()
			f, err := c.fill(key, name, fill)
			c.mu.Lock()
			mine.err = err
			delete(c.flights, key)
			c.mu.Unlock()
			close(mine.done)
			return f, err
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-other.done:
			// A transfer that ended because its caller gave up says nothing about the next one.
			if other.err != nil && !errors.Is(other.err, context.Canceled) && !errors.Is(other.err, context.DeadlineExceeded) {
				return nil, other.err
			}
		}
	}
}

func (c *cache) open(key string) *os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.files[key]
	if e == nil {
		return nil
	}
	f, err := os.Open(filepath.Join(c.dir, key))
	if err != nil { // somebody cleaned up by hand
		c.bytes -= e.Value.(*cached).size
		c.order.Remove(e)
		delete(c.files, key)
		return nil
	}
	c.order.MoveToFront(e)
	now := time.Now()
	os.Chtimes(filepath.Join(c.dir, key), now, now) // keeps the order over a restart
	return f
}

func (c *cache) fill(key, name string, fill func(*os.File) error) (*os.File, error) {
	temp := filepath.Join(c.dir, name)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = fill(f)
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(c.dir, key))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(temp))
	}
	c.mu.Lock()
	c.files[key] = c.order.PushFront(&cached{key, info.Size()})
	c.bytes += info.Size()
	c.mu.Unlock()
	c.shrink(c.bound)
	return f, nil
}

// shrink evicts until at most bytes are left.
func (c *cache) shrink(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.bytes > bytes {
		last := c.order.Back()
		if last == nil {
			return
		}
		e := last.Value.(*cached)
		os.Remove(filepath.Join(c.dir, e.key))
		c.order.Remove(last)
		delete(c.files, e.key)
		c.bytes -= e.size
	}
}
