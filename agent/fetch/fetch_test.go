package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

// memory is a source of files that are in memory.
type memory struct {
	mu     sync.Mutex
	files  map[string]string
	info   Info // Size is the file's
	opens  atomic.Int32
	stats  atomic.Int32
	fail   int           // so many opens fail first
	gate   chan struct{} // nil: open at once
	denied string        // this user may not read
}

func (m *memory) Stat(_ context.Context, url string, user User) (Info, error) {
	m.stats.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.files[url]
	if !ok {
		return Info{}, fs.ErrNotExist
	}
	if user.Name == m.denied && m.denied != "" {
		return Info{}, fs.ErrPermission
	}
	i := m.info
	i.Size = int64(len(content))
	return i, nil
}

func (m *memory) Open(ctx context.Context, url string, _ User) (io.ReadCloser, error) {
	m.opens.Add(1)
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail > 0 {
		m.fail--
		return nil, errors.New("connection reset")
	}
	content, ok := m.files[url]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

func newFetcher(t *testing.T, o Options, m *memory) *Fetcher {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = filepath.Join(t.TempDir(), "cache")
	}
	o.Sources = map[string]Source{"mem": m, "file": File{}}
	o.Wait = func(ctx context.Context, _ int) error { return ctx.Err() }
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func sandbox(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Mkdir("temp", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func content(t *testing.T, root *os.Root, name string) string {
	t.Helper()
	b, err := root.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var me = User{Name: "me", UID: -1}

func TestFetch(t *testing.T) {
	m := &memory{files: map[string]string{"mem://x/d/a.txt": "hello", "mem://x/tool": "#!"}, fail: 2}
	f := newFetcher(t, Options{}, m)
	root := sandbox(t)
	if err := f.Fetch(t.Context(), &v1.URI{Value: "mem://x/d/a.txt", SizeBytes: 5}, me, root, "temp"); err != nil {
		t.Fatal(err)
	}
	if got := content(t, root, "a.txt"); got != "hello" || m.opens.Load() != 3 {
		t.Errorf("%q after %d attempts", got, m.opens.Load())
	}
	sum := sha256.Sum256([]byte("#!"))
	if err := f.Fetch(t.Context(), &v1.URI{Value: "mem://x/tool", Target: "bin/t", Executable: true, Sha256: strings.ToUpper(hex.EncodeToString(sum[:]))}, me, root, "temp"); err != nil {
		t.Fatal(err)
	}
	info, err := root.Stat("bin/t")
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v %v", info, err)
	}
	for _, c := range []struct {
		uri  *v1.URI
		want error
	}{
		{&v1.URI{Value: "mem://x/none"}, fs.ErrNotExist},
		{&v1.URI{Value: "mem://x/none", Cache: true}, fs.ErrNotExist},
		{&v1.URI{Value: "mem://x/tool", SizeBytes: 1}, ErrMismatch},
		{&v1.URI{Value: "mem://x/tool", SizeBytes: 3}, ErrMismatch},
		{&v1.URI{Value: "mem://x/tool", Sha256: "00"}, ErrMismatch},
		{&v1.URI{Value: "mem://x/tool", Sha256: "00", Cache: true}, ErrMismatch},
		{&v1.URI{Value: "mem://x/tool", Extract: true}, ErrArchive},
	} {
		m.info.Version = "1"
		if err := f.Fetch(t.Context(), c.uri, me, root, "temp"); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.uri, err, c.want)
		}
	}
	for _, bad := range []*v1.URI{{Value: "mem://x/a", Target: "../a"}, {Value: "mem://x/a", Target: "/a"}, {Value: "mem://x"}, {Value: ":"}, {Value: "x://a/b"}, {Value: "mem://x/.."}} {
		if err := f.Fetch(t.Context(), bad, me, root, "temp"); err == nil {
			t.Errorf("%v was fetched", bad)
		}
	}
}

func TestCache(t *testing.T) {
	m := &memory{files: map[string]string{"mem://x/a": "aaaa", "mem://x/b": "bbbb"}, info: Info{Version: "1"}}
	dir := filepath.Join(t.TempDir(), "cache")
	f := newFetcher(t, Options{CacheDir: dir, CacheBytes: 7}, m)
	fetch := func(url string, user User, want string, opens int32) {
		t.Helper()
		root := sandbox(t)
		if err := f.Fetch(t.Context(), &v1.URI{Value: url, Cache: true, Target: "f"}, user, root, "temp"); err != nil {
			t.Fatal(err)
		}
		if got := content(t, root, "f"); got != want || m.opens.Load() != opens {
			t.Errorf("%s: %q after %d opens, want %q after %d", url, got, m.opens.Load(), want, opens)
		}
	}
	you := User{Name: "you", UID: 7}
	fetch("mem://x/a", me, "aaaa", 1)
	fetch("mem://x/a", me, "aaaa", 1)
	fetch("mem://x/a", you, "aaaa", 2) // private: not shared. It also evicts my copy, as only one fits.
	fetch("mem://x/a", me, "aaaa", 3)
	m.info.Public = true
	fetch("mem://x/a", me, "aaaa", 4)
	fetch("mem://x/a", you, "aaaa", 4)
	m.files["mem://x/a"], m.info.Version = "AAAA", "2"
	fetch("mem://x/a", me, "AAAA", 5)
	f = newFetcher(t, Options{CacheDir: dir, CacheBytes: 7}, m) // after a restart
	fetch("mem://x/a", me, "AAAA", 5)
	fetch("mem://x/b", me, "bbbb", 6)
	fetch("mem://x/a", me, "AAAA", 7)
	m.denied = "you"
	if err := f.Fetch(t.Context(), &v1.URI{Value: "mem://x/a", Cache: true, Target: "f"}, you, sandbox(t), "temp"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a cached file was given to one who may not read it: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("cache holds %v %v", entries, err)
	}
	// What the sandbox does to its file does not reach the cache.
	root := sandbox(t)
	if err := f.Fetch(t.Context(), &v1.URI{Value: "mem://x/a", Cache: true, Target: "f"}, me, root, "temp"); err != nil {
		t.Fatal(err)
	}
	root.WriteFile("f", []byte("mine"), 0o600)
	fetch("mem://x/a", me, "AAAA", 7)
}

func TestCacheCoalesces(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c, err := openCache(dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		fills := 0
		fill := func(f *os.File) error {
			fills++
			<-gate
			_, err := f.WriteString("x")
			return err
		}
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				f, err := c.get(t.Context(), "k", fill)
				if err != nil {
					t.Error(err)
					return
				}
				f.Close()
			})
		}
		synctest.Wait()
		close(gate)
		wait.Wait()
		if fills != 1 {
			t.Errorf("%d transfers", fills)
		}

		// The one that transfers gives up; another takes over and is not told of that.
		ctx, cancel := context.WithCancel(t.Context())
		gate = make(chan struct{})
		var first, second error
		wait.Go(func() { _, first = c.get(ctx, "l", func(*os.File) error { <-ctx.Done(); return ctx.Err() }) })
		synctest.Wait()
		wait.Go(func() {
			f, err := c.get(t.Context(), "l", fill)
			if second = err; err == nil {
				f.Close()
			}
		})
		synctest.Wait()
		cancel()
		close(gate)
		wait.Wait()
		if !errors.Is(first, context.Canceled) || second != nil {
			t.Errorf("errors %v, %v", first, second)
		}
	})
}

