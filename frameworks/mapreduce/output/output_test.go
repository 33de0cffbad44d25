package output

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

var ctx = context.Background()

func write(t testing.TB, format, name string, conf map[string]string, records ...[2][]byte) error {
	t.Helper()
	w, err := Create(ctx, format, local.New(), name, conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Write(r[0], r[1]); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return errors.Join(w.Close(), w.Close())
}

func TestText(t *testing.T) {
	name := filepath.Join(t.TempDir(), "deep/er/part")
	recs := [][2][]byte{{[]byte("k"), []byte("v")}, {[]byte("k"), nil}, {[]byte("k"), {}}, {nil, []byte("v")}, {{}, {}}}
	if err := write(t, Text, name, nil, recs...); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "k\tv\nk\nk\t\nv\n\t\n" {
		t.Errorf("%q", got)
	}
	if err := write(t, Text, name, map[string]string{SeparatorProperty: "::"}, recs[0]); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "k::v\n" {
		t.Errorf("%q", got)
	}
}

func TestManyBlocksCompressed(t *testing.T) {
	var want bytes.Buffer
	var recs [][2][]byte
	for i := range 60_000 {
		v := fmt.Appendf(nil, "%d %s", i*i, strings.Repeat("x", i%97))
		recs = append(recs, [2][]byte{fmt.Appendf(nil, "%d", i), v})
		fmt.Fprintf(&want, "%d\t%s\n", i, v)
	}
	for _, c := range []struct {
		codec, extension string
		open             func(io.Reader) (io.Reader, error)
	}{
		{"none", "", func(r io.Reader) (io.Reader, error) { return r, nil }},
		{"", ".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"org.apache.hadoop.io.compress.GzipCodec", ".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"org.apache.hadoop.io.compress.ZStandardCodec", ".zst", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) }},
	} {
		conf := map[string]string{CompressProperty: "true", CodecProperty: c.codec}
		if c.codec == "none" {
			conf = nil
		}
		if e := Extension(Text, conf); e != c.extension {
			t.Errorf("%s: extension %q", c.codec, e)
		}
		name := filepath.Join(t.TempDir(), "part"+c.extension)
		if err := write(t, Text, name, conf, recs...); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.open(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		f.Close()
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: %d bytes, want %d: %v", c.codec, len(got), want.Len(), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ format, compress, codec, want string }{
		{Text, "true", "org.apache.hadoop.io.compress.BZip2Codec", "bzip2 can be read but not written"},
		{Text, "true", "SnappyCodec", "no such codec"},
		{Text, "maybe", "", "must be true or false"},
		{"sequence", "", "", "unknown output format"},
	} {
		conf := map[string]string{CompressProperty: c.compress, CodecProperty: c.codec}
		if err := Check(c.format, conf); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		if _, err := Create(ctx, c.format, local.New(), filepath.Join(t.TempDir(), "x"), conf); err == nil {
			t.Errorf("%+v was created", c)
		}
	}
	name := filepath.Join(t.TempDir(), "tera")
	if err := write(t, Tera, name, nil, [2][]byte{[]byte("short"), nil}); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Error(err)
	}
	if err := write(t, Tera, name, nil, [2][]byte{make([]byte, 10), make([]byte, 90)}); err != nil {
		t.Error(err)
	}
	for _, format := range []string{Parquet, Arrow} {
		if err := write(t, format, name, nil, [2][]byte{[]byte("k"), []byte("v")}); err != nil || Extension(format, nil) != "."+format {
			t.Error(err)
		}
	}
	if err := write(t, None, "/does/not/matter", nil, [2][]byte{nil, nil}); err != nil {
		t.Error(err)
	}
}

// fullDisk fails every write.
type fullDisk struct{ storage.FS }

func (f fullDisk) Create(context.Context, string, storage.CreateOptions) (io.WriteCloser, error) {
	return fullFile{}, nil
}

type fullFile struct{}

func (fullFile) Write([]byte) (int, error) { return 0, errors.New("no space left") }
func (fullFile) Close() error              { return nil }

