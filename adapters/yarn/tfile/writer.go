package tfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic      = "\xd1\x11\xd3\x68\x91\xb5\xd7\xb6\x39\xdf\x41\x40\x92\xba\xe1\x50"
	minBlock   = 256 << 10 // a block ends after the record that makes it this long, as in YARN's files
	chunkSize  = 1 << 20   // tfile.io.chunk.size
	maxKey     = 64 << 10
	none       = "none" // the compression
	metaPrefix = "data:"
	metaTFile  = "TFile.meta"
	metaIndex  = "TFile.index"
	metaBlocks = "BCFile.index"
)

// apiVersion of TFile and of BCFile: 1.0, as two uint16.
var apiVersion = []byte{0, 1, 0, 0}

// Writer writes a TFile with unsorted keys and no compression. After an error it does nothing more and returns it again.
type Writer struct {
	w      *bufio.Writer
	at     int64
	err    error
	chunk  []byte // of the value being written
	blocks []block
	open   *block
	index  []byte // of the blocks: last keys and record counts
	first  []byte // key of the first record
	last   []byte
	total  int64
	closed bool
}

type block struct {
	start, size, records int64
}

// NewWriter writes to w; Close ends the file but not w.
func NewWriter(w io.Writer) *Writer {
	t := &Writer{w: bufio.NewWriterSize(w, 64<<10), chunk: make([]byte, 0, chunkSize)}
	t.write([]byte(magic))
	return t
}

func (t *Writer) write(p []byte) {
	if t.err != nil {
		return
	}
	n, err := t.w.Write(p)
	t.at += int64(n)
	t.err = err
}

// Append writes a record: value is called once and writes the value, of any size. An error of it ends the file too, as the
// record is begun.
func (t *Writer) Append(key []byte, value func(w io.Writer) error) error {
	if t.err == nil && t.closed {
		t.err = errors.New("tfile: closed")
	}
	if t.err == nil && len(key) > maxKey {
		t.err = fmt.Errorf("tfile: key of %d bytes, at most %d are written", len(key), maxKey)
	}
	if t.err != nil {
		return t.err
	}
	if t.open == nil {
		t.blocks = append(t.blocks, block{start: t.at})
		t.open = &t.blocks[len(t.blocks)-1]
	}
	if t.total == 0 {
		t.first = append([]byte(nil), key...)
	}
	t.last = append(t.last[:0], key...)
	t.write(appendNumber(nil, int64(len(key))))
	t.write(key)
	t.chunk = t.chunk[:0]
	if err := value((*valueWriter)(t)); err != nil && t.err == nil {
		t.err = err
	}
	t.write(appendNumber(nil, int64(len(t.chunk))))
	t.write(t.chunk)
	t.total++
	t.open.records++
	if t.at-t.open.start >= minBlock {
		t.endBlock()
	}
	return t.err
}

// valueWriter cuts a value into chunks: all but the last have their length negated.
type valueWriter Writer

// Write is where Hadoop's encoder cuts: what does not fit beside what is waiting is written out together with it.
func (v *valueWriter) Write(p []byte) (int, error) {
	t := (*Writer)(v)
	if len(t.chunk)+len(p) < chunkSize {
		t.chunk = append(t.chunk, p...)
	} else {
		t.write(appendNumber(nil, -int64(len(t.chunk)+len(p))))
		t.write(t.chunk)
		t.write(p)
		t.chunk = t.chunk[:0]
	}
	if t.err != nil {
		return 0, t.err
	}
	return len(p), nil
}

func (t *Writer) endBlock() {
	if t.open == nil {
		return
	}
	t.open.size = t.at - t.open.start
	var entry []byte
	entry = appendString(entry, string(t.last))
	entry = appendNumber(entry, t.open.records)
	t.index = appendString(t.index, string(entry))
	t.open = nil
}

// Close writes the indexes and what is buffered.
func (t *Writer) Close() error {
	if t.closed {
		return t.err
	}
	t.closed = true
	t.endBlock()
	// What a meta block is called, and where it is.
	region := func(content []byte) block {
		b := block{start: t.at, size: int64(len(content))}
		t.write(content)
		return b
	}
	meta := appendNumber(append([]byte(nil), apiVersion...), t.total)
	meta = appendString(meta, "") // the comparator: keys are not sorted
	atMeta := region(meta)
	var index []byte
	if t.total > 0 {
		index = appendString(index, string(appendString(nil, string(t.first))))
	} else {
		index = appendNumber(index, 0)
	}
	atIndex := region(append(index, t.index...))
	blocks := appendNumber(appendString(nil, none), int64(len(t.blocks)))
	for _, b := range t.blocks {
		blocks = b.append(blocks)
	}
	atBlocks := region(blocks)
	tail := appendNumber(nil, 3)
	start := t.at
	for _, m := range []struct {
		name string
		at   block
	}{{metaBlocks, atBlocks}, {metaIndex, atIndex}, {metaTFile, atMeta}} {
		tail = appendString(tail, metaPrefix+m.name)
		tail = appendString(tail, none)
		tail = m.at.append(tail)
	}
	tail = binary.BigEndian.AppendUint64(tail, uint64(start))
	tail = append(tail, apiVersion...)
	t.write(append(tail, magic...))
	if t.err == nil {
		t.err = t.w.Flush()
	}
	return t.err
}

// append appends where a block is: offset, stored and raw size, which are the same without compression.
func (b block) append(to []byte) []byte {
	return appendNumber(appendNumber(appendNumber(to, b.start), b.size), b.size)
}
