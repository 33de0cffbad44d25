package input

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"

	"fairway/frameworks/storage"
)

// memory is a read-only file system in memory whose reads are as short as Reads says.
type memory struct {
	files map[string][]byte
	dirs  map[string]bool
	block int64
	reads int // bytes at most in one Read; 0: all
	deny  string
	hosts []string // of block i: hosts[i % len]
}

func newMemory(files map[string]string) *memory {
	m := &memory{files: map[string][]byte{}, dirs: map[string]bool{"/": true}}
	for name, content := range files {
		m.files[name] = []byte(content)
		for d := path.Dir(name); d != "/"; d = path.Dir(d) {
			m.dirs[d] = true
		}
	}
	return m
}

func (m *memory) Resolve(_ context.Context, url, _ string) (storage.FS, string, error) {
	l, err := storage.Parse(url)
	return m, l.Path, err
}

func (m *memory) Stat(_ context.Context, p string) (storage.Info, error) {
	if b, ok := m.files[p]; ok {
		return storage.Info{Path: p, Size: int64(len(b)), BlockSize: m.block}, nil
	}
	if m.dirs[p] {
		return storage.Info{Path: p, IsDir: true}, nil
	}
	return storage.Info{}, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
}

func (m *memory) List(ctx context.Context, p string) ([]storage.Info, error) {
	if p == m.deny {
		return nil, &fs.PathError{Op: "list", Path: p, Err: fs.ErrPermission}
	}
	var out []storage.Info
	for name := range m.files {
		if path.Dir(name) == p {
			i, _ := m.Stat(ctx, name)
			out = append(out, i)
		}
	}
	for name := range m.dirs {
		if path.Dir(name) == p && name != "/" {
			out = append(out, storage.Info{Path: name, IsDir: true})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

func (m *memory) Open(_ context.Context, p string) (storage.File, error) {
	b, ok := m.files[p]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return &memoryFile{Reader: bytes.NewReader(b), reads: m.reads}, nil
}

func (m *memory) Blocks(_ context.Context, p string) ([]storage.Block, error) {
	size := int64(len(m.files[p]))
	if m.block == 0 {
		return []storage.Block{{Length: size}}, nil
	}
	var out []storage.Block
	for at := int64(0); at < size; at += m.block {
		b := storage.Block{Offset: at, Length: min(m.block, size-at)}
		if len(m.hosts) > 0 {
			for _, h := range strings.Fields(m.hosts[len(out)%len(m.hosts)]) {
				b.Replicas = append(b.Replicas, storage.Replica{Host: h})
			}
		}
		out = append(out, b)
	}
	return out, nil
}

func (m *memory) Create(context.Context, string, storage.CreateOptions) (io.WriteCloser, error) {
	return nil, fs.ErrPermission
}
func (m *memory) Rename(context.Context, string, string) error     { return fs.ErrPermission }
func (m *memory) Mkdir(context.Context, string, fs.FileMode) error { return fs.ErrPermission }
func (m *memory) Remove(context.Context, string) error             { return fs.ErrPermission }
func (m *memory) Close() error                                     { return nil }

type memoryFile struct {
	*bytes.Reader
	reads int
}

func (f *memoryFile) Read(p []byte) (int, error) {
	if f.reads > 0 && len(p) > f.reads {
		p = p[:f.reads]
	}
	return f.Reader.Read(p)
}

func (f *memoryFile) Close() error { return nil }
