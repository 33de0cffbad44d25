package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Formats of input.
const (
	// Text: one record for each line; the key is the line's byte offset in the (decompressed) file in decimal, the
	// value is the line without its end. A line ends at \n, \r\n or \r, as in Hadoop's LineReader; a UTF-8 byte order
	// mark at the start of the file is dropped.
	Text = "text"
	// KeyValue: lines cut at the first separator byte (tab, or SeparatorProperty). A line without one is all key; its
	// value is empty.
	KeyValue = "keyvalue"
	// Tera: records of 100 bytes, a 10-byte key and a 90-byte value, without any framing.
	Tera = "tera"
	// Parquet and Arrow: rows of columnar files; see package columnar for how a row becomes key and value.
	Parquet = "parquet"
	Arrow   = "arrow"
	// None: Split.Length synthetic records; the key is the record's number in decimal (from Split.Offset), no value.
	None = "none"
)

// Properties of readers.
const (
	// MaxLineProperty bounds a line in bytes (default DefaultMaxLine): a longer one is an error, for it would be held
	// in memory whole.
	MaxLineProperty = "mapreduce.input.linerecordreader.line.maxlength"
	// SeparatorProperty is the one byte between key and value in KeyValue.
	SeparatorProperty = "mapreduce.input.keyvaluelinerecordreader.key.value.separator"
	// DelimiterProperty is Hadoop's way to end lines otherwise; only "\n" (then \r is an ordinary byte) is supported.
	DelimiterProperty = "textinputformat.record.delimiter"

	// DefaultMaxLine is the longest line in bytes unless the job says otherwise.
	DefaultMaxLine = 64 << 20
	// TeraRecord and TeraKey are the sizes in bytes of a TeraSort record and its key.
	TeraRecord = 100
	TeraKey    = 10
)

// ErrLineTooLong marks a line of more than MaxLineProperty bytes.
var ErrLineTooLong = errors.New("line too long")

// Reader reads the records of one split. It is used by one goroutine.
type Reader interface {
	// Next returns the next record, or io.EOF after the last. The slices are valid until the next call.
	Next() (key, value []byte, err error)
	// Pos is how many bytes of the split (of a compressed file: compressed bytes) have been consumed; never more than
	// the split's length.
	Pos() int64
	Close() error
}

// ChunkReader is what readers of text and tera also are: whole lines (or records) at a time, without a copy for each.
// Use either Next or NextChunk on one reader, not both.
type ChunkReader interface {
	// NextChunk returns whole lines, each ended by a single \n but perhaps the last of the file (tera: whole records of
	// 100 bytes), about 512 KiB of them, more only if one line is longer. offset is the place of the first byte in the
	// (decompressed) file. The slice is valid until the next call and may be written to. io.EOF at the end.
	NextChunk() (lines []byte, offset int64, err error)
}

// Positioned is what every reader also is: the place of the record that Next last returned (of the chunk that
// NextChunk last returned), for reports of bad records. In text a byte offset in the (decompressed) file, in columnar
// files a row number.
type Positioned interface {
	Offset() int64
}

// Open opens one split for reading. path is the split's file in fs (both ignored for None). conf holds the job's
// properties. Errors name the file; those met later, in Next, name the offset too.
func Open(ctx context.Context, format string, fs storage.FS, path string, split spec.Split, conf map[string]string) (Reader, error) {
	if split.Offset < 0 || split.Length < 0 {
		return nil, fmt.Errorf("split %d: negative offset or length", split.Index)
	}
	switch format {
	case Text, "", KeyValue:
		opt, err := parseLineOptions(conf)
		if err != nil {
			return nil, err
		}
		src, err := openSource(ctx, fs, path, split)
		if err != nil {
			return nil, err
		}
		lines := newTextReader(src, opt)
		if format == KeyValue {
			return &keyValueReader{lines: lines, separator: opt.separator}, nil
		}
		return lines, nil
	case Tera:
		src, err := openSource(ctx, fs, path, split)
		if err != nil {
			return nil, err
		}
		return newTeraReader(src), nil
	case Parquet, Arrow:
		f, err := fs.Open(ctx, path)
		if err != nil {
			return nil, err
		}
		r, err := columnar.OpenFile(columnar.Format(format), f, split.URL, split.Offset, split.Length, split.FileSize)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return r, nil
	case None:
		return &noneReader{first: split.Offset, n: split.Length}, nil
	}
	return nil, fmt.Errorf("unknown input format %q: use text, keyvalue, tera, parquet, arrow or none", format)
}

type lineOptions struct {
	maxLine   int
	separator byte
	bareCR    bool // \r ends a line too
}

func parseLineOptions(conf map[string]string) (lineOptions, error) {
	opt := lineOptions{maxLine: DefaultMaxLine, separator: '\t', bareCR: true}
	if s := conf[MaxLineProperty]; s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			return opt, fmt.Errorf("property %s=%q: must be a number of bytes from 1", MaxLineProperty, s)
		}
		opt.maxLine = int(min(n, 1<<30)) // Hadoop's own default is 2^31-1: more than any task's memory
	}
	if s := conf[SeparatorProperty]; s != "" {
		if len(s) != 1 {
			return opt, fmt.Errorf("property %s=%q: must be one byte", SeparatorProperty, s)
		}
		opt.separator = s[0]
	}
	if s, ok := conf[DelimiterProperty]; ok && s != "" {
		if s != "\n" && s != `\n` {
			return opt, fmt.Errorf("property %s=%q: only \\n is supported", DelimiterProperty, s)
		}
		opt.bareCR = false
	}
	return opt, nil
}

// noneReader makes records out of nothing.
type noneReader struct {
	first, n, i int64
	key         []byte
}

func (r *noneReader) Next() (key, value []byte, err error) {
	if r.i == r.n {
		return nil, nil, io.EOF
	}
	r.key = strconv.AppendInt(r.key[:0], r.first+r.i, 10)
	r.i++
	return r.key, nil, nil
}

func (r *noneReader) Pos() int64    { return r.i }
func (r *noneReader) Offset() int64 { return r.first + max(r.i-1, 0) }
func (r *noneReader) Close() error  { return nil }
