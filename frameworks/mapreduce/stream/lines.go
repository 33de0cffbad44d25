package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
)

const (
	writeSize = 64 << 10  // to the program at once: a pipe holds no more
	readSize  = 256 << 10 // from the program at once
	maxLine   = 64 << 20  // of a program's output
)

// mapFeed gives a mapper lines, or lines made of keys and values.
func mapFeed(ctx *mapreduce.Context, in mapreduce.Records) feed {
	conf := ctx.Job.Conf
	text := ctx.Job.InputFormat == "" || ctx.Job.InputFormat == input.Text
	ignoreKey := property(conf, ignoreKeyProperty, strconv.FormatBool(text)) == "true"
	chunks, ok := in.(input.ChunkReader)
	if ok && text && ignoreKey {
		return chunkFeed(chunks)
	}
	if ignoreKey {
		return recordFeed(valuesOnly{in}, "")
	}
	return recordFeed(in, property(conf, mapInputSeparator, "\t"))
}

// chunkFeed passes whole chunks on as they are.
func chunkFeed(in input.ChunkReader) feed {
	return func(w io.Writer, moved func()) error {
		for {
			lines, _, err := in.NextChunk()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if len(lines) > 0 && lines[len(lines)-1] != '\n' {
				lines = append(lines, '\n')
			}
			if _, err := w.Write(lines); err != nil {
				return err
			}
			moved()
		}
	}
}

// valuesOnly hides keys.
type valuesOnly struct{ mapreduce.Records }

func (v valuesOnly) Next() (key, value []byte, err error) {
	_, value, err = v.Records.Next()
	return value, nil, err
}

// repeated are records that tell how often the next one stands there, rather than to return it so often.
type repeated interface {
	NextRepeated() (key, value []byte, n int64, err error)
}

// recordFeed makes a line of each record: key, separator, value; without a value the key alone.
func recordFeed(in mapreduce.Records, separator string) feed {
	next := func() (key, value []byte, n int64, err error) {
		key, value, err = in.Next()
		return key, value, 1, err
	}
	if r, ok := in.(repeated); ok {
		next = r.NextRepeated
	}
	return func(w io.Writer, moved func()) error {
		buf := make([]byte, 0, writeSize+4096)
		for {
			key, value, n, err := next()
			if err != nil {
				if err == io.EOF {
					err = nil
				}
				if _, werr := w.Write(buf); err == nil {
					err = werr
				}
				moved()
				return err
			}
			start := len(buf)
			buf = append(buf, key...)
			if value != nil {
				buf = append(append(buf, separator...), value...)
			}
			buf = append(buf, '\n')
			if n > 1 {
				if buf, err = repeatLine(w, buf, start, n-1); err != nil {
					return err
				}
			}
			if len(buf) >= writeSize {
				if _, err := w.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
				moved()
			}
		}
	}
}

// repeatLine adds n copies of the line buf[start:] to buf, which it writes to w and empties if they do not fit. It
// returns what is still to be written.
func repeatLine(w io.Writer, buf []byte, start int, n int64) ([]byte, error) {
	size := len(buf) - start
	fit := min(n, int64(max(writeSize-len(buf), 0)/size))
	n -= fit
	for end := len(buf) + int(fit)*size; len(buf) < end; {
		buf = append(buf, buf[start:][:min(len(buf)-start, end-len(buf))]...)
	}
	if n == 0 {
		return buf, nil
	}
	if _, err := w.Write(buf); err != nil {
		return nil, err
	}
	lines := buf[start:]
	count := int64(len(lines) / size)
	for ; n >= count; n -= count {
		if _, err := w.Write(lines); err != nil {
			return nil, err
		}
	}
	return append(buf[:0], lines[:int(n)*size]...), nil
}

// cutter cuts the lines that a program writes into keys and values: the key ends at the separator after its last field;
// a line with fewer separators is all key, with an empty value.
type cutter struct {
	separator []byte
	fields    int
	longest   int // line, in bytes
}

