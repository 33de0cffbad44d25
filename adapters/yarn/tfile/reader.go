package tfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Errors of reading.
var (
	ErrFormat     = errors.New("not a TFile, or damaged")
	ErrCompressed = errors.New("the TFile is compressed, which is not supported")
)

const (
	tailSize     = 8 + 4 + len(magic) // offset of the meta index, version, magic
	maxMetas     = 64
	maxMetaIndex = 64 << 10
	maxBlocks    = 64 << 20 // bytes of the index of blocks
	maxName      = 4 << 10
)

// Reader reads the records of a TFile in order. It is not for several goroutines at once.
type Reader struct {
	r      io.ReaderAt
	size   int64
	blocks []byte // entries not yet read
	left   int64  // entries not yet read

	section *io.SectionReader // of the present block
	b       *bufio.Reader
	value   *valueReader
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// NewReader reads a file of size bytes. Its errors are ErrFormat, ErrCompressed, or of r.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	if size < int64(len(magic)+tailSize) {
		return nil, damaged("%d bytes long", size)
	}
	tail := make([]byte, tailSize)
	if err := readAt(r, tail, size-int64(tailSize)); err != nil {
		return nil, err
	}
	if string(tail[12:]) != magic {
		return nil, damaged("does not end as one")
	}
	if !bytes.Equal(tail[8:10], apiVersion[:2]) {
		return nil, damaged("version %d.%d", binary.BigEndian.Uint16(tail[8:]), binary.BigEndian.Uint16(tail[10:]))
	}
	at := int64(binary.BigEndian.Uint64(tail))
	t := &Reader{r: r, size: size}
	metas, err := t.region(at, size-int64(tailSize)-at, maxMetaIndex)
	if err != nil {
		return nil, err
	}
	blocks, err := t.findMeta(metas, metaBlocks)
	if err != nil {
		return nil, err
	}
	p := bytes.NewReader(blocks)
	compression, err := readString(p)
	if err != nil {
		return nil, err
	}
	if compression != none {
		return nil, fmt.Errorf("%w: by %q", ErrCompressed, compression)
	}
	if t.left, err = number(p); err != nil {
		return nil, err
	}
	t.blocks = blocks[len(blocks)-p.Len():]
	if t.left < 0 || t.left > int64(len(t.blocks)/3) {
		return nil, damaged("%d blocks", t.left)
	}
	return t, nil
}

func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return fmt.Errorf("tfile: %w", noEOF(err))
}

// region reads a part of the file into memory.
func (t *Reader) region(at, size, limit int64) ([]byte, error) {
	if at < 0 || size < 0 || at > t.size-size {
		return nil, damaged("%d bytes at %d", size, at)
	}
	if size > limit {
		return nil, damaged("an index of %d bytes", size)
	}
	b := make([]byte, size)
	return b, readAt(t.r, b, at)
}

func (t *Reader) findMeta(metas []byte, name string) ([]byte, error) {
	p := bytes.NewReader(metas)
	n, err := number(p)
	if err != nil || n < 0 || n > maxMetas {
		return nil, damaged("%d meta blocks", n)
	}
	for range n {
		called, err := readString(p)
		if err != nil {
			return nil, err
		}
		compression, err := readString(p)
		if err != nil {
			return nil, err
		}
		b, err := readBlock(p)
		if err != nil {
			return nil, err
		}
		if called != metaPrefix+name {
			continue
		}
		if compression != none {
			return nil, fmt.Errorf("%w: by %q", ErrCompressed, compression)
		}
		return t.region(b.start, b.size, maxBlocks)
	}
	return nil, damaged("has no %s", name)
}

func number(p io.ByteReader) (int64, error) {
	n, err := readNumber(p)
	if err != nil && !errors.Is(err, ErrFormat) {
		return 0, damaged("%v", noEOF(err))
	}
	return n, err
}

