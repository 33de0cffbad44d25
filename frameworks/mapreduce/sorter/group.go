package sorter

import (
	"bytes"
	"io"

	"fairway/frameworks/mapreduce"
)

// Groups reads sorted records as groups of equal keys.
type Groups struct {
	in    mapreduce.Records
	key   []byte // of the current group; a copy, as records move on
	value []byte // of the record that is at hand
	next  []byte // its key, if it starts another group
	state groupState
	err   error
	each  mapreduce.Values // g.Values, made once

	// Records and Count say how many records and groups have been read.
	Records, Count int64
}

type groupState int

const (
	atStart   groupState = iota // nothing read yet
	haveValue                   // value belongs to the current group and was not taken
	inGroup                     // value was taken
	haveNext                    // the record at hand starts the next group
	atEnd
)

// NewGroups returns the groups of sorted records.
func NewGroups(in mapreduce.Records) *Groups {
	g := &Groups{in: in}
	g.each = g.Values
	return g
}

// Next moves to the next group, past the rest of the current one, and returns its key; false at the end or after an
// error.
func (g *Groups) Next() ([]byte, bool) {
	switch g.state {
	case atStart:
		if !g.read() {
			return nil, false
		}
	case haveValue, inGroup:
		for g.advance() {
		}
	}
	if g.state == atEnd {
		return nil, false
	}
	g.key = append(g.key[:0], g.next...)
	g.state = haveValue
	g.Count++
	return g.key, true
}

// read takes the next record into next and value.
func (g *Groups) read() bool {
	k, v, err := g.in.Next()
	if err != nil {
		if err != io.EOF {
			g.err = err
		}
		g.state = atEnd
		return false
	}
	g.Records++
	g.next, g.value, g.state = k, v, haveNext
	return true
}

// advance moves to the next record of the current group.
func (g *Groups) advance() bool {
	if !g.read() {
		return false
	}
	if !bytes.Equal(g.next, g.key) {
		return false
	}
	g.state = inGroup
	return true
}

// Values are the values of the current group.
func (g *Groups) Values(yield func([]byte) bool) {
	if g.state != haveValue {
		return
	}
	g.state = inGroup
	for {
		if !yield(g.value) {
			return
		}
		if !g.advance() {
			return
		}
	}
}

// Err is what ended the reading early.
func (g *Groups) Err() error { return g.err }

// Reduce calls r for each group of in and its Cleanup after the last, but not its Setup.
func Reduce(ctx *mapreduce.Context, r mapreduce.Reducer, g *Groups, out mapreduce.Emitter) error {
	for {
		key, ok := g.Next()
		if !ok {
			break
		}
		if err := r.Reduce(ctx, key, g.each, out); err != nil {
			if g.err != nil {
				return g.err
			}
			return err
		}
	}
	if g.err != nil {
		return g.err
	}
	if c, ok := r.(mapreduce.Cleanup); ok {
		return c.Cleanup(ctx, out)
	}
	return nil
}