func TestFileSource(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret, open := filepath.Join(dir, "secret"), filepath.Join(dir, "open")
	os.WriteFile(secret, []byte("s"), 0o600)
	os.WriteFile(open, []byte("o"), 0o644)
	for _, bad := range []string{"file://host/etc/passwd", "file:relative", "file://" + dir, "file:///dev/null"} {
		if f, err := (File{}).Open(t.Context(), bad, me); err == nil {
			f.Close()
			t.Errorf("%s was opened", bad)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can open files as others")
	}
	user := User{Name: "somebody", UID: 12345, GID: 12345}
	if _, err := (File{}).Open(t.Context(), "file://"+secret, user); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another's secret: %v", err)
	}
	if f, err := (File{}).Open(t.Context(), "file://"+open, user); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	// Group rights count, and this process keeps its own.
	group := filepath.Join(dir, "group")
	os.WriteFile(group, []byte("g"), 0o640)
	os.Chown(group, 0, 4242)
	if f, err := (File{}).Open(t.Context(), "file://"+group, User{Name: "member", UID: 12345, GID: 12345, Groups: []int{12345, 4242}}); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	if _, err := os.ReadFile(secret); err != nil {
		t.Error(err)
	}
	for path, public := range map[string]bool{secret: false, open: true} {
		if i, err := (File{}).Stat(t.Context(), "file://"+path, me); err != nil || i.Public != public || i.Size != 1 || i.Version == "" {
			t.Errorf("%s: %+v %v", path, i, err)
		}
	}
}

