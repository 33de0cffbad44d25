package task

import (
	"context"
	"io"
	"strings"
	"sync/atomic"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// countedFS counts the bytes that pass.
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
	return &countedWriter{WriteCloser: w, written: c.written}, nil
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

// countedWriter is a file being written; the output's writers hand large blocks to it from a goroutine of their own.
type countedWriter struct {
	io.WriteCloser
	written *atomic.Int64
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.WriteCloser.Write(p)
	w.written.Add(int64(n))
	return n, err
}
