package stream

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage/local"
)

var pyarrow = sync.OnceValue(func() error {
	return exec.Command("python3", "-c", "import pyarrow.compute").Run()
})

func needPyarrow(t testing.TB) {
	if pyarrow() != nil {
		t.Skip("python3 cannot import pyarrow: pip install pyarrow")
	}
}

const arrowCount = `
import sys, pyarrow as pa, pyarrow.compute as pc
out = None
for batch in pa.ipc.open_stream(sys.stdin.buffer):
    counts = pc.value_counts(pc.ascii_split_whitespace(batch.column("line")).flatten())
    result = pa.record_batch([counts.field(0), counts.field(1)], names=["key", "value"])
    if out is None:
        out = pa.ipc.new_stream(sys.stdout.buffer, result.schema)
    out.write_batch(result)
if out is not None:
    out.close()
`

func TestArrowMapperOnText(t *testing.T) {
	needPyarrow(t)
	b, in := setUp(t, strings.Repeat("the quick  brown fox\n", 30_000)+"ünïcode the\r\nend")
	b.job.IO = ArrowIO
	b.script("count.py", arrowCount)
	if err := b.mapWith(in, "python3", "count.py"); err != nil {
		t.Fatal(err)
	}
	sort.Strings(b.lines)
	got := strings.Join(b.lines, " ")
	for _, want := range []string{"fox=30000", "the=30001", "ünïcode=1", "end=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if b.fraction < 0.9 {
		t.Errorf("progress %v", b.fraction)
	}
}

func TestArrowReducer(t *testing.T) {
	needPyarrow(t)
	b, _ := setUp(t, "")
	b.job.IO, b.cx.Kind, b.cx.Split = ArrowIO, spec.Reduce, nil
	b.job.Conf["fairway.arrow.value.type"] = "int64"
	b.script("sum.py", `
import sys, pyarrow as pa
t = pa.ipc.open_stream(sys.stdin.buffer).read_all()
s = t.group_by("key", use_threads=False).aggregate([("value", "sum")]).rename_columns(["key", "value"])
with pa.ipc.new_stream(sys.stdout.buffer, s.schema) as out:
    out.write_table(s)
`)
	in := &records{all: [][2]string{{"a", "1"}, {"a", "2"}, {"b", "5"}}}
	stage := spec.Stage{Program: []string{"python3", "sum.py"}}
	if err := b.programs.Reduce(b.cx, stage, in, b.recorder); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(b.lines); s != "[a=3 b=5]" {
		t.Error(s)
	}
	in = &records{all: [][2]string{{"a", "1"}, {"a", "x2"}}}
	if err := b.programs.Reduce(b.cx, stage, in, b.recorder); err == nil || !strings.Contains(err.Error(), `record 1: column value: "x2" is no int64`) {
		t.Error(err)
	}
}

func TestArrowMapperOnParquetColumns(t *testing.T) {
	needPyarrow(t)
	b, _ := setUp(t, "")
	b.job.IO, b.job.InputFormat = ArrowIO, input.Parquet
	name := filepath.Join(b.cx.Sandbox, "t.parquet")
	make := exec.Command("python3", "-c", `
import pyarrow as pa, pyarrow.parquet as pq, sys
n = 100000
pq.write_table(pa.table({"city": ["a", "b"] * (n // 2), "temp": list(range(n))}), sys.argv[1], row_group_size=30000)
`, name)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	split := spec.Split{URL: "file://" + name, Length: info.Size(), FileSize: info.Size()}
	b.cx.Split = &split
	in, err := input.Open(context.Background(), input.Parquet, local.New(), name, split, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b.script("max.py", `
import sys, pyarrow as pa
t = pa.ipc.open_stream(sys.stdin.buffer).read_all()
assert t.schema.names == ["city", "temp"], t.schema
s = t.group_by("city", use_threads=False).aggregate([("temp", "max"), ("temp", "count")])
s = s.select(["city", "temp_max", "temp_count"])
with pa.ipc.new_stream(sys.stdout.buffer, s.schema) as out:
    out.write_table(s)
`)
	if err := b.mapWith(in, "python3", "max.py"); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(b.lines); s != "[a=99998\t50000 b=99999\t50000]" {
		t.Error(s)
	}
	if n := b.counters.Get(spec.TaskCounters, "MAP_INPUT_RECORDS").Load(); n != 100000 {
		t.Errorf("counted %d records", n)
	}
}

func TestArrowProgramsThatFail(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"cat >/dev/null; echo hello world", "no Arrow IPC stream: it begins with \"hell\""},
		{"cat >/dev/null; printf '\\377\\377\\377\\377\\020'", "unexpected EOF"},
		{"cat >/dev/null; echo why >&2; exit 4", "code 4"},
		{"exit 0", "without reading"},
	} {
		b, in := setUp(t, "a line\n")
		b.job.IO = ArrowIO
		if err := b.mapWith(in, "sh", "-c", c.script); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	b, in := setUp(t, "good\nbad \xff\n")
	b.job.IO = ArrowIO
	if err := b.mapWith(in, "sh", "-c", "cat >/dev/null"); err == nil || !strings.Contains(err.Error(), "line 1 after byte 0 is not UTF-8") {
		t.Error(err)
	}
	b, in = setUp(t, "good\nbad \xff\n")
	b.job.IO = ArrowIO
	b.job.Conf["fairway.arrow.line.type"] = "binary"
	if err := b.mapWith(in, "sh", "-c", "cat >/dev/null"); err != nil {
		t.Error(err)
	}
}

func TestArrowStreamThroughCat(t *testing.T) {
	b, in := setUp(t, strings.Repeat("x y\n", 200_000))
	b.job.IO = ArrowIO
	if err := b.mapWith(in, "cat"); err != nil {
		t.Fatal(err)
	}
	if len(b.lines) != 200_000 || b.lines[0] != "x y=" {
		t.Errorf("%d rows, first %q", len(b.lines), b.lines[0])
	}
}

func BenchmarkArrowCat(b *testing.B) {
	content := strings.Repeat("some words in a line of text, about as long as lines are in books\n", 32<<20/66)
	b.SetBytes(int64(len(content)))
	t, _ := setUp(b, content)
	t.quiet, t.job.IO = true, ArrowIO
	name := strings.TrimPrefix(t.cx.Split.URL, "file://")
	for b.Loop() {
		in, err := input.Open(context.Background(), input.Text, local.New(), name, *t.cx.Split, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := t.mapWith(in, "cat"); err != nil {
			b.Fatal(err)
		}
	}
}
