package task

import (
	"bytes"
	"context"
	"sync/atomic"

	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/sorter"
)

// countedReader is a reader for a program, counted.
type countedReader struct {
	input.Reader
	records *atomic.Int64
}

func (c *countedReader) Next() (key, value []byte, err error) {
	key, value, err = c.Reader.Next()
	if err == nil {
		c.records.Add(1)
	}
	return key, value, err
}

// Offset is where the record at hand lies.
func (c *countedReader) Offset() int64 {
	if p, ok := c.Reader.(input.Positioned); ok {
		return p.Offset()
	}
	return 0
}

// Base is the reader itself, for programs that take columns instead of records; they count those themselves.
func (c *countedReader) Base() input.Reader { return c.Reader }

// countedChunks is a countedReader that is also an input.ChunkReader.
type countedChunks struct {
	*countedReader
	chunks input.ChunkReader
	tera   bool
}

func (c *countedChunks) NextChunk() ([]byte, int64, error) {
	p, offset, err := c.chunks.NextChunk()
	if c.tera {
		c.records.Add(int64(len(p) / input.TeraRecord))
	} else {
		c.records.Add(countLines(p))
	}
	return p, offset, err
}

// groupCounter counts records and groups that pass, tells of progress, and ends soon after its context does.
type groupCounter struct {
	ctx             context.Context
	in              *sorter.Merge
	records, groups *atomic.Int64
	progress        func(records int64)
	last            []byte
	n, added, keys  int64
}

func (g *groupCounter) Next() (key, value []byte, err error) {
	key, value, err = g.in.Next()
	if err = g.count(key, 1, err); err != nil {
		return nil, nil, err
	}
	return key, value, nil
}

// NextRepeated is Next for a record and all that follow and are the same, and says how many they are.
func (g *groupCounter) NextRepeated() (key, value []byte, n int64, err error) {
	key, value, n, err = g.in.NextRepeated()
	if err = g.count(key, n, err); err != nil {
		return nil, nil, 0, err
	}
	return key, value, n, nil
}

// count takes note of n records of a key, or of the error in their place.
func (g *groupCounter) count(key []byte, n int64, err error) error {
	if err != nil {
		g.flush()
		return err
	}
	if g.n == 0 || !bytes.Equal(key, g.last) {
		g.keys++
		g.last = append(g.last[:0], key...)
	}
	g.n += n
	if g.n-g.added >= 4096 {
		g.flush()
		g.progress(g.n)
		if g.ctx.Err() != nil {
			return context.Cause(g.ctx)
		}
	}
	return nil
}

func (g *groupCounter) flush() {
	g.records.Add(g.n - g.added)
	g.groups.Add(g.keys)
	g.added, g.keys = g.n, 0
}
