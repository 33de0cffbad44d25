package input

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

const (
	// chunkSize is read at once: large enough for the storage's fast path, small enough to stay in a core's cache
	// while it is parsed.
	chunkSize = 512 << 10
	// tailSize is read at once beyond the split's end, where one line is wanted only.
	tailSize = 64 << 10
)

func newBuffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 256<<10) }

// textReader cuts a source into lines. Its buffer holds the bytes [start, start+len(buf)) of the file; chunk is the part
// of it that was handed out last, whole lines all of it.
type textReader struct {
	src *source
	opt lineOptions

	space    []byte // the whole buffer
	lo, hi   int    // unread bytes in space
	loOffset int64  // of space[lo] in the file
	started  bool   // the beginning (rest of another split's line, byte order mark) has been dropped
	eof      bool
	done     bool

	rest       []byte // of the chunk that Next works on
	restOffset int64
	restCR     bool // it holds a \r
	offset     int64
	key        []byte
}

func newTextReader(src *source, opt lineOptions) *textReader {
	size := chunkSize
	if src.end >= 0 { // a small split needs no more than itself and a line
		size = int(min(chunkSize, max(src.end-src.start+1, 4<<10)))
	}
	return &textReader{src: src, opt: opt, space: make([]byte, size), loOffset: src.start}
}

// Next returns one line; the key is its offset.
func (r *textReader) Next() (key, value []byte, err error) {
	line, err := r.line()
	if err != nil {
		return nil, nil, err
	}
	r.key = strconv.AppendInt(r.key[:0], r.offset, 10)
	return r.key, line, nil
}

func (r *textReader) line() ([]byte, error) {
	for len(r.rest) == 0 {
		chunk, offset, err := r.rawChunk()
		if err != nil {
			return nil, err
		}
		r.rest, r.restOffset = chunk, offset
		r.restCR = r.opt.bareCR && bytes.IndexByte(chunk, '\r') >= 0
	}
	end := bytes.IndexByte(r.rest, '\n')
	next := end + 1
	if end < 0 {
		end, next = len(r.rest), len(r.rest)
	}
	if r.restCR {
		if cr := bytes.IndexByte(r.rest[:end], '\r'); cr >= 0 {
			if cr+1 != end || end == len(r.rest) { // not \r\n: the line ends at \r alone
				next = cr + 1
			}
			end = cr
		}
	}
	line := r.rest[:end:end]
	r.offset = r.restOffset
	if end > r.opt.maxLine {
		return nil, r.tooLong(r.offset)
	}
	r.rest, r.restOffset = r.rest[next:], r.restOffset+int64(next)
	return line, nil
}

// NextChunk returns whole lines with plain \n at their ends.
func (r *textReader) NextChunk() ([]byte, int64, error) {
	chunk, offset, err := r.rawChunk()
	if err != nil {
		return nil, 0, err
	}
	r.offset = offset
	if r.opt.maxLine < chunkSize {
		if err := r.checkLines(chunk, offset); err != nil {
			return nil, 0, err
		}
	}
	if r.opt.bareCR && bytes.IndexByte(chunk, '\r') >= 0 {
		chunk = plainEnds(chunk)
	}
	return chunk, offset, nil
}

// plainEnds makes \n of every \r\n and \r, in place.
func plainEnds(p []byte) []byte {
	out := p[:0]
	for {
		cr := bytes.IndexByte(p, '\r')
		if cr < 0 {
			return append(out, p...)
		}
		out = append(append(out, p[:cr]...), '\n')
		p = p[cr+1:]
		if len(p) > 0 && p[0] == '\n' {
			p = p[1:]
		}
	}
}

func (r *textReader) checkLines(chunk []byte, offset int64) error {
	for len(chunk) > 0 {
		end, next, ok := lineEnd(chunk, r.opt.bareCR)
		if !ok {
			end, next = len(chunk), len(chunk)
		}
		if end > r.opt.maxLine {
			return r.tooLong(offset)
		}
		chunk, offset = chunk[next:], offset+int64(next)
	}
	return nil
}

func (r *textReader) tooLong(offset int64) error {
	return fmt.Errorf("%s: %w: the line at byte %d has more than %d bytes; raise %s if lines may be longer",
		r.src.url, ErrLineTooLong, offset, r.opt.maxLine, MaxLineProperty)
}

// lineEnd finds the end of the first line of p and the start of the next. ok is false if the end is not in p, or may not
// be: a \r as the last byte may belong to a \n that follows.
func lineEnd(p []byte, bareCR bool) (end, next int, ok bool) {
	end = bytes.IndexByte(p, '\n')
	if bareCR {
		seen := p
		if end >= 0 {
			seen = p[:end]
		}
		if cr := bytes.IndexByte(seen, '\r'); cr >= 0 {
			switch {
			case cr+1 == end:
				return cr, end + 1, true
			case cr+1 == len(p):
				return 0, 0, false
			}
			return cr, cr + 1, true
		}
	}
	return end, end + 1, end >= 0
}

// lastEnd returns the length of the whole lines at the start of p, 0 if there is none for certain.
func lastEnd(p []byte, bareCR bool) int {
	if i := bytes.LastIndexByte(p, '\n'); i >= 0 {
		return i + 1
	}
	if bareCR && len(p) > 0 {
		if i := bytes.LastIndexByte(p[:len(p)-1], '\r'); i >= 0 {
			return i + 1
		}
	}
	return 0
}

