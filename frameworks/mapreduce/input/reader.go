package input

import (
	"context"
	"fmt"
	"io"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Formats of input.
const (
	// Text: one record for each line; the key is the line's byte offset in the (decompressed) file in decimal, the
	// value is the line without its end. A line ends at \n, \r\n or \r, as in Hadoop's LineReader.
	Text = "text"
	// KeyValue: lines cut at the first separator (tab, or mapreduce.input.keyvaluelinerecordreader.key.value.separator).
	// A line without one is all key; its value is empty.
	KeyValue = "keyvalue"
	// Tera: records of 100 bytes, a 10-byte key and a 90-byte value, without any framing.
	Tera = "tera"
	// Parquet and Arrow: rows of columnar files; see package columnar for how a row becomes key and value.
	Parquet = "parquet"
	Arrow   = "arrow"
	// None: Split.Length synthetic records; the key is the record's number in decimal (from Split.Offset), no value.
	None = "none"
)

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
	return nil, fmt.Errorf("input format %q: %w", format, io.ErrUnexpectedEOF)
}