func TestHTTPSource(t *testing.T) {
	stall := make(chan struct{})
	defer close(stall)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a":
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "a", time.Time{}, strings.NewReader("hello"))
		case "/denied":
			w.WriteHeader(403)
		case "/busy":
			w.WriteHeader(503)
		case "/odd":
			w.WriteHeader(418)
		case "/stall":
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		default:
			w.WriteHeader(404)
		}
	}))
	defer server.Close()
	h := NewHTTP()
	h.Idle = 50 * time.Millisecond
	if i, err := h.Stat(t.Context(), server.URL+"/a", me); err != nil || i != (Info{Size: 5, Version: `"1"`, Public: true}) {
		t.Errorf("%+v %v", i, err)
	}
	r, err := h.Open(t.Context(), server.URL+"/a", me)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "hello" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	r.Close()
	for path, last := range map[string]bool{"/none": true, "/denied": true, "/odd": true, "/busy": false} {
		if _, err := h.Open(t.Context(), server.URL+path, me); err == nil || lasting(err) != last {
			t.Errorf("%s: %v", path, err)
		}
	}
	if r, err = h.Open(t.Context(), server.URL+"/stall", me); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "no data for 50ms") {
		t.Errorf("a transfer that stands still: %v", err)
	}
}

func TestExtract(t *testing.T) {
	archive := tarGz(t, entry{name: "bin/tool", body: "x", mode: 0o755}, entry{name: "README", body: "y"})
	m := &memory{files: map[string]string{"mem://x/a.tgz": string(archive)}, info: Info{Version: "1"}}
	f := newFetcher(t, Options{}, m)
	for _, cached := range []bool{true, false} {
		for target, file := range map[string]string{"": "bin/tool", "sub/dir": "sub/dir/bin/tool"} {
			root := sandbox(t)
			if err := f.Fetch(t.Context(), &v1.URI{Value: "mem://x/a.tgz", Extract: true, Target: target, Cache: cached}, me, root, "temp"); err != nil {
				t.Fatal(err)
			}
			if info, err := root.Stat(file); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("%s: %v %v", file, info, err)
			}
			if left, err := fs.ReadDir(root.FS(), "temp"); err != nil || len(left) != 0 {
				t.Errorf("left in temp: %v %v", left, err)
			}
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("hdfs://nn/a/b", "c")
	f.Add("file:///a/..", "")
	f.Add("http://x/%2e%2e", "a/../../b")
	f.Fuzz(func(t *testing.T, value, target string) {
		for _, extract := range []bool{false, true} {
			got, err := Target(&v1.URI{Value: value, Target: target, Extract: extract})
			if err == nil && !filepath.IsLocal(got) {
				t.Errorf("%q %q goes to %q", value, target, got)
			}
		}
	})
}

func BenchmarkCached(b *testing.B) {
	dir := b.TempDir()
	c, err := openCache(dir, 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte{1}, 1<<20)
	n := 0
	for b.Loop() {
		n++
		f, err := c.get(b.Context(), fmt.Sprint(n%16), func(f *os.File) error { _, err := f.Write(body); return err })
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