// rawChunk returns the next whole lines of the split as they are in the file.
func (r *textReader) rawChunk() ([]byte, int64, error) {
	if !r.started {
		if err := r.begin(); err != nil {
			return nil, 0, err
		}
		r.started = true
	}
	if r.done {
		return nil, 0, io.EOF
	}
	for {
		if n := r.wholeLines(); n > 0 {
			chunk, offset := r.space[r.lo:r.lo+n:r.lo+n], r.loOffset
			r.drop(n)
			return chunk, offset, nil
		}
		if r.done {
			return nil, 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return nil, 0, err
		}
	}
}

// wholeLines returns how many buffered bytes are whole lines of this split, and sets done once the split's last line is
// among them.
func (r *textReader) wholeLines() int {
	p := r.space[r.lo:r.hi]
	if r.src.end >= 0 {
		if r.loOffset > r.src.end { // the next line starts beyond the end: it is the next split's
			r.done = true
			return 0
		}
		if toEnd := r.src.end - r.loOffset; int64(len(p)) > toEnd || r.eof {
			if n, ok := r.cut(p, int(min(toEnd, int64(len(p))))); ok {
				r.done = true
				return n
			}
		}
	}
	if r.eof {
		r.done = true
		return len(p)
	}
	return lastEnd(p, r.opt.bareCR)
}

// cut finds where the last line of the split ends: the first line end at or after at, the place of the split's end in p.
// A line that ends just before at is not the last: the one that starts at at is (see the package's comment).
func (r *textReader) cut(p []byte, at int) (int, bool) {
	if at > 0 && r.opt.bareCR && p[at-1] == '\r' && at < len(p) && p[at] == '\n' {
		return at + 1, true
	}
	_, next, ok := lineEnd(p[at:], r.opt.bareCR)
	return at + next, ok
}

// begin drops the rest of a line that started in the split before, or a byte order mark.
func (r *textReader) begin() error {
	if r.src.start == 0 {
		for r.hi-r.lo < 3 && !r.eof {
			if err := r.fill(); err != nil {
				return err
			}
		}
		if bytes.HasPrefix(r.space[r.lo:r.hi], []byte("\xef\xbb\xbf")) {
			r.drop(3)
			if r.src.end >= 0 {
				r.src.end = max(r.src.end, 3) // the first line is the first split's, however short that is
			}
		}
		return nil
	}
	for {
		p := r.space[r.lo:r.hi]
		_, next, ok := lineEnd(p, r.opt.bareCR)
		switch {
		case ok:
			r.drop(next)
			return nil
		case r.eof:
			r.done = true
			return nil
		case len(p) > 1: // all but a last \r is of no use
			r.drop(len(p) - 1)
		}
		if r.loOffset > r.src.end { // the line of another split covers this one whole
			r.done = true
			return nil
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

func (r *textReader) drop(n int) {
	r.lo += n
	r.loOffset += int64(n)
}

// fill reads more, after moving what is left to the front; a line that fills the buffer makes it grow.
func (r *textReader) fill() error {
	if r.lo > 0 {
		r.hi = copy(r.space, r.space[r.lo:r.hi])
		r.lo = 0
	}
	if r.hi == len(r.space) {
		if r.hi > r.opt.maxLine+1 {
			return r.tooLong(r.loOffset)
		}
		grown := make([]byte, min(2*len(r.space), max(r.opt.maxLine+2, len(r.space)+4096)))
		copy(grown, r.space)
		r.space = grown
	}
	offset := r.loOffset + int64(r.hi)
	want := len(r.space) - r.hi
	if r.src.end >= 0 {
		// Not a byte beyond the end at first: it may lie on another host.
		if left := r.src.end - offset; left > 0 {
			want = int(min(int64(want), left))
		} else {
			want = min(want, tailSize)
		}
	}
	n, err := r.src.read(r.space[r.hi:r.hi+want], offset)
	r.hi += n
	if err == io.EOF {
		r.eof = true
		return nil
	}
	return err
}

// Pos returns the consumed bytes of the split.
func (r *textReader) Pos() int64 {
	if r.src.counted != nil {
		return min(r.src.counted.n, r.src.splitBytes)
	}
	at := r.loOffset - int64(len(r.rest))
	return min(max(at-r.src.start, 0), r.src.splitBytes)
}

// Offset returns the place of the last line or chunk.
func (r *textReader) Offset() int64 { return r.offset }

func (r *textReader) Close() error { return r.src.close() }

// keyValueReader cuts lines into keys and values. It is no ChunkReader: a chunk would hide the separator.
type keyValueReader struct {
	lines     *textReader
	separator byte
}

func (r *keyValueReader) Next() (key, value []byte, err error) {
	line, err := r.lines.line()
	if err != nil {
		return nil, nil, err
	}
	if i := bytes.IndexByte(line, r.separator); i >= 0 {
		return line[:i:i], line[i+1:], nil
	}
	return line, line[len(line):], nil
}

func (r *keyValueReader) Pos() int64    { return r.lines.Pos() }
func (r *keyValueReader) Offset() int64 { return r.lines.Offset() }
func (r *keyValueReader) Close() error  { return r.lines.Close() }
