package localize

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"fairway/agent/service"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var nobody = User{Name: "alice", Account: service.Account{Name: "nobody", UID: 65534, GID: 65534, Switch: true}, Application: "application_1_0001"}

// rig is a cache over the host's files; opens counts and may hold them.
type rig struct {
	*Cache
	t     *testing.T
	dir   string
	opens atomic.Int32
	hold  chan struct{} // nil: no file is held
}

type held struct {
	storage.FS
	r *rig
}

func (h held) Open(ctx context.Context, p string) (storage.File, error) {
	h.r.opens.Add(1)
	if h.r.hold != nil {
		select {
		case <-h.r.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return h.FS.Open(ctx, p)
}

func newRig(t *testing.T, bytes int64) *rig {
	dir, err := os.MkdirTemp("/var/tmp", "localize") // t.TempDir is closed to other accounts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir}
	r.open(bytes)
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *rig) open(bytes int64) {
	c, err := New(Options{Dir: filepath.Join(r.dir, "local"), Private: filepath.Join(r.dir, "private"), BootID: "boot", Bytes: bytes,
		Files: func(_ context.Context, url, user string) (storage.FS, string, error) {
			return held{local.New(), r}, strings.TrimPrefix(url, "file://"), nil
		}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Cache = c
	if err := os.MkdirAll(filepath.Join(r.dir, "local", AppDir("alice", "application_1_0001")), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// put makes a source file and the resource that names it.
func (r *rig) put(name string, content []byte, mode fs.FileMode, v Visibility) Resource {
	r.t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.WriteFile(p, content, mode); err != nil {
		r.t.Fatal(err)
	}
	return r.resource(p, v)
}

func (r *rig) resource(p string, v Visibility) Resource {
	info, err := os.Stat(p)
	if err != nil {
		r.t.Fatal(err)
	}
	return Resource{URL: "file://" + p, Timestamp: info.ModTime().UnixMilli(), Visibility: v}
}

func (r *rig) fetch(x Resource) Held {
	r.t.Helper()
	h, err := r.Fetch(r.t.Context(), x, nobody)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func root(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files of other accounts need root")
	}
}

func TestPlacesAndOwners(t *testing.T) {
	root(t)
	r := newRig(t, 0)
	for v, c := range map[Visibility]struct {
		below string
		mode  fs.FileMode
		uid   uint32
	}{
		Public:      {"filecache", 0o555, 0},
		Private:     {"usercache/alice/filecache", 0o500, 65534},
		Application: {"usercache/alice/appcache/application_1_0001/filecache", 0o500, 65534},
	} {
		x := r.put("f", []byte("hello"), 0o644, v)
		h := r.fetch(x)
		rel, err := filepath.Rel(filepath.Join(r.dir, "local"), h.Path)
		if err != nil || !strings.HasPrefix(rel, c.below+"/") || filepath.Base(rel) != "f" || h.Bytes != 5 || h.Cached {
			t.Errorf("%d: %+v", v, h)
		}
		info, err := os.Stat(h.Path)
		if err != nil || info.Mode().Perm() != c.mode || info.Sys().(*syscall.Stat_t).Uid != c.uid {
			t.Errorf("%d: %v %v", v, info, err)
		}
		if again := r.fetch(x); again.Path != h.Path || !again.Cached {
			t.Errorf("%d: again %+v", v, again)
		}
	}
	if err := r.DropApplication("alice", "application_1_0001"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "local", AppDir("alice", "application_1_0001"))); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	root(t)
	r := newRig(t, 0)
	changed := r.put("changed", []byte("x"), 0o644, Private)
	changed.Timestamp--
	secret := r.put("secret", []byte("x"), 0o600, Private)
	closed := r.put("closed", []byte("x"), 0o640, Public)
	if err := os.Chown(filepath.Join(r.dir, "closed"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	missing := r.put("missing", nil, 0o644, Private)
	os.Remove(filepath.Join(r.dir, "missing"))
	for _, c := range []struct {
		x    Resource
		kind error
		text string
	}{
		{changed, ErrChanged, "changed on src filesystem - expected: \""},
		{secret, fs.ErrPermission, "permission denied"},
		{closed, fs.ErrPermission, "is not publicly accessible and as such cannot be part of the public cache."},
		{missing, fs.ErrNotExist, "File does not exist"},
	} {
		if _, err := r.Fetch(t.Context(), c.x, nobody); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.x.URL, err)
		}
	}
	// A failure is not remembered, and leaves nothing.
	if err := os.Chmod(filepath.Join(r.dir, "secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.fetch(secret)
	if l, _ := filepath.Glob(filepath.Join(r.dir, "local/usercache/alice/filecache/*")); len(l) != 1 {
		t.Errorf("left behind: %v", l)
	}
}

func zipped(t testing.TB, entries ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.Create(entries[i])
		if err == nil {
			_, err = w.Write([]byte(entries[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	return b.Bytes()
}

func tarred(t testing.TB, compress bool, headers ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := []byte(h.Uname)
		h.Uname, h.Size = "", int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write(content)
	}
	w.Close()
	if !compress {
		return b.Bytes()
	}
	var c bytes.Buffer
	g := gzip.NewWriter(&c)
	g.Write(b.Bytes())
	g.Close()
	return c.Bytes()
}

// tree lists what is below a folder: path=content, links as path->target.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var l []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.Type() == fs.ModeSymlink {
			target, _ := os.Readlink(p)
			l = append(l, rel+"->"+target)
			return nil
		}
		b, err := os.ReadFile(p)
		if len(b) > 20 {
			b = []byte("...")
		}
		l = append(l, rel+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(l, " ")
}

func TestKinds(t *testing.T) {
	r := newRig(t, 0)
	jar := zipped(t, "classes/A.class", "a", "lib/b.jar", "b", "META-INF/MANIFEST.MF", "m")
	tgz := tarred(t, true, tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o644, Uname: "f"}, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../d/f"}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/f"})
	for _, c := range []struct {
		name, pattern string
		content       []byte
		kind          Kind
		want          string
	}{
		{"a.zip", "", jar, Archive, "META-INF/MANIFEST.MF=m classes/A.class=a lib/b.jar=b"},
		{"A.JAR", "", jar, Archive, "META-INF/MANIFEST.MF=m classes/A.class=a lib/b.jar=b"},
		{"a.tar.gz", "", tgz, Archive, "d/f=f d/l->../d/f h=f"},
		{"a.tgz", "", tgz, Archive, "d/f=f d/l->../d/f h=f"},
		{"a.tar", "", tarred(t, false, tar.Header{Name: "./x", Typeflag: tar.TypeReg, Uname: "x"}), Archive, "x=x"},
		{"job.jar", "(?:classes/|lib/).*", jar, Pattern, "classes/A.class=a job.jar=... lib/b.jar=b"},
		{"empty.tar", "", nil, Archive, ""},
	} {
		x := r.put(c.name, c.content, 0o644, Application)
		x.Kind, x.Pattern = c.kind, c.pattern
		if got := tree(t, r.fetch(x).Path); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for _, kind := range []Kind{Archive, Pattern} { // by its name no archive
		x := r.put("plain.txt", []byte("plain"), 0o644, Application)
		x.Kind = kind
		if b, err := os.ReadFile(r.fetch(x).Path); err != nil || string(b) != "plain" {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(r.dir, "folder/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.put("folder/a", []byte("1"), 0o644, Application)
	r.put("folder/sub/b", []byte("2"), 0o644, Application)
	if got := tree(t, r.fetch(r.resource(filepath.Join(r.dir, "folder"), Application)).Path); got != "a=1 sub/b=2" {
		t.Errorf("folder: %s", got)
	}
}

func TestBadArchives(t *testing.T) {
	r := newRig(t, 0)
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Uname: "evil"} }
	for name, content := range map[string][]byte{
		"climbs.zip":   zipped(t, "../evil", "x"),
		"absolute.zip": zipped(t, "/evil", "x"),
		"cut.zip":      zipped(t, "a", "x")[:20],
		"climbs.tar":   tarred(t, false, reg("a/../../evil")),
		"link.tar":     tarred(t, false, link("l", "/etc"), reg("l/evil")),
		"up.tar":       tarred(t, false, link("l", "../../evil")),
		"via.tar":      tarred(t, false, tar.Header{Name: "p/q/", Typeflag: tar.TypeDir}, link("p/q/y", "../.."), link("p/q/x", "y/../../evil")),
		"behind.tar":   tarred(t, false, tar.Header{Name: "d/e/", Typeflag: tar.TypeDir}, link("s", "d/e"), link("s/l", "../up")),
		"hard.tar":     tarred(t, false, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../f"}),
		"device.tar":   tarred(t, false, tar.Header{Name: "dev", Typeflag: tar.TypeChar}),
		"cut.tar":      tarred(t, false, reg("a"))[:514],
		"garbage.tgz":  []byte("\x1f\x8bnot gzip at all"),
	} {
		x := r.put(name, content, 0o644, Application)
		x.Kind = Archive
		if _, err := r.Fetch(t.Context(), x, nobody); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "local", AppDir("alice", "application_1_0001"), "filecache/evil")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was written outside")
	}
	x := r.put("job.jar", zipped(t, "a", "b"), 0o644, Application)
	x.Kind, x.Pattern = Pattern, "(?=x)"
	if _, err := r.Fetch(t.Context(), x, nobody); err == nil || !strings.Contains(err.Error(), "pattern") {
		t.Errorf("pattern: %v", err)
	}
}

func TestBounds(t *testing.T) {
	zeros := string(make([]byte, 2000))
	for name, content := range map[string][]byte{
		"a.zip": zipped(t, "zeros", zeros),
		"a.tar": tarred(t, true, tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Uname: zeros}),
	} {
		for _, bounds := range [][2]int64{{1000, 10}, {10_000, 0}} {
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			u := &unpacker{ctx: t.Context(), root: root, bytes: bounds[0], entries: int(bounds[1])}
			if name == "a.zip" {
				if err := root.WriteFile("packed", content, 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := root.Open("packed")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				err = u.zip(f, int64(len(content)))
				if !errors.Is(err, ErrArchive) {
					t.Errorf("%s, %v: %v", name, bounds, err)
				}
				continue
			}
			g, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if err := u.tar(g); !errors.Is(err, ErrArchive) {
				t.Errorf("%s, %v: %v", name, bounds, err)
			}
		}
	}
}

func TestOneFetchForAll(t *testing.T) {
	r := newRig(t, 0)
	r.hold = make(chan struct{})
	x := r.put("f", []byte("hello"), 0o644, Private)
	other := r.put("g", []byte("other"), 0o644, Private)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := r.Fetch(t.Context(), x, nobody); err != nil {
				t.Error(err)
			}
		})
	}
	// One that is given up does not end the fetch of others, and another resource is not held up.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Fetch(ctx, x, nobody); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.hold <- struct{}{}
	if r.opens.Load() == 1 {
		go r.Fetch(t.Context(), other, nobody)
	}
	close(r.hold) // whether there is another fetch or not
	wg.Wait()
	if n := r.opens.Load(); n > 2 {
		t.Errorf("%d opens", n)
	}
}

func TestGivenUp(t *testing.T) {
	r := newRig(t, 0)
	r.hold = make(chan struct{})
	x := r.put("f", []byte("hello"), 0o644, Private)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := r.Fetch(ctx, x, nobody); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(r.hold)
	r.fetch(x) // anew
}

func TestEvictionAndRestart(t *testing.T) {
	r := newRig(t, 25)
	ten := []byte("0123456789")
	a, b, c := r.put("a", ten, 0o644, Private), r.put("b", ten, 0o644, Public), r.put("c", ten, 0o644, Private)
	ha, hb := r.fetch(a), r.fetch(b)
	r.Release([]int64{hb.ID})
	hc := r.fetch(c) // over the bound: b is the one that nobody holds
	r.work.Wait()    // it goes once c is there
	if _, err := os.Stat(hb.Path); !errors.Is(err, fs.ErrNotExist) || r.Used() != 20 {
		t.Errorf("%v, %d used", err, r.Used())
	}
	// What was left of a fetch is swept, and the rest is known again.
	if err := os.MkdirAll(filepath.Join(r.dir, "local/usercache/alice/filecache/99.tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.open(25)
	if h := r.fetch(a); !h.Cached || h.Path != ha.Path || r.Used() != 20 {
		t.Errorf("%+v, %d used", h, r.Used())
	}
	if l, _ := filepath.Glob(filepath.Join(r.dir, "local/usercache/alice/filecache/*")); len(l) != 2 {
		t.Errorf("%v", l)
	}
	r.Hold([]int64{hc.ID})
	hb = r.fetch(b) // both others are held: the bound gives way
	if _, err := os.Stat(hc.Path); err != nil || r.Used() != 30 {
		t.Errorf("%v, %d used", err, r.Used())
	}
	r.Release([]int64{hc.ID})
	if _, err := os.Stat(hc.Path); !errors.Is(err, fs.ErrNotExist) || r.Used() != 20 {
		t.Errorf("%v, %d used", err, r.Used())
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(zipped(f, "a/b", "x", "../c", "y"), true)
	f.Add(tarred(f, false, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b/.."}, tar.Header{Name: "a/b", Typeflag: tar.TypeReg, Uname: "x"}), false)
	f.Add(tarred(f, true, tar.Header{Name: "a", Typeflag: tar.TypeReg, Uname: "x"}), false)
	f.Fuzz(func(t *testing.T, content []byte, zip bool) {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := root.WriteFile("packed", content, 0o600); err != nil {
			t.Fatal(err)
		}
		format := "tar"
		if zip {
			format = "zip"
		}
		_ = unpack(t.Context(), root, "packed", "into", format, nil)
		list, err := os.ReadDir(dir)
		if err != nil || len(list) > 2 {
			t.Errorf("%v, %v", list, err)
		}
		// Every link, followed to its end by the kernel, stays inside.
		filepath.WalkDir(filepath.Join(dir, "into"), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink {
				if real, err := filepath.EvalSymlinks(p); err == nil && real != filepath.Join(dir, "into") && !strings.HasPrefix(real, filepath.Join(dir, "into")+"/") {
					t.Errorf("%s leads to %s", p, real)
				}
			}
			return nil
		})
	})
}
