package storagetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"

	"fairway/frameworks/storage"
)

// Options of Run.
type Options struct {
	// FS is what is tested.
	FS storage.FS
	// Root is an existing empty folder that the tests may fill.
	Root string
	// URL is what full URLs begin with, before the path: "file://", "hdfs://host:port".
	URL string
	// BlockSize is set for files of several blocks; 0 if the file system has none.
	BlockSize int64
}

// Run tests the contract.
func Run(t *testing.T, o Options) {
	ctx := context.Background()
	dir := func(t *testing.T, name string) string {
		t.Helper()
		d := path.Join(o.Root, name)
		if err := o.FS.Mkdir(ctx, d, 0); err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Run("write and read", func(t *testing.T) { writeAndRead(t, o, dir(t, "rw")) })
	t.Run("many sizes", func(t *testing.T) { manySizes(t, o, dir(t, "sizes")) })
	t.Run("seek and read at", func(t *testing.T) { seekAndReadAt(t, o, dir(t, "seek")) })
	t.Run("create", func(t *testing.T) { create(t, o, dir(t, "create")) })
	t.Run("list", func(t *testing.T) { list(t, o, dir(t, "list")) })
	t.Run("rename", func(t *testing.T) { rename(t, o, dir(t, "rename")) })
	t.Run("remove", func(t *testing.T) { remove(t, o, dir(t, "remove")) })
	t.Run("missing", func(t *testing.T) { missing(t, o, dir(t, "missing")) })
	t.Run("folders are not files", func(t *testing.T) { folders(t, o, dir(t, "folders")) })
	t.Run("blocks", func(t *testing.T) { blocks(t, o, dir(t, "blocks")) })
	t.Run("ended context", func(t *testing.T) { ended(t, o, dir(t, "ended")) })
	t.Run("concurrent", func(t *testing.T) { concurrent(t, o, dir(t, "concurrent")) })
	t.Run("glob", func(t *testing.T) { glob(t, o, dir(t, "glob")) })
}

// Put writes a file.
func Put(t *testing.T, f storage.FS, p string, data []byte, o storage.CreateOptions) {
	t.Helper()
	w, err := f.Create(context.Background(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(data); n != len(data) || err != nil {
		t.Fatal(n, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Get reads a whole file.
func Get(t *testing.T, f storage.FS, p string) []byte {
	t.Helper()
	r, err := f.Open(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func writeAndRead(t *testing.T, o Options, dir string) {
	data := random(300_000)
	p := path.Join(dir, "deep", "er", "file name ü")
	Put(t, o.FS, p, data, storage.CreateOptions{})
	if got := Get(t, o.FS, p); !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, other than the %d written", len(got), len(data))
	}
	i, err := o.FS.Stat(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if i.Path != p || i.Size != int64(len(data)) || i.IsDir || i.Mode.Perm()&0o600 != 0o600 || i.Owner == "" || i.ModTime.Year() < 2020 {
		t.Errorf("%+v", i)
	}
	if d, err := o.FS.Stat(context.Background(), dir); err != nil || !d.IsDir || !d.Mode.IsDir() {
		t.Errorf("folder: %+v, %v", d, err)
	}
}

func manySizes(t *testing.T, o Options, dir string) {
	unit := 512
	block := int(o.BlockSize)
	if block == 0 {
		block = 1 << 20
	}
	for i, size := range []int{0, 1, unit - 1, unit, unit + 1, 65536, 65537, 256 << 10, 256<<10 + 1, block - 1, block, block + 1, 2*block + 700} {
		for _, buf := range []int{1 << 20, 7777} {
			data := random(size)
			p := path.Join(dir, fmt.Sprint(i, "-", buf))
			w, err := o.FS.Create(context.Background(), p, storage.CreateOptions{BlockSize: o.BlockSize})
			if err != nil {
				t.Fatal(err)
			}
			for rest := data; len(rest) > 0; {
				n, err := w.Write(rest[:min(buf, len(rest))])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := o.FS.Open(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			chunk := make([]byte, buf)
			for {
				n, err := r.Read(chunk)
				got = append(got, chunk[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, data) {
				t.Errorf("size %d, buffer %d: read %d other bytes", size, buf, len(got))
			}
			if n, err := r.Read(chunk); n != 0 || err != io.EOF {
				t.Errorf("after the end: %d, %v", n, err)
			}
			r.Close()
		}
	}
}

func seekAndReadAt(t *testing.T, o Options, dir string) {
	size := 700_000
	if o.BlockSize > 0 {
		size = max(size, int(2*o.BlockSize+o.BlockSize/2))
	}
	data := random(size)
	p := path.Join(dir, "f")
	Put(t, o.FS, p, data, storage.CreateOptions{BlockSize: o.BlockSize})
	r, err := o.FS.Open(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 100_000)
	for _, off := range []int{0, 1, 511, 512, 513, size / 3, size - 100_000, size/2 + 13, 5} {
		if n, err := r.ReadAt(buf, int64(off)); n != len(buf) || err != nil || !bytes.Equal(buf, data[off:off+n]) {
			t.Fatalf("ReadAt %d: %d, %v", off, n, err)
		}
	}
	if n, err := r.ReadAt(buf, int64(size-10)); n != 10 || err != io.EOF || !bytes.Equal(buf[:10], data[size-10:]) {
		t.Errorf("ReadAt near the end: %d, %v", n, err)
	}
	if n, err := r.ReadAt(buf, int64(size+10)); n != 0 || err != io.EOF {
		t.Errorf("ReadAt behind the end: %d, %v", n, err)
	}
	if _, err := r.ReadAt(buf, -1); err == nil {
		t.Error("ReadAt before the start passed")
	}
	// ReadAt has not moved Read, which goes on from wherever Seek says.
	if n, err := io.ReadFull(r, buf[:10]); err != nil || !bytes.Equal(buf[:n], data[:10]) {
		t.Errorf("Read at the start: %d, %v", n, err)
	}
	for _, s := range []struct {
		off    int64
		whence int
		want   int
	}{{int64(size / 2), io.SeekStart, size / 2}, {-5, io.SeekCurrent, size/2 + 95}, {-77, io.SeekEnd, size - 77}, {3, io.SeekStart, 3}} {
		at, err := r.Seek(s.off, s.whence)
		if err != nil || at != int64(s.want) {
			t.Fatalf("Seek %+v: %d, %v", s, at, err)
		}
		n := min(100, size-s.want)
		if _, err := io.ReadFull(r, buf[:n]); err != nil || !bytes.Equal(buf[:n], data[s.want:s.want+n]) {
			t.Fatalf("Read after Seek %+v: %v", s, err)
		}
		if _, err := r.ReadAt(buf[:50], 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start passed")
	}
}

func create(t *testing.T, o Options, dir string) {
	p := path.Join(dir, "f")
	Put(t, o.FS, p, []byte("one"), storage.CreateOptions{})
	_, err := o.FS.Create(context.Background(), p, storage.CreateOptions{})
	wantError(t, o, err, fs.ErrExist, p)
	Put(t, o.FS, p, []byte("2"), storage.CreateOptions{Overwrite: true, Perm: 0o600})
	if got := Get(t, o.FS, p); string(got) != "2" {
		t.Errorf("after overwriting: %q", got)
	}
	if _, err := o.FS.Create(context.Background(), path.Join(p, "below"), storage.CreateOptions{}); err == nil {
		t.Error("made a file below a file")
	}
	q := path.Join(dir, "private")
	Put(t, o.FS, q, nil, storage.CreateOptions{Perm: 0o600})
	if i, err := o.FS.Stat(context.Background(), q); err != nil || i.Mode.Perm() != 0o600 {
		t.Errorf("mode: %v, %v", i.Mode, err)
	}
}

func list(t *testing.T, o Options, dir string) {
	ctx := context.Background()
	for _, name := range []string{"b", "a", "c c", "_x", ".y"} {
		Put(t, o.FS, path.Join(dir, name), []byte(name), storage.CreateOptions{})
	}
	if err := o.FS.Mkdir(ctx, path.Join(dir, "sub", "sub"), 0); err != nil {
		t.Fatal(err)
	}
	infos, err := o.FS.List(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range infos {
		name := path.Base(i.Path)
		if i.Path != path.Join(dir, name) {
			t.Errorf("path %q", i.Path)
		}
		if i.IsDir {
			name += "/"
		} else if i.Size != int64(len(name)) {
			t.Errorf("%s has %d bytes", name, i.Size)
		}
		got = append(got, name)
	}
	if s := strings.Join(got, "|"); s != ".y|_x|a|b|c c|sub/" {
		t.Error(s)
	}
	if infos, err := o.FS.List(ctx, path.Join(dir, "sub", "sub")); err != nil || len(infos) != 0 {
		t.Errorf("empty folder: %v, %v", infos, err)
	}
}

func rename(t *testing.T, o Options, dir string) {
	ctx := context.Background()
	a, b := path.Join(dir, "a"), path.Join(dir, "b")
	Put(t, o.FS, a, []byte("a"), storage.CreateOptions{})
	Put(t, o.FS, b, []byte("b"), storage.CreateOptions{})
	wantError(t, o, o.FS.Rename(ctx, a, b), fs.ErrExist, b)
	if got := Get(t, o.FS, b); string(got) != "b" {
		t.Errorf("a refused rename left %q", got)
	}
	if err := o.FS.Rename(ctx, a, path.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if got := Get(t, o.FS, path.Join(dir, "c")); string(got) != "a" {
		t.Errorf("%q", got)
	}
	wantError(t, o, o.FS.Rename(ctx, a, path.Join(dir, "d")), fs.ErrNotExist, a)
	if err := o.FS.Rename(ctx, b, path.Join(dir, "no", "parent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a missing folder: %v", err)
	}
	folder := path.Join(dir, "folder")
	Put(t, o.FS, path.Join(folder, "x"), []byte("x"), storage.CreateOptions{})
	if err := o.FS.Mkdir(ctx, path.Join(dir, "empty"), 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, o, o.FS.Rename(ctx, folder, path.Join(dir, "empty")), fs.ErrExist, path.Join(dir, "empty"))
	wantError(t, o, o.FS.Rename(ctx, b, path.Join(dir, "empty")), fs.ErrExist, path.Join(dir, "empty"))
	if err := o.FS.Rename(ctx, folder, path.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if got := Get(t, o.FS, path.Join(dir, "moved", "x")); string(got) != "x" {
		t.Errorf("%q", got)
	}
}

func remove(t *testing.T, o Options, dir string) {
	ctx := context.Background()
	Put(t, o.FS, path.Join(dir, "d", "e", "f"), []byte("x"), storage.CreateOptions{})
	if err := o.FS.Remove(ctx, path.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.FS.Stat(ctx, path.Join(dir, "d")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := o.FS.Remove(ctx, path.Join(dir, "d")); err != nil {
		t.Errorf("a missing file: %v", err)
	}
	if err := o.FS.Remove(ctx, "/"); err == nil {
		t.Fatal("removed the root")
	}
}

func missing(t *testing.T, o Options, dir string) {
	ctx := context.Background()
	p := path.Join(dir, "none")
	_, err := o.FS.Stat(ctx, p)
	wantError(t, o, err, fs.ErrNotExist, p)
	_, err = o.FS.Open(ctx, p)
	wantError(t, o, err, fs.ErrNotExist, p)
	_, err = o.FS.List(ctx, p)
	wantError(t, o, err, fs.ErrNotExist, p)
	_, err = o.FS.Blocks(ctx, p)
	wantError(t, o, err, fs.ErrNotExist, p)
	if _, err := o.FS.Stat(ctx, "relative"); err == nil {
		t.Error("a relative path passed")
	}
}

// wantError checks the kind, the URL in it, and that it is one line.
func wantError(t *testing.T, o Options, err, kind error, p string) {
	t.Helper()
	var pe *fs.PathError
	if !errors.Is(err, kind) || !errors.As(err, &pe) || pe.Path != o.URL+p || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want a one-line *fs.PathError of %v about %s", err, kind, o.URL+p)
	}
}

func folders(t *testing.T, o Options, dir string) {
	ctx := context.Background()
	if r, err := o.FS.Open(ctx, dir); err == nil {
		r.Close()
		t.Error("opened a folder")
	}
	if _, err := o.FS.Blocks(ctx, dir); err == nil {
		t.Error("a folder has blocks")
	}
	Put(t, o.FS, path.Join(dir, "f"), nil, storage.CreateOptions{})
	if _, err := o.FS.List(ctx, path.Join(dir, "f")); err == nil {
		t.Error("listed a file")
	}
	if err := o.FS.Mkdir(ctx, dir, 0); err != nil {
		t.Errorf("an existing folder: %v", err)
	}
	if err := o.FS.Mkdir(ctx, path.Join(dir, "f"), 0); err == nil {
		t.Error("made a folder over a file")
	}
	if err := o.FS.Mkdir(ctx, path.Join(dir, "f", "g"), 0); err == nil {
		t.Error("made a folder below a file")
	}
}

func blocks(t *testing.T, o Options, dir string) {
	ctx := context.Background()
	p := path.Join(dir, "f")
	size := int64(100_000)
	want := 1
	if o.BlockSize > 0 {
		size, want = 2*o.BlockSize+1, 3
	}
	Put(t, o.FS, p, random(int(size)), storage.CreateOptions{BlockSize: o.BlockSize})
	bs, err := o.FS.Blocks(ctx, p)
	if err != nil || len(bs) != want {
		t.Fatalf("%d blocks, %v", len(bs), err)
	}
	end := int64(0)
	for _, b := range bs {
		if b.Offset != end || b.Length <= 0 || b.Corrupt {
			t.Errorf("%+v", b)
		}
		end += b.Length
		if o.BlockSize == 0 {
			if len(b.Replicas) != 0 {
				t.Errorf("%+v", b)
			}
			continue
		}
		if len(b.Replicas) == 0 || b.Replicas[0].Host == "" || b.Replicas[0].Address == "" || b.Replicas[0].Rack == "" {
			t.Errorf("%+v", b)
		}
	}
	if end != size {
		t.Errorf("blocks of %d bytes, file of %d", end, size)
	}
	if i, err := o.FS.Stat(ctx, p); err != nil || i.BlockSize != o.BlockSize {
		t.Errorf("block size %d, %v", i.BlockSize, err)
	}
	Put(t, o.FS, path.Join(dir, "empty"), nil, storage.CreateOptions{})
	if bs, err := o.FS.Blocks(ctx, path.Join(dir, "empty")); err != nil || len(bs) != 0 {
		t.Errorf("empty file: %v, %v", bs, err)
	}
}

func ended(t *testing.T, o Options, dir string) {
	p := path.Join(dir, "f")
	Put(t, o.FS, p, random(1000), storage.CreateOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	r, err := o.FS.Open(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := o.FS.Create(ctx, path.Join(dir, "g"), storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	w.Write(random(10))
	w.Close() // may fail or not, but ends
	for name, call := range map[string]func() error{
		"Stat":   func() error { _, err := o.FS.Stat(ctx, p); return err },
		"List":   func() error { _, err := o.FS.List(ctx, dir); return err },
		"Open":   func() error { _, err := o.FS.Open(ctx, p); return err },
		"Create": func() error { _, err := o.FS.Create(ctx, p, storage.CreateOptions{}); return err },
		"Rename": func() error { return o.FS.Rename(ctx, p, p+"x") },
		"Mkdir":  func() error { return o.FS.Mkdir(ctx, p+"d", 0) },
		"Remove": func() error { return o.FS.Remove(ctx, p) },
		"Blocks": func() error { _, err := o.FS.Blocks(ctx, p); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	Get(t, o.FS, p)
}

func concurrent(t *testing.T, o Options, dir string) {
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			data := random(50_000 + i)
			p := path.Join(dir, fmt.Sprint(i))
			w, err := o.FS.Create(context.Background(), p, storage.CreateOptions{})
			if err == nil {
				_, err = w.Write(data)
				err = errors.Join(err, w.Close())
			}
			if err != nil {
				t.Error(err)
				return
			}
			r, err := o.FS.Open(context.Background(), p)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", p, len(got), err)
			}
		})
	}
	wg.Wait()
	if infos, err := o.FS.List(context.Background(), dir); err != nil || len(infos) != 12 {
		t.Errorf("%d files, %v", len(infos), err)
	}
}

func glob(t *testing.T, o Options, dir string) {
	for _, name := range []string{"2024/a.txt", "2024/b.log", "2025/a.txt", "2025/deep/c.txt"} {
		Put(t, o.FS, path.Join(dir, name), nil, storage.CreateOptions{})
	}
	for pattern, want := range map[string]string{
		"*/a.txt":             "2024/a.txt 2025/a.txt",
		"202[45]/*.{txt,log}": "2024/a.txt 2024/b.log 2025/a.txt",
		"2024/?.txt":          "2024/a.txt",
		"{2024,2025/deep}/*":  "2024/a.txt 2024/b.log 2025/deep/c.txt",
		"*/*/c.txt":           "2025/deep/c.txt",
		"*":                   "2024 2025",
		"none/*":              "",
		"2024/a.txt/*":        "",
		"2024/[!a].*":         "2024/b.log",
		"2024/{a,{b,z}}.*":    "2024/a.txt 2024/b.log",
	} {
		infos, err := storage.Glob(context.Background(), o.FS, dir+"/"+pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		var got []string
		for _, i := range infos {
			got = append(got, strings.TrimPrefix(i.Path, dir+"/"))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %q, want %q", pattern, s, want)
		}
	}
	if _, err := storage.Glob(context.Background(), o.FS, dir+"/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plain path: %v", err)
	}
	for _, bad := range []string{"{a", "a}", "[", strings.Repeat("{a,b}", 20)} {
		if _, err := storage.Glob(context.Background(), o.FS, dir+"/"+bad); err == nil {
			t.Errorf("%.20s passed", bad)
		}
	}
}
