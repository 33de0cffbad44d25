package task_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/spec"
)

// Values that Hadoop's pi example prints.
func TestPi(t *testing.T) {
	for _, c := range []struct{ maps, samples, want string }{
		{"10", "1000", "3.14080000000000000000"},
		{"16", "1000", "3.14250000000000000000"},
		{"2", "10", "3.80000000000000000000"},
	} {
		cl := newCluster(t)
		job := build(t, "pi", c.maps, c.samples, cl.newOutput())
		if err := cl.run(job); err != nil {
			t.Fatal(err)
		}
		if got := cl.output(job.Output); !strings.Contains(got, "pi\t"+c.want+"\n") {
			t.Errorf("pi %s %s: %q, want %s", c.maps, c.samples, got, c.want)
		}
	}
}

func TestGrep(t *testing.T) {
	c := newCluster(t)
	in := c.write("in.txt", "dfs.a dfs.bb x\ndfs.a\nno\n dfs.a,dfs.c\n")
	job := build(t, "grep", in, c.newOutput(), `dfs\.[a-z]+`)
	if err := c.run(job); err != nil {
		t.Fatal(err)
	}
	if got, want := c.output(job.Output), "3\tdfs.a\n1\tdfs.bb\n1\tdfs.c\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	job = build(t, "grep", in, c.newOutput(), `dfs\.([a-z])([a-z])?`, "2")
	if err := c.run(job); err != nil {
		t.Fatal(err)
	}
	if got, want := c.output(job.Output), "1\tb\n"; got != want {
		t.Errorf("group 2: got %q, want %q", got, want)
	}
	for _, bad := range [][]string{{in, "/out"}, {in, "/out", "("}, {in, "/out", "(a)", "2"}} {
		if _, err := builtin.Jobs["grep"](bad); err == nil {
			t.Errorf("grep %q is taken", bad)
		}
	}
}

func TestSort(t *testing.T) {
	for _, reduces := range []int{1, 4} {
		c := newCluster(t)
		in, _ := text(3, 20_000)
		in = strings.ReplaceAll(in, "\r", "")
		job := build(t, "sort", c.write("in.txt", in), c.newOutput())
		job.Reduces, job.SplitSize = reduces, 10_000
		if err := c.run(job); err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(in, "\n")
		if last := &lines[len(lines)-1]; *last == "" {
			lines = lines[:len(lines)-1]
		} else {
			*last += "\n"
		}
		slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[:len(a)-1], b[:len(b)-1]) })
		if got := c.output(job.Output); got != strings.Join(lines, "") {
			t.Errorf("reduces=%d: not sorted", reduces)
		}
		if reduces > 1 {
			checkBalance(t, job.Output, reduces)
		}
	}
}

// checkBalance fails if a part has more than twice its share.
func checkBalance(t *testing.T, dir string, parts int) {
	t.Helper()
	var sizes []int64
	var total int64
	for i := range parts {
		fi, err := os.Stat(filepath.Join(dir, fmt.Sprintf("part-r-%05d", i)))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, fi.Size())
		total += fi.Size()
	}
	if m := slices.Max(sizes); m > 2*total/int64(parts) {
		t.Errorf("parts have %d bytes", sizes)
	}
}

// teragen, terasort and teravalidate after each other; the checksum of the sorted rows is that of the generated ones.
func TestTera(t *testing.T) {
	c := newCluster(t)
	gen := build(t, "teragen", "10k", c.newOutput())
	gen.Maps = 3
	if err := c.run(gen); err != nil {
		t.Fatal(err)
	}
	sum := c.counters.Get("org.apache.hadoop.examples.terasort.TeraGen$Counters", "CHECKSUM").Load()
	first, err := os.ReadFile(filepath.Join(gen.Output, "part-m-00000"))
	if err != nil || !bytes.HasPrefix(first, []byte("JimGrayRIP\x00\x110000")) {
		t.Fatalf("generated %q, %v", first[:min(100, len(first))], err)
	}
	sorted := build(t, "terasort", gen.Output, c.newOutput())
	sorted.SplitSize = 100_000
	if err := c.run(sorted); err != nil {
		t.Fatal(err)
	}
	checkBalance(t, sorted.Output, sorted.Reduces)
	validate := func(dir string) string {
		job := build(t, "teravalidate", dir, c.newOutput())
		if err := c.run(job); err != nil {
			t.Fatal(err)
		}
		return c.output(job.Output)
	}
	if got, want := validate(sorted.Output), fmt.Sprintf("checksum\t%x\n", sum); got != want {
		t.Errorf("validate: %q, want %q", got, want)
	}
	if got := validate(gen.Output); !strings.Contains(got, "error\tmisorder in part-m-00000 between") ||
		!strings.Contains(got, "bad key partitioning") {
		t.Errorf("validate of unsorted rows: %.300q", got)
	}
}

func TestUnknownFunction(t *testing.T) {
	c := newCluster(t)
	job := spec.Job{
		Inputs: []string{c.write("in", "x\n")}, Output: c.newOutput(), Mapper: spec.Stage{Function: "nope"}, Reduces: 1,
	}
	if err := c.run(job); err == nil || !strings.Contains(err.Error(), `no mapper "nope"`) {
		t.Errorf("error %v", err)
	}
}
