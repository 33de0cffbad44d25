package jobs

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

func TestWordCountRunsWhereTheDataLies(t *testing.T) {
	text, want := lines(200_000) // some 3 MiB, 4 blocks
	in := put(t, "/jobs/wc/in/a.txt", text)
	j := submit(t, world.c, "wordcount", strings.TrimSuffix(in, "/a.txt"), "hdfs:///jobs/wc/out", "--role", "analytics")
	checkCounts(t, "/jobs/wc/out", want)
	maps, local := counter(j, "TOTAL_LAUNCHED_MAPS"), counter(j, "DATA_LOCAL_MAPS")
	if maps < 3 || local != maps {
		t.Errorf("%d of %d maps were data-local", local, maps)
	}
	if n := counter(j, "MAP_INPUT_RECORDS"); n != 200_000 {
		t.Errorf("MAP_INPUT_RECORDS = %d", n)
	}
	out, err := world.c.Run(t.Context(), "job", j.Id)
	if err != nil || !strings.Contains(out, "succeeded") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStreamingPython(t *testing.T) {
	text, want := lines(50_000)
	in := put(t, "/jobs/py/in.txt", text)
	dir := t.TempDir()
	mapper, reducer := filepath.Join(dir, "m.py"), filepath.Join(dir, "r.py")
	write(t, mapper, `import os, sys
print("reporter:status:begun", file=sys.stderr)
n = 0
for line in sys.stdin:
    for w in line.split():
        print(w + "\t1")
        n += 1
print("reporter:counter:words,seen,%d" % n, file=sys.stderr)
assert os.environ["mapreduce_job_id"] and os.environ["color"] == "blue"
`)
	write(t, reducer, `import sys
last, total = None, 0
for line in sys.stdin:
    k, v = line.rstrip("\n").split("\t")
    if k != last:
        if last is not None: print("%s\t%d" % (last, total))
        last, total = k, 0
    total += int(v)
if last is not None: print("%s\t%d" % (last, total))
`)
	j := submit(t, world.c, "-input", in, "-output", "hdfs:///jobs/py/out", "-mapper", "python3 m.py", "-reducer", "python3 r.py",
		"-file", mapper, "-file", reducer, "-numReduceTasks", "3", "-cmdenv", "color=blue")
	checkCounts(t, "/jobs/py/out", want)
	if n := counter(j, "seen"); n != 150_000 {
		t.Errorf("the program's counter = %d", n)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestCompressedInputAndGlobs(t *testing.T) {
	text, one := lines(3_000)
	want := map[string]int64{}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(text))
	w.Close()
	put(t, "/jobs/z/a1.gz", z.String())
	for _, tool := range []struct{ name, suffix string }{{"bzip2", ".bz2"}, {"zstd", ".zst"}} {
		path, err := exec.LookPath(tool.name)
		if err != nil {
			t.Logf("%s is not installed; its input is tested in frameworks/mapreduce/input", tool.name)
			continue
		}
		c := exec.CommandContext(t.Context(), path, "-c")
		c.Stdin = strings.NewReader(text)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		put(t, "/jobs/z/a2"+tool.suffix, string(out))
	}
	list, err := world.FS.List(t.Context(), "/jobs/z")
	if err != nil {
		t.Fatal(err)
	}
	for k, n := range one {
		want[k] = n * int64(len(list))
	}
	put(t, "/jobs/z/other", "not this one\n")
	submit(t, world.c, "wordcount", "hdfs:///jobs/z/a*", "hdfs:///jobs/zout")
	checkCounts(t, "/jobs/zout", want)
}

func TestTeraSort(t *testing.T) {
	submit(t, world.c, "teragen", "50000", "hdfs:///jobs/tera/in", "--maps", "3")
	submit(t, world.c, "terasort", "hdfs:///jobs/tera/in", "hdfs:///jobs/tera/out", "--reduces", "3")
	j := submit(t, world.c, "teravalidate", "hdfs:///jobs/tera/out", "hdfs:///jobs/tera/report")
	report := results(t, "/jobs/tera/report")
	if len(report) != 1 || report["checksum"] == "" {
		t.Errorf("teravalidate reports %v", report)
	}
	if n := counter(j, "MAP_INPUT_RECORDS"); n != 50_000 {
		t.Errorf("validated %d records", n)
	}
}

func TestGrepSortPi(t *testing.T) {
	text, _ := lines(5_000)
	in := put(t, "/jobs/g/in.txt", text)
	submit(t, world.c, "grep", in, "hdfs:///jobs/g/out", "x[0-9]")
	list := strings.Split(strings.TrimSpace(read(t, "/jobs/g/out/part-r-00000")), "\n")
	if len(list) != 10 { // x0 to x9
		t.Errorf("grep found %v", list)
	}
	if !sort.SliceIsSorted(list, func(i, k int) bool {
		a, _ := strconv.Atoi(strings.Fields(list[i])[0])
		b, _ := strconv.Atoi(strings.Fields(list[k])[0])
		return a > b
	}) {
		t.Errorf("grep's output is not by descending count: %v", list)
	}
	submit(t, world.c, "sort", in, "hdfs:///jobs/s/out")
	sorted := strings.Split(strings.TrimSuffix(read(t, "/jobs/s/out/part-r-00000"), "\n"), "\n")
	if len(sorted) != 5_000 {
		t.Errorf("sort wrote %d lines", len(sorted))
	}
	submit(t, world.c, "pi", "4", "100000", "hdfs:///jobs/pi")
	var pi string
	for k, v := range results(t, "/jobs/pi") {
		pi += k + " " + v
	}
	if !strings.Contains(pi, "3.14") {
		t.Errorf("pi = %q", pi)
	}
}

func TestMapOnlyAndLocalCoordinator(t *testing.T) {
	in := put(t, "/jobs/mo/in.txt", "b\na\n")
	submit(t, world.c, "-input", in, "-output", "hdfs:///jobs/mo/out", "-mapper", "cat", "-numReduceTasks", "0", "--local-coordinator")
	if got := read(t, "/jobs/mo/out/part-m-00000"); strings.ReplaceAll(got, "\t", "") != "b\na\n" {
		t.Errorf("output = %q", got)
	}
}

func TestArrowStreaming(t *testing.T) {
	python := "../../.cache/python/bin/python3"
	if exec.Command(python, "-c", "import pyarrow").Run() != nil {
		t.Skip("no pyarrow in .cache/python: make python installs it")
	}
	python, err := filepath.Abs(python)
	if err != nil {
		t.Fatal(err)
	}
	text, want := lines(50_000)
	in := put(t, "/jobs/arrow/in.txt", text)
	mapper := filepath.Join(t.TempDir(), "m.py")
	write(t, mapper, arrowMapper)
	submit(t, world.c, "-input", in, "-output", "hdfs:///jobs/arrow/out", "-mapper", python+" m.py", "-reducer", "sum", "-combiner", "sum",
		"-file", mapper, "--io", "arrow")
	checkCounts(t, "/jobs/arrow/out", want)
}

// arrowMapper counts words on whole columns.
const arrowMapper = `import sys
import pyarrow as pa
import pyarrow.compute as pc
source = pa.ipc.open_stream(sys.stdin.buffer)
sink = None
for batch in source:
    words = pc.list_flatten(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(batch.column(0).cast(pa.string()))))
    words = words.filter(pc.not_equal(words, ""))
    counts = pc.value_counts(words)
    out = pa.RecordBatch.from_arrays([counts.field(0), counts.field(1)], names=["key", "value"])
    if sink is None:
        sink = pa.ipc.new_stream(sys.stdout.buffer, out.schema)
    sink.write_batch(out)
if sink is not None:
    sink.close()
`

func TestParquetOut(t *testing.T) {
	text, want := lines(2_000)
	in := put(t, "/jobs/pq/in.txt", text)
	submit(t, world.c, "wordcount", in, "hdfs:///jobs/pq/out", "--output-format", "parquet")
	submit(t, world.c, "-input", "hdfs:///jobs/pq/out", "-output", "hdfs:///jobs/pq/text", "-mapper", "identity", "-reducer", "identity",
		"--input-format", "parquet")
	checkCounts(t, "/jobs/pq/text", want)
	out, err := world.c.Run(t.Context(), "cat", "--arrow", "hdfs:///jobs/pq/out")
	if err != nil || len(out) < 100 {
		t.Errorf("cat --arrow wrote %d bytes, %v", len(out), err)
	}
}

func TestTwoRolesShare(t *testing.T) {
	for i := range 4 {
		text, _ := lines(150_000)
		put(t, fmt.Sprintf("/jobs/share/in/%d", i), text)
	}
	ended := make(chan string, 2)
	for _, role := range []string{"analytics", "batch"} {
		go func() {
			_, err := world.c.Run(t.Context(), "submit", "mapreduce", "wordcount", "hdfs:///jobs/share/in", "hdfs:///jobs/share/out-"+role, "--role", role, "--split-size", "256KiB")
			if err != nil {
				ended <- err.Error()
				return
			}
			ended <- ""
		}()
	}
	for range 2 {
		if e := <-ended; e != "" {
			t.Error(e)
		}
	}
	a, b := results(t, "/jobs/share/out-analytics"), results(t, "/jobs/share/out-batch")
	if len(a) == 0 || len(a) != len(b) {
		t.Errorf("%d and %d keys", len(a), len(b))
	}
}
