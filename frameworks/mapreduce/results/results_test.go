package results

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

var ctx = context.Background()

// job writes a result of two parts as a job does and returns its folder.
func job(t *testing.T, format string, conf map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	j := &spec.Job{ID: "job_1", Output: dir, OutputFormat: format, Conf: conf}
	c := output.NewCommitter(local.New(), dir, j)
	if err := c.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		w, err := output.Create(ctx, format, local.New(), c.TaskPath(spec.Reduce, i, 0), conf)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if err := w.Write(fmt.Appendf(nil, "k%d", 3*i+n), strconv.AppendInt(nil, int64(n), 10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), c.CommitTask(ctx, spec.Reduce, i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Text(ctx, local.New(), dir, &bytes.Buffer{}); !errors.Is(err, ErrUnfinished) {
		t.Errorf("an unfinished result: %v", err)
	}
	if err := c.CommitJob(ctx, spec.Reduce, 2); err != nil {
		t.Fatal(err)
	}
	return dir
}

type lines struct{ all []string }

func (l *lines) Emit(k, v []byte) error          { l.all = append(l.all, string(k)+"="+string(v)); return nil }
func (l *lines) EmitInt(k []byte, n int64) error { return l.Emit(k, strconv.AppendInt(nil, n, 10)) }

func TestTextAndArrowOfEveryFormat(t *testing.T) {
	gz := map[string]string{output.CompressProperty: "true"}
	for _, c := range []struct {
		format string
		conf   map[string]string
	}{{output.Text, nil}, {output.Text, gz}, {output.Parquet, nil}, {output.Arrow, map[string]string{columnar.OutputValueTypeProperty: "int64"}}} {
		dir := job(t, c.format, c.conf)
		var text bytes.Buffer
		if err := Text(ctx, local.New(), dir, &text); err != nil || text.String() != "k0\t0\nk1\t1\nk2\t2\nk3\t0\nk4\t1\nk5\t2\n" {
			t.Errorf("%s: %v, %q", c.format, err, text.String())
		}
		var stream bytes.Buffer
		if err := CatArrow(ctx, local.New(), dir, map[string]string{columnar.OutputValueTypeProperty: "int64"}, &stream); err != nil {
			t.Fatal(err)
		}
		var got lines
		if err := columnar.ReadRecords(&stream, &got); err != nil || fmt.Sprint(got.all) != "[k0=0 k1=1 k2=2 k3=0 k4=1 k5=2]" {
			t.Errorf("%s: %v, %q", c.format, err, got.all)
		}
	}
}

func TestWhatIsNoResult(t *testing.T) {
	dir := t.TempDir()
	if err := Text(ctx, local.New(), filepath.Join(dir, "none"), &bytes.Buffer{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	var b bytes.Buffer
	if err := errors.Join(Text(ctx, local.New(), dir, &b), CatArrow(ctx, local.New(), dir, nil, &b)); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "part-r-00000"), []byte("a\tx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := CatArrow(ctx, local.New(), dir, map[string]string{columnar.OutputValueTypeProperty: "int64"}, &b)
	if err == nil || !strings.Contains(err.Error(), "part-r-00000") || !strings.Contains(err.Error(), `"x" is no int64`) {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Text(ctx, local.New(), dir, &b); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Error(err)
	}
}

func TestServing(t *testing.T) {
	dir := job(t, output.Parquet, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "")
	s := &columnar.Server{Token: "t", Fill: Serving(mux, "file://"+dir, "")}
	serving, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- s.Serve(serving, l) }()
	addr := l.Addr().String()
	var b bytes.Buffer
	var got lines
	if err := columnar.Fetch(ctx, addr, "t", "file://"+dir, &b); err != nil {
		t.Error(err)
	} else if err := columnar.ReadRecords(&b, &got); err != nil || len(got.all) != 6 {
		t.Errorf("%v %q", err, got.all)
	}
	for _, url := range []string{"file:///etc/passwd", "file://" + dir + "/../x", "file://" + dir + "x", dir, "hdfs://" + dir} {
		if err := columnar.Fetch(ctx, addr, "t", url, &b); err == nil || !strings.Contains(err.Error(), "not served here") {
			t.Errorf("%s: %v", url, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
