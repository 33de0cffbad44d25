package task

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// countedFS counts the bytes that pass and writes in the background.
type countedFS struct {
	storage.FS
	read, written *atomic.Int64
}

// openFS resolves a URL for the job's user.
func openFS(ctx context.Context, mux *storage.Mux, url, user string, r spec.Reporter) (storage.FS, string, error) {
	fs, path, err := mux.Resolve(ctx, url, user)
	if err != nil {
		return nil, "", err
	}
	scheme := "FILE"
	if l, err := mux.Locate(url); err == nil {
		scheme = strings.ToUpper(l.Scheme)
	}
	c := r.Counters()
	return &countedFS{
		FS:      fs,
		read:    c.Get(spec.FileCounters, scheme+"_BYTES_READ"),
		written: c.Get(spec.FileCounters, scheme+"_BYTES_WRITTEN"),
	}, path, nil
}

func (c *countedFS) Open(ctx context.Context, path string) (storage.File, error) {
	f, err := c.FS.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return &countedFile{File: f, read: c.read}, nil
}

func (c *countedFS) Create(ctx context.Context, path string, o storage.CreateOptions) (io.WriteCloser, error) {
	w, err := c.FS.Create(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return newBackgroundWriter(w, c.written), nil
}

type countedFile struct {
	storage.File
	read *atomic.Int64
}

func (f *countedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.read.Add(int64(n))
	return n, err
}

func (f *countedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.read.Add(int64(n))
	return n, err
}

// writeSize is what a backgroundWriter hands on at once.
const writeSize = 1 << 20

// backgroundWriter writes to a slow writer (a DataNode) from a goroutine of its own, a MiB at a time, while the next
// one is filled. The goroutine ends with Close.
type backgroundWriter struct {
	w       io.WriteCloser
	written *atomic.Int64
	buf     []byte
	full    chan []byte
	free    chan []byte
	failed  chan struct{} // closed when a write has failed
	group   errgroup.Group
	made    int
	closed  bool
}

func newBackgroundWriter(w io.WriteCloser, written *atomic.Int64) *backgroundWriter {
	b := &backgroundWriter{
		w: w, written: written,
		full: make(chan []byte, 1), free: make(chan []byte, 2), failed: make(chan struct{}),
	}
	b.group.Go(b.run)
	return b
}

func (b *backgroundWriter) run() error {
	for p := range b.full {
		n, err := b.w.Write(p)
		b.written.Add(int64(n))
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			close(b.failed)
			return err
		}
		b.free <- p[:0]
	}
	return nil
}

// Write returns the error of an earlier write, if one failed.
func (b *backgroundWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		if b.buf == nil {
			select {
			case b.buf = <-b.free:
			default:
				if err := b.next(); err != nil {
					return n, err
				}
			}
		}
		k := min(len(p), cap(b.buf)-len(b.buf))
		b.buf = append(b.buf, p[:k]...)
		n += k
		p = p[k:]
		if len(b.buf) == cap(b.buf) {
			if err := b.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// next gets a buffer: a new one, up to two, else one that has been written.
func (b *backgroundWriter) next() error {
	if b.made < 2 {
		b.made++
		b.buf = make([]byte, 0, writeSize)
		return nil
	}
	select {
	case b.buf = <-b.free:
		return nil
	case <-b.failed:
		return b.group.Wait()
	}
}

func (b *backgroundWriter) flush() error {
	p := b.buf
	b.buf = nil
	select {
	case b.full <- p:
		return nil
	case <-b.failed:
		return b.group.Wait()
	}
}

// Close writes the rest and closes the file.
func (b *backgroundWriter) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	var err error
	if len(b.buf) > 0 {
		err = b.flush()
	}
	close(b.full)
	if werr := b.group.Wait(); err == nil {
		err = werr
	}
	return errors.Join(err, b.w.Close())
}
