package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/storage"
)

// Formats of output.
const (
	// Text: key, separator, value, newline; a nil key or value is left out with the separator, an empty one is not.
	Text = "text"
	// Tera: key and value back to back; each record must have 100 bytes.
	Tera = "tera"
	// Parquet and Arrow (IPC file): a column key and a column value; see package columnar for their types.
	Parquet = "parquet"
	Arrow   = "arrow"
	// None: records are counted by the engine and dropped; no file is made.
	None = "none"
)

// Properties of writers.
const (
	SeparatorProperty = "mapreduce.output.textoutputformat.separator" // default: tab
	CompressProperty  = "mapreduce.output.fileoutputformat.compress"  // "true" or "false"
	// CodecProperty is a class of Hadoop's (its last part decides) or a short name: GzipCodec, gzip (default),
	// ZStandardCodec, zstd.
	CodecProperty = "mapreduce.output.fileoutputformat.compress.codec"
)

const teraRecord = 100

// Writer writes one file of results. It is used by one goroutine.
type Writer interface {
	// Write adds a record; key and value are the caller's again when it returns.
	Write(key, value []byte) error
	// Close makes the file complete. After an error of Write or Close the file is of no use and is to be removed
	// (Committer.AbortTask); Close must be called in any case.
	Close() error
}

// Create makes the file that an attempt writes (Committer.TaskPath). It overwrites what an earlier run of the same
// attempt left. Compression is asked for by CompressProperty and CodecProperty; it does not touch columnar formats, which
// compress their own columns.
func Create(ctx context.Context, format string, fs storage.FS, path string, conf map[string]string) (Writer, error) {
	kind, err := check(format, conf)
	if err != nil {
		return nil, err
	}
	if format == None {
		return noneWriter{}, nil
	}
	file, err := fs.Create(ctx, path, storage.CreateOptions{Overwrite: true})
	if err != nil {
		return nil, err
	}
	switch format {
	case Parquet, Arrow:
		w, err := columnar.CreateFile(columnar.Format(format), file, conf)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return w, nil
	}
	b := newBuffer(file, path)
	if kind.wrap != nil {
		if b.codec, err = kind.wrap(b.behind); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	if format == Tera {
		return &teraWriter{b}, nil
	}
	return &textWriter{buffer: b, separator: separator(conf)}, nil
}

// Check tells at submission whether Create can serve a format with these properties.
func Check(format string, conf map[string]string) error {
	_, err := check(format, conf)
	return err
}

// Extension is the suffix of part files: "", ".gz", ".zst", ".parquet", ".arrow".
func Extension(format string, conf map[string]string) string {
	switch format {
	case Parquet, Arrow:
		return "." + format
	case None:
		return ""
	}
	kind, err := codecOf(conf)
	if err != nil {
		return ""
	}
	return kind.extension
}

func check(format string, conf map[string]string) (codec, error) {
	switch format {
	case Text, "", Tera:
		return codecOf(conf)
	case Parquet, Arrow:
		return codec{}, columnar.CheckFile(columnar.Format(format), conf)
	case None:
		return codec{}, nil
	}
	return codec{}, fmt.Errorf("unknown output format %q: use text, tera, parquet, arrow or none", format)
}

// codec compresses a file.
type codec struct {
	extension string
	wrap      func(io.Writer) (io.WriteCloser, error) // nil: no compression
}

func codecOf(conf map[string]string) (codec, error) {
	switch s := strings.ToLower(conf[CompressProperty]); s {
	case "", "false":
		return codec{}, nil
	case "true":
	default:
		return codec{}, fmt.Errorf("property %s=%q: must be true or false", CompressProperty, s)
	}
	name := conf[CodecProperty]
	short := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	switch strings.TrimSuffix(short, "codec") {
	case "", "gzip", "gz":
		return codec{".gz", func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.DefaultCompression) }}, nil
	case "zstandard", "zstd", "zst":
		return codec{".zst", func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
		}}, nil
	case "bzip2", "bz2":
		return codec{}, fmt.Errorf("property %s=%q: bzip2 can be read but not written: use gzip or zstd", CodecProperty, name)
	}
	return codec{}, fmt.Errorf("property %s=%q: no such codec for output: use gzip or zstd", CodecProperty, name)
}

func separator(conf map[string]string) []byte {
	if s, ok := conf[SeparatorProperty]; ok {
		return []byte(s)
	}
	return []byte{'\t'}
}

// textWriter writes lines.
type textWriter struct {
	*buffer
	separator []byte
}

func (w *textWriter) Write(key, value []byte) error {
	b := w.block
	if key != nil {
		b = append(b, key...)
		if value != nil {
			b = append(b, w.separator...)
		}
	}
	b = append(append(b, value...), '\n')
	return w.put(b)
}

func (w *textWriter) Close() error { return w.close() }

// teraWriter writes 100-byte records.
type teraWriter struct{ *buffer }

func (w *teraWriter) Write(key, value []byte) error {
	if n := len(key) + len(value); n != teraRecord {
		return fmt.Errorf("%s: a record of %d bytes: the tera format has records of %d", w.path, n, teraRecord)
	}
	return w.put(append(append(w.block, key...), value...))
}

func (w *teraWriter) Close() error { return w.close() }

type noneWriter struct{}

func (noneWriter) Write(key, value []byte) error { return nil }
func (noneWriter) Close() error                  { return nil }