func readString(p *bytes.Reader) (string, error) {
	n, err := number(p)
	if err != nil {
		return "", err
	}
	if n < 0 || n > maxName || n > int64(p.Len()) {
		return "", damaged("text of %d bytes", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(p, b)
	return string(b), err
}

// readBlock reads where a block is. Without compression its two sizes are one.
func readBlock(p *bytes.Reader) (block, error) {
	var v [3]int64
	for i := range v {
		var err error
		if v[i], err = number(p); err != nil {
			return block{}, err
		}
	}
	if v[0] < 0 || v[1] < 0 || v[2] < 0 || v[0]+v[1] < 0 {
		return block{}, damaged("a block of %d bytes at %d", v[1], v[0])
	}
	return block{start: v[0], size: v[1]}, nil
}

// Next moves to the next record. The value is read from the reader, which is of no use after the next call; it need not be
// read to its end. After the last record the error is io.EOF.
func (t *Reader) Next() (key []byte, value io.Reader, err error) {
	if t.value != nil {
		if err := t.value.skip(); err != nil {
			return nil, nil, err
		}
		t.value = nil
	}
	for t.section == nil || t.remaining() == 0 {
		if t.left == 0 {
			return nil, nil, io.EOF
		}
		if err := t.nextBlock(); err != nil {
			return nil, nil, err
		}
	}
	n, err := number(t.b)
	if err != nil {
		return nil, nil, err
	}
	if n < 0 || n > maxKey || n > t.remaining() {
		return nil, nil, damaged("key of %d bytes", n)
	}
	key = make([]byte, n)
	if _, err := io.ReadFull(t.b, key); err != nil {
		return nil, nil, damaged("%v", noEOF(err))
	}
	t.value = &valueReader{t: t}
	return key, t.value, nil
}

func (t *Reader) nextBlock() error {
	p := bytes.NewReader(t.blocks)
	b, err := readBlock(p)
	if err != nil {
		return err
	}
	t.blocks = t.blocks[len(t.blocks)-p.Len():]
	t.left--
	if b.start+b.size > t.size {
		return damaged("a block of %d bytes at %d", b.size, b.start)
	}
	t.section = io.NewSectionReader(t.r, b.start, b.size)
	if t.b == nil {
		t.b = bufio.NewReaderSize(t.section, 32<<10)
	} else {
		t.b.Reset(t.section)
	}
	return nil
}

// remaining bytes of the present block.
func (t *Reader) remaining() int64 {
	at, _ := t.section.Seek(0, io.SeekCurrent) // cannot fail
	return t.section.Size() - at + int64(t.b.Buffered())
}

// discard passes over n bytes of the block without reading what is not buffered.
func (t *Reader) discard(n int64) error {
	if buffered := int64(t.b.Buffered()); n > buffered {
		if _, err := t.section.Seek(n-buffered, io.SeekCurrent); err != nil {
			return err
		}
		t.b.Reset(t.section)
		return nil
	}
	_, err := t.b.Discard(int(n))
	return err
}

// valueReader puts the chunks of a value together.
type valueReader struct {
	t    *Reader
	left int64 // bytes of this chunk
	last bool
}

// more makes left positive, or returns io.EOF.
func (v *valueReader) more() error {
	for v.left == 0 {
		if v.last {
			return io.EOF
		}
		n, err := number(v.t.b)
		if err != nil {
			return err
		}
		if n >= 0 {
			v.last = true
		} else if n = -n; n < 0 {
			return damaged("chunk of %d bytes", n)
		}
		if n > v.t.remaining() {
			return damaged("chunk of %d bytes, the block has %d", n, v.t.remaining())
		}
		v.left = n
	}
	return nil
}

func (v *valueReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := v.more(); err != nil {
		return 0, err
	}
	n, err := v.t.b.Read(p[:min(int64(len(p)), v.left)])
	v.left -= int64(n)
	if err != nil {
		err = damaged("%v", noEOF(err))
	}
	return n, err
}

func (v *valueReader) skip() error {
	for {
		if err := v.more(); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := v.t.discard(v.left); err != nil {
			return err
		}
		v.left = 0
	}
}