func newCutter(conf map[string]string, separator, fields string) (*cutter, error) {
	c := &cutter{separator: []byte(property(conf, separator, "\t")), fields: 1, longest: maxLine}
	if len(c.separator) == 0 {
		return nil, fmt.Errorf("property %s is empty: it must be at least one byte", separator)
	}
	if s := conf[fields]; s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("property %s=%q: must be a number of fields from 1", fields, s)
		}
		c.fields = n
	}
	return c, nil
}

// cut returns key and value of a line.
func (c *cutter) cut(line []byte) (key, value []byte) {
	end, at := -1, 0
	for range c.fields {
		i := c.index(line[at:])
		if i < 0 {
			return line, line[len(line):]
		}
		end = at + i
		at = end + len(c.separator)
	}
	return line[:end], line[at:]
}

func (c *cutter) index(p []byte) int {
	if len(c.separator) == 1 {
		return bytes.IndexByte(p, c.separator[0])
	}
	return bytes.Index(p, c.separator)
}

// allEmitter takes many records at once. Their bytes stay as they are only until it returns.
type allEmitter interface {
	EmitAll(keys, values [][]byte) error
}

// lineBatch is how many lines are emitted at once.
const lineBatch = 64

// batch gathers records for an allEmitter; for others it passes them on.
type batch struct {
	out          mapreduce.Emitter
	all          allEmitter
	keys, values [][]byte
}

func newBatch(out mapreduce.Emitter) *batch {
	b := &batch{out: out}
	if all, ok := out.(allEmitter); ok {
		b.all, b.keys, b.values = all, make([][]byte, 0, lineBatch), make([][]byte, 0, lineBatch)
	}
	return b
}

func (b *batch) emit(key, value []byte) error {
	if b.all == nil {
		return b.out.Emit(key, value)
	}
	b.keys, b.values = append(b.keys, key), append(b.values, value)
	if len(b.keys) < lineBatch {
		return nil
	}
	return b.flush()
}

// flush emits what is left; the bytes of all records may change after it.
func (b *batch) flush() error {
	if len(b.keys) == 0 {
		return nil
	}
	err := b.all.EmitAll(b.keys, b.values)
	b.keys, b.values = b.keys[:0], b.values[:0]
	return err
}

// drain emits the lines of a program. A \r before the \n is dropped, as Hadoop's LineReader does.
func (c *cutter) drain(out mapreduce.Emitter) drain {
	return func(r io.Reader) error {
		lines := newBatch(out)
		buf := make([]byte, readSize)
		lo, hi := 0, 0 // the unread bytes
		seen := 0      // up to here there is no line end
		for {
			n, err := r.Read(buf[hi:])
			hi += n
			for {
				i := bytes.IndexByte(buf[seen:hi], '\n')
				if i < 0 {
					break
				}
				line := buf[lo : seen+i]
				seen += i + 1
				lo = seen
				if n := len(line); n > 0 && line[n-1] == '\r' {
					line = line[:n-1]
				}
				if err := lines.emit(c.cut(line)); err != nil {
					return err
				}
			}
			if err := lines.flush(); err != nil {
				return err
			}
			if err != nil {
				if !errors.Is(err, io.EOF) { // the deadline after a kill: the program's end will tell
					return nil
				}
				if lo < hi {
					return out.Emit(c.cut(bytes.TrimSuffix(buf[lo:hi], []byte{'\r'})))
				}
				return nil
			}
			if lo > 0 {
				hi = copy(buf, buf[lo:hi])
				lo = 0
			}
			seen = hi
			if hi == len(buf) {
				if hi >= c.longest {
					return outputError{fmt.Errorf("a line of more than %d bytes", c.longest)}
				}
				buf = append(buf, make([]byte, len(buf))...)
			}
		}
	}
}
