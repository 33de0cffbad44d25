package input

import (
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// zstdWindow bounds the memory that a zstd file may ask of its reader; the format's own tools stop at 128 MiB too.
const zstdWindow = 128 << 20

// codecs by suffix; those without a reader are refused, for their bytes would be taken for text.
var codecs = map[string]func(io.Reader) (io.ReadCloser, error){
	".gz": func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
	".bz2": func(r io.Reader) (io.ReadCloser, error) {
		return io.NopCloser(bzip2.NewReader(r)), nil
	},
	".zst": func(r io.Reader) (io.ReadCloser, error) {
		// One goroutine less than by default: the cores belong to other tasks.
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	},
	".deflate": nil, ".lz4": nil, ".snappy": nil, ".lzo": nil, ".xz": nil, ".Z": nil,
}

// compressed tells whether a file of this name is compressed, and refuses what cannot be read.
func compressed(name string) (bool, error) {
	open, ok := codecs[path.Ext(name)]
	if ok && open == nil {
		return true, fmt.Errorf("%s: %w: no reader for %s here; compress it with gzip, bzip2 or zstd", name,
			storage.ErrUnsupported, path.Ext(name))
	}
	return ok, nil
}

// source is the bytes of a split and of what follows it: a file from the split's offset, or the plain text of a
// compressed one.
type source struct {
	url        string
	file       storage.File
	plain      io.ReadCloser // decompressor; nil for a plain file
	counted    *countingReader
	start      int64 // file offset of the first byte read; 0 if compressed
	end        int64 // file offset of the split's end; -1 if compressed: read to the end of the file
	splitBytes int64
}

func openSource(ctx context.Context, fs storage.FS, name string, split spec.Split) (*source, error) {
	url := split.URL
	if url == "" {
		url = name
	}
	isCompressed, err := compressed(name)
	if err != nil {
		return nil, err
	}
	f, err := fs.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	s := &source{url: url, file: f, start: split.Offset, end: split.Offset + split.Length, splitBytes: split.Length}
	if !isCompressed {
		if split.Offset > 0 {
			if _, err := f.Seek(split.Offset, io.SeekStart); err != nil {
				return nil, errors.Join(fmt.Errorf("%s: seek to %d: %w", url, split.Offset, err), f.Close())
			}
		}
		return s, nil
	}
	if split.Offset != 0 {
		return nil, errors.Join(fmt.Errorf("%s: a compressed file cannot be read from offset %d", url, split.Offset), f.Close())
	}
	s.start, s.end = 0, -1
	s.counted = &countingReader{r: f}
	if split.FileSize == 0 && split.Length == 0 {
		s.plain = io.NopCloser(strings.NewReader("")) // an empty file is an empty input, whatever its name
		return s, nil
	}
	s.plain, err = codecs[path.Ext(name)](newBuffered(s.counted))
	if err != nil {
		return nil, errors.Join(s.explain(err, 0), f.Close())
	}
	return s, nil
}

// read fills p as far as it can in one or more reads and returns io.EOF only with n == 0.
func (s *source) read(p []byte, offset int64) (int, error) {
	r := io.Reader(s.file)
	if s.plain != nil {
		r = s.plain
	}
	n, err := 0, error(nil)
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if err == io.EOF {
		if n > 0 {
			return n, nil
		}
		return 0, io.EOF
	}
	if err != nil {
		return n, s.explain(err, offset+int64(n))
	}
	return n, nil
}

// explain adds the file and the place to an error of reading. Errors of the storage pass with their own class; an error
// of a decompressor means that the file is damaged.
func (s *source) explain(err error, offset int64) error {
	if s.plain == nil && s.counted == nil {
		return fmt.Errorf("read %s at byte %d: %w", s.url, offset, err)
	}
	if s.counted.err != nil && s.counted.err != io.EOF {
		return fmt.Errorf("read %s at byte %d: %w", s.url, s.counted.n, s.counted.err)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s: %w: decompression failed near byte %d of the file (%d bytes of its content were good): %w",
		s.url, storage.ErrCorrupt, s.counted.n, offset, err)
}

func (s *source) close() error {
	var err error
	if s.plain != nil {
		s.plain.Close() // releases memory only; damage has been reported by read
	}
	if cerr := s.file.Close(); cerr != nil {
		err = fmt.Errorf("close %s: %w", s.url, cerr)
	}
	return err
}

// countingReader counts what a decompressor takes and keeps the storage's own error apart from the decompressor's.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// OpenRaw opens a whole file of size bytes, decompressed by its suffix, as plain bytes.
func OpenRaw(ctx context.Context, fs storage.FS, name string, size int64) (io.ReadCloser, error) {
	s, err := openSource(ctx, fs, name, spec.Split{Length: size, FileSize: size})
	if err != nil {
		return nil, err
	}
	return &rawReader{src: s}, nil
}

type rawReader struct {
	src *source
	n   int64
}

func (r *rawReader) Read(p []byte) (int, error) {
	n, err := r.src.read(p, r.n)
	r.n += int64(n)
	return n, err
}

func (r *rawReader) Close() error { return r.src.close() }
