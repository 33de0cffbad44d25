package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name, body, link string
	mode             int64
	kind             byte // 0: a file
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

func tarGz(t testing.TB, entries ...entry) []byte { return compress(t, tarOf(t, entries...)) }

func zipOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(fs.FileMode(e.mode))
		body := e.body
		if e.kind == tar.TypeSymlink {
			h.SetMode(fs.ModeSymlink | 0o777)
			body = e.link
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(body))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack unpacks into a folder next to which lies a file that must stay as it is.
func unpack(t testing.TB, archive []byte, limits Limits) (dir string, err error) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "in")
	os.Mkdir(dir, 0o700)
	os.WriteFile(filepath.Join(top, "outside"), []byte("outside"), 0o600)
	file := filepath.Join(top, "archive")
	os.WriteFile(file, archive, 0o600)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = Unpack(t.Context(), f, root, limits)
	b, readErr := os.ReadFile(filepath.Join(top, "outside"))
	entries, listErr := os.ReadDir(top)
	if readErr != nil || string(b) != "outside" || listErr != nil || len(entries) != 3 {
		t.Errorf("the archive reached outside: %q %v", b, entries)
	}
	return dir, err
}

func TestUnpack(t *testing.T) {
	entries := []entry{
		{name: "d/", kind: tar.TypeDir, mode: 0o755}, {name: "d/run", body: "x", mode: 0o4755}, {name: "e/f/g", body: "yy", mode: 0o644},
		{name: "d/link", kind: tar.TypeSymlink, link: "../e/f/g"}, {name: "./h", body: "z", mode: 0},
	}
	hard := append(entries[:len(entries):len(entries)], entry{name: "i", kind: tar.TypeLink, link: "d/run"})
	for name, archive := range map[string][]byte{"tar": tarOf(t, hard...), "tar.gz": tarGz(t, hard...), "zip": zipOf(t, entries...)} {
		dir, err := unpack(t, archive, Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for file, want := range map[string]string{"d/run": "x", "e/f/g": "yy", "d/link": "yy", "h": "z"} {
			if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(b) != want {
				t.Errorf("%s: %s holds %q %v", name, file, b, err)
			}
		}
		if info, err := os.Stat(filepath.Join(dir, "d/run")); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: mode %v %v", name, info.Mode(), err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	symlink := func(name, to string) entry { return entry{name: name, kind: tar.TypeSymlink, link: to} }
	for name, entries := range map[string][]entry{
		"climbing":            {{name: "../outside", body: "x"}},
		"climbing inside":     {{name: "a/../../outside", body: "x"}},
		"absolute":            {{name: "/tmp/x", body: "x"}},
		"link out":            {symlink("l", "../outside")},
		"link absolute":       {symlink("l", "/etc/passwd")},
		"link then file":      {symlink("l", ".."), {name: "l/outside", body: "x"}},
		"link by a link":      {{name: "a/b/", kind: tar.TypeDir}, symlink("l", "a/b"), symlink("l/m", "../x")},
		"backslash":           {{name: `..\outside`, body: "x"}},
		"hard link out":       {{name: "h", kind: tar.TypeLink, link: "../outside"}},
		"hard link to a link": {{name: "f", body: "x"}, symlink("l", "f"), {name: "h", kind: tar.TypeLink, link: "l"}},
		"device":              {{name: "dev", kind: tar.TypeChar}},
		"fifo":                {{name: "fifo", kind: tar.TypeFifo}},
	} {
		if _, err := unpack(t, tarOf(t, entries...), Limits{}); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, entries := range map[string][]entry{
		"climbing": {{name: "../outside", body: "x"}}, "absolute": {{name: "/x", body: "x"}}, "link out": {symlink("l", "../outside")},
	} {
		if _, err := unpack(t, zipOf(t, entries...), Limits{}); !errors.Is(err, ErrArchive) {
			t.Errorf("zip %s: %v", name, err)
		}
	}
	zeros := strings.Repeat("\x00", 1<<20)
	bomb := []entry{{name: "a", body: zeros}, {name: "b", body: zeros}}
	for name, c := range map[string]struct {
		archive []byte
		limits  Limits
	}{
		"bytes":     {tarGz(t, bomb...), Limits{Bytes: 3 << 19}},
		"zip bytes": {zipOf(t, bomb...), Limits{Bytes: 3 << 19}},
		"entries":   {tarOf(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"}), Limits{Entries: 2}},
		"ratio":     {tarGz(t, entry{name: "a", body: strings.Repeat(zeros, ratioFloor>>20+1)}), Limits{Ratio: 2}},
		"garbage":   {[]byte("no archive at all"), Limits{}},
		"empty":     {nil, Limits{}},
		"cut":       {tarGz(t, bomb...)[:500], Limits{}},
		"cut zip":   {zipOf(t, bomb...)[:500], Limits{}},
	} {
		if _, err := unpack(t, c.archive, c.limits); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, entry{name: "a/b", body: "x"}, entry{name: "l", kind: tar.TypeSymlink, link: "a"}, entry{name: "h", kind: tar.TypeLink, link: "a/b"}))
	f.Add(tarGz(f, entry{name: "../x", body: "x"}))
	f.Add(zipOf(f, entry{name: "a", body: "x"}, entry{name: "l", kind: tar.TypeSymlink, link: "../a"}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir, _ := unpack(t, b, Limits{Entries: 50, Bytes: 1 << 20})
		// Whatever came out, no link leads out.
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				t.Error(err)
				return nil
			}
			if d.Type()&fs.ModeSymlink != 0 {
				to, _ := os.Readlink(path)
				if !strings.HasPrefix(filepath.Join(filepath.Dir(path), to), dir) || filepath.IsAbs(to) {
					t.Errorf("%s points to %s", path, to)
				}
			}
			return nil
		})
	})
}