func TestWriteErrorsReachTheCaller(t *testing.T) {
	for _, conf := range []map[string]string{nil, {CompressProperty: "true"}, {CompressProperty: "true", CodecProperty: "zstd"}} {
		w, err := Create(ctx, Text, fullDisk{}, "/out/part", conf)
		if err != nil {
			t.Fatal(err)
		}
		big := bytes.Repeat([]byte("abcdefgh"), 1<<16)
		failed := false
		for i := range 200 {
			big[i]++
			if err := w.Write(big, nil); err != nil {
				failed = strings.Contains(err.Error(), "no space left") && strings.Contains(err.Error(), "/out/part")
				break
			}
		}
		if err := w.Close(); err == nil || !failed && conf == nil {
			t.Errorf("%v: failed %v, close: %v", conf, failed, err)
		}
	}
}

func commit(t testing.TB, dir, id string) *Committer {
	t.Helper()
	return NewCommitter(local.New(), dir, &spec.Job{ID: id, Output: "file://" + dir})
}

func attempt(t testing.TB, c *Committer, kind string, index, number int, content string) {
	t.Helper()
	name := c.TaskPath(kind, index, number)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// show lists all files below dir with their content.
func show(dir string) string {
	var out []string
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			content, _ := os.ReadFile(p)
			rel, _ := filepath.Rel(dir, p)
			out = append(out, rel+":"+string(content))
		}
		return nil
	})
	sort.Strings(out)
	return strings.Join(out, " ")
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	c := commit(t, dir, "job_1")
	ok(t, c.CheckFresh(ctx))
	ok(t, c.Setup(ctx))
	attempt(t, c, spec.Reduce, 0, 0, "a")
	attempt(t, c, spec.Reduce, 1, 0, "lost")
	attempt(t, c, spec.Reduce, 1, 1, "b")
	attempt(t, c, spec.Reduce, 2, 0, "first")
	ok(t, c.CommitTask(ctx, spec.Reduce, 0, 0))
	ok(t, c.CommitTask(ctx, spec.Reduce, 0, 0)) // said twice
	ok(t, c.AbortTask(ctx, spec.Reduce, 1, 0))
	ok(t, c.AbortTask(ctx, spec.Reduce, 1, 0))
	ok(t, c.CommitTask(ctx, spec.Reduce, 2, 0))
	if err := c.CommitJob(ctx, spec.Reduce, 3); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "reduce 1") {
		t.Fatalf("a part is missing: %v", err)
	}
	ok(t, c.CommitTask(ctx, spec.Reduce, 1, 1))
	attempt(t, c, spec.Reduce, 2, 1, "c") // its agent was lost after the commit: made again
	ok(t, c.CommitTask(ctx, spec.Reduce, 2, 1))
	got, err := c.Committed(ctx, spec.Reduce)
	ok(t, err)
	if slices.Sort(got); fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("committed: %v", got)
	}
	if err := c.CommitTask(ctx, spec.Reduce, 7, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("commit of nothing: %v", err)
	}
	ok(t, c.CommitJob(ctx, spec.Reduce, 3))
	ok(t, c.CommitJob(ctx, spec.Reduce, 3))
	if s := show(dir); s != "_SUCCESS: part-r-00000:a part-r-00001:b part-r-00002:c" {
		t.Error(s)
	}
	if done, err := c.Finished(ctx); err != nil || !done {
		t.Error(done, err)
	}
	ok(t, c.AbortJob(ctx)) // too late
	if s := show(dir); !strings.Contains(s, "_SUCCESS") {
		t.Error(s)
	}
	for _, other := range []*Committer{c, commit(t, dir, "job_2")} {
		if err := errors.Join(other.CheckFresh(ctx), other.Setup(ctx)); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "file://"+dir) {
			t.Errorf("an output that exists: %v", err)
		}
	}
}

func TestAbortJobRemovesOnlyItsOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	c, other := commit(t, dir, "job_1"), commit(t, dir, "job_2")
	ok(t, c.Setup(ctx))
	ok(t, c.Setup(ctx)) // a second attempt of the coordinator
	if err := other.Setup(ctx); !errors.Is(err, fs.ErrExist) {
		t.Errorf("two jobs in one folder: %v", err)
	}
	ok(t, other.AbortJob(ctx))
	attempt(t, c, spec.Map, 0, 0, "x")
	ok(t, c.CommitTask(ctx, spec.Map, 0, 0))
	ok(t, c.AbortJob(ctx))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the folder of an aborted job is still there")
	}
	ok(t, c.AbortJob(ctx))
	ok(t, os.MkdirAll(filepath.Join(dir, "user"), 0o755))
	if err := c.Setup(ctx); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a user's folder: %v", err)
	}
	ok(t, c.AbortJob(ctx))
	if _, err := os.Stat(filepath.Join(dir, "user")); err != nil {
		t.Error("a user's folder was removed")
	}
	for _, id := range []string{"", "..", "a/b", "owner"} {
		if commit(t, dir+"x", id).Setup(ctx) == nil {
			t.Errorf("job id %q", id)
		}
	}
}

// crashing ends the process's luck after n changes to the file system.
type crashing struct {
	storage.FS
	left *atomic.Int64
}

var errCrash = errors.New("crash")

func (c crashing) step() error {
	if c.left.Add(-1) < 0 {
		return errCrash
	}
	return nil
}

func (c crashing) Rename(ctx context.Context, from, to string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.Rename(ctx, from, to)
}

func (c crashing) Create(ctx context.Context, p string, o storage.CreateOptions) (io.WriteCloser, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	return c.FS.Create(ctx, p, o)
}

func (c crashing) Remove(ctx context.Context, p string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.Remove(ctx, p)
}

func (c crashing) Mkdir(ctx context.Context, p string, perm fs.FileMode) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.Mkdir(ctx, p, perm)
}

// A coordinator dies at any step; the next one does all again; the result is whole, and _SUCCESS is never there before
// all parts are.
func TestCommitSurvivesACrashAtEveryStep(t *testing.T) {
	const parts = 5
	rapid.Check(t, func(rt *rapid.T) {
		top, err := os.MkdirTemp("", "commit")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(top)
		dir := filepath.Join(top, "out")
		for try := 0; ; try++ {
			left := new(atomic.Int64)
			left.Store(rapid.Int64Range(0, 12).Draw(rt, "steps"))
			if try > 8 {
				left.Store(1 << 30)
			}
			c := NewCommitter(crashing{local.New(), left}, dir, &spec.Job{ID: "job_1", Output: dir})
			err := c.Setup(ctx)
			if done, _ := c.Finished(ctx); done {
				err = nil
			}
			for i := 0; i < parts && err == nil; i++ {
				if have, _ := c.Committed(ctx, spec.Reduce); !slices.Contains(have, i) {
					attempt(t, c, spec.Reduce, i, try, fmt.Sprint(i))
					err = c.CommitTask(ctx, spec.Reduce, i, try)
				}
			}
			if err == nil {
				err = c.CommitJob(ctx, spec.Reduce, parts)
			}
			if done, _ := c.Finished(ctx); done {
				if s := show(dir); !strings.Contains(s, "part-r-00000:0 part-r-00001:1 part-r-00002:2 part-r-00003:3 part-r-00004:4") {
					rt.Fatalf("_SUCCESS stands over %s", s)
				}
			}
			if err == nil {
				return
			}
			if !errors.Is(err, errCrash) {
				rt.Fatal(err)
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	name := filepath.Join(b.TempDir(), "part")
	k, v := []byte("0123456789"), bytes.Repeat([]byte("v"), 88)
	b.SetBytes(100 * 100_000)
	for b.Loop() {
		w, err := Create(ctx, Text, local.New(), name, nil)
		ok(b, err)
		for range 100_000 {
			ok(b, w.Write(k, v))
		}
		ok(b, w.Close())
	}
}
