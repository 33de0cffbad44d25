package sandbox

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func newTree(t testing.TB) (*Tree, string) {
	t.Helper()
	dir := t.TempDir()
	tree, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree, dir
}

func TestBox(t *testing.T) {
	tree, _ := newTree(t)
	b, err := tree.Create("f-1", 7, Owner{-1, -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := tree.Create("f-1", 7, Owner{-1, -1}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	if err := b.WriteFile("a/b/c", []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a", "a/b", "tmp", ".fairway"} {
		if info, err := os.Stat(filepath.Join(b.Dir, name)); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(b.Dir, "a/b/c")); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if err := os.Symlink("../../..", filepath.Join(b.Dir, "up")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"../x", "/x", "up/x", "", "a/../../x"} {
		if err := b.WriteFile(bad, []byte("x"), 0o600); err == nil {
			t.Errorf("%q was written", bad)
		}
	}
	var listed []uint64
	if err := tree.List(func(f string, n uint64) { listed = append(listed, n) }); err != nil || !slices.Equal(listed, []uint64{7}) {
		t.Errorf("list %v %v", listed, err)
	}
	if err := tree.Remove("f-1", 7); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(b.Dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the framework's folder is left: %v", err)
	}
}

func TestHandOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	tree, _ := newTree(t)
	b, err := tree.Create("f", 1, Owner{12345, 54321})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	outside := filepath.Join(t.TempDir(), "outside")
	os.WriteFile(outside, nil, 0o600)
	if err := errors.Join(b.WriteFile("a/b", nil, 0o600), os.Symlink(outside, filepath.Join(b.Dir, "l")), b.HandOver()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a", "a/b", "l", "tmp"} {
		info, err := os.Lstat(filepath.Join(b.Dir, name))
		if s := info.Sys().(*syscall.Stat_t); err != nil || s.Uid != 12345 || s.Gid != 54321 {
			t.Errorf("%q belongs to %d:%d %v", name, s.Uid, s.Gid, err)
		}
	}
	if info, err := os.Stat(outside); err != nil || uid(info) != 0 {
		t.Errorf("a file outside was given away: %v", err)
	}
}

func TestJobFolder(t *testing.T) {
	tree, _ := newTree(t)
	me := Owner{os.Getuid(), os.Getgid()}
	dir, err := tree.Job("j-1", me)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tree.Job("j-1", me); err != nil || again != dir {
		t.Errorf("again: %q %v", again, err)
	}
	os.WriteFile(filepath.Join(dir, "x"), nil, 0o600)
	if os.Getuid() == 0 {
		if _, err := tree.Job("j-1", Owner{12345, 12345}); err == nil {
			t.Error("another user got the folder")
		}
		if d, err := tree.Job("j-2", Owner{12345, 12345}); err != nil {
			t.Error(err)
		} else if info, err := os.Stat(d); err != nil || uid(info) != 12345 || info.Mode().Perm() != 0o700 {
			t.Errorf("folder %v %v", info, err)
		}
	}
	if l, err := tree.Jobs(); err != nil || !slices.Contains(l, "j-1") {
		t.Errorf("jobs %v %v", l, err)
	}
	if err := tree.RemoveJob("j-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder is left: %v", err)
	}
	for _, bad := range []string{"", "..", ".x", "a/b", "a b", strings.Repeat("x", 129)} {
		if _, err := tree.Job(bad, me); err == nil {
			t.Errorf("job %q got a folder", bad)
		}
		if err := tree.RemoveJob(bad); err != nil {
			t.Error(err)
		}
	}
}

func TestOpen(t *testing.T) {
	tree, _ := newTree(t)
	dir, err := tree.Job("j", Owner{-1, -1})
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600)
	os.WriteFile(filepath.Join(dir, "../b"), []byte("x"), 0o600)
	os.Symlink("../b", filepath.Join(dir, "out"))
	os.Symlink("/etc/passwd", filepath.Join(dir, "abs"))
	syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
	f, err := Open(dir, "a", os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, want := range map[string]error{"none": fs.ErrNotExist, "../b": fs.ErrPermission, "out": fs.ErrPermission, "abs": fs.ErrPermission,
		"fifo": fs.ErrPermission, ".": fs.ErrPermission, "/etc/passwd": fs.ErrPermission, "a\x00": fs.ErrPermission, "": fs.ErrPermission} {
		if f, err := Open(dir, name, os.Getuid()); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
			if err == nil {
				f.Close()
			}
		}
	}
	if _, err := Open(dir, "a", os.Getuid()+1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another owner's file: %v", err)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	block := make([]byte, 100_000)
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	n, err := Usage(t.Context(), dir, 0)
	if err != nil || n < 200_000 || n > 260_000 {
		t.Errorf("usage %d %v", n, err)
	}
	if n, err = Usage(t.Context(), dir, 1000); err != nil || n <= 1000 {
		t.Errorf("usage %d %v", n, err)
	}
	if d, err := DiskOf(dir); err != nil || d.Total < d.Free || d.Used() <= 0 || d.Used() >= 1 {
		t.Errorf("disk %+v %v", d, err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, seed := range []string{"a", "../b", "sub/../../b", "link/b", "/etc/passwd", "sub//x", "./a"} {
		f.Add(seed)
	}
	tree, top := newTree(f)
	dir, err := tree.Job("j", Owner{-1, -1})
	if err != nil {
		f.Fatal(err)
	}
	os.Mkdir(filepath.Join(dir, "sub"), 0o700)
	os.WriteFile(filepath.Join(dir, "a"), []byte("in"), 0o600)
	os.WriteFile(filepath.Join(dir, "sub", "x"), []byte("in"), 0o600)
	os.WriteFile(filepath.Join(top, "b"), []byte("out"), 0o600)
	os.Symlink("../..", filepath.Join(dir, "link"))
	f.Fuzz(func(t *testing.T, name string) {
		file, err := Open(dir, name, -1)
		if err != nil {
			return
		}
		defer file.Close()
		if b, err := io.ReadAll(io.LimitReader(file, 10)); err != nil || string(b) != "in" {
			t.Errorf("%q holds %q %v", name, b, err)
		}
	})
}
