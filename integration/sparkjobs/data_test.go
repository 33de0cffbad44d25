package sparkjobs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/testbed"
)

// text makes n lines of words, and their counts.
func text(n int) (string, map[string]int) {
	counts := map[string]int{}
	var b strings.Builder
	for i := range n {
		for _, w := range []string{"alpha", fmt.Sprintf("w%d", i%1000), fmt.Sprintf("x%d", i%37)} {
			counts[w]++
			b.WriteString(w)
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
	}
	return b.String(), counts
}

// check compares what a driver said with what it should.
func check(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}
}

// Group-by and join on text, partitioned Parquet, a cache, a thousand tiny tasks and pandas functions: one application, as
// each start costs half a minute here.
func TestDataFrames(t *testing.T) {
	const lines = 360_000 // some six blocks, two on each host
	body, counts := text(lines)
	base := home(testbed.WithoutAccount, "frames")
	world.Put(t, testbed.WithoutAccount, base+"/words/in.txt", body)
	world.Put(t, testbed.WithoutAccount, base+"/names/in.csv", "x1,one\nx2,two\nnone,three\n")
	c := world.rig.serviced(testbed.WithoutAccount)
	c.Conf["spark.dynamicAllocation.maxExecutors"] = "3"
	c.Conf["spark.dynamicAllocation.executorIdleTimeout"] = "60s"
	c.Conf["spark.locality.wait"] = "30s" // an executor may start much later than another on a busy machine
	c.Conf["spark.sql.files.maxPartitionBytes"] = strconv.Itoa(testbed.BlockSize)
	c.Conf["spark.sql.files.openCostInBytes"] = "0"
	res := world.rig.submit(t, c, 5*time.Minute, program(t, "frames.py"), base)
	got := said(res.Stdout)
	check(t, got, map[string]string{
		"words": strconv.Itoa(3 * lines), "distinct": strconv.Itoa(len(counts)), "alpha": strconv.Itoa(lines),
		"join": fmt.Sprintf("x1:one:%d;x2:two:%d", counts["x1"], counts["x2"]), "sortmerge": "2",
		"parquet": "1000", "part": strconv.Itoa(250 * (3 + 999) / 2),
		"lines": strconv.Itoa(lines), "tiny": strconv.Itoa(999 * 1000 / 2), "arrow": strconv.Itoa(999 * 1000), "map": strconv.Itoa(lines),
	})
	h := world.rig.history(t, res.Application)
	if len(h.failed) != 0 || !h.ended {
		t.Errorf("tasks failed: %v", h.failed)
	}
	// Those that read HDFS are the first stage of the group. They are local only if there is an executor on each host.
	first, _, _ := strings.Cut(got["read_stages"], ",")
	if l := h.levels(first); l["NODE_LOCAL"] != 6 || len(l) != 1 {
		t.Errorf("tasks that read HDFS ran at %v", l)
	}
	if l := h.levels(got["cached_stages"]); l["PROCESS_LOCAL"] != 6 || len(l) != 1 {
		t.Errorf("tasks that read what is cached ran at %v", l)
	}
	n := 0
	for _, k := range h.levels(got["tiny_stages"]) {
		n += k
	}
	if n < 1000 { // and one or two that add up
		t.Errorf("%d tiny tasks", n)
	}
	parts, err := world.FS.List(t.Context(), base+"/parquet")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range parts {
		names[filepath.Base(p.Path)] = true
	}
	for _, want := range []string{"_SUCCESS", "part=0", "part=1", "part=2", "part=3"} {
		if !names[want] {
			t.Errorf("the Parquet folder lacks %s: %v", want, names)
		}
	}
}

// levels are the localities of the tasks of some stages, comma-separated.
func (h history) levels(stages string) map[string]int {
	all := map[string]int{}
	for s := range strings.SplitSeq(stages, ",") {
		id, err := strconv.Atoi(s)
		if err != nil {
			continue
		}
		for level, n := range h.locality[id] {
			all[level] += n
		}
	}
	return all
}

// A JVM's main class in both modes.
func TestJavaClass(t *testing.T) {
	body, counts := text(20_000)
	file := home(testbed.WithAccount, "java/in.txt")
	world.Put(t, testbed.WithAccount, file, body)
	jar, err := world.spark.Jar(t.Context(), folder(t, 0o755), program(t, "Words.java"))
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"client", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			res := world.rig.submit(t, world.rig.client(testbed.WithAccount), 2*time.Minute, "--deploy-mode", mode, "--class", "Words", jar, file, "x3")
			out := res.Stdout
			if mode == "cluster" {
				out = world.rig.logs(t, res.Application)
			}
			if want := fmt.Sprintf("count=%d\n", counts["x3"]); !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, tail(out))
			}
		})
	}
}

// folder is one that every account can read, or write too; it goes with the tests.
func folder(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp(world.Dir, "folder-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spark-sql makes a table in HDFS, fills it and reads it.
func TestSQL(t *testing.T) {
	c := world.rig.client(testbed.WithAccount)
	c.Dir = folder(t, 0o755) // the metastore is made where it runs
	c.Conf["spark.sql.warehouse.dir"] = world.DFS.URL() + home(testbed.WithAccount, "warehouse")
	ctx, cancel := within(t, 3*time.Minute)
	defer cancel()
	res, err := c.Run(ctx, "spark-sql", "-e", `create table fruit (name string, n int) using parquet;
insert into fruit values ('apple', 3), ('pear', 4), ('apple', 5);
select name, sum(n) as total from fruit group by name order by name;`)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(res.Stderr))
	}
	if !strings.Contains(res.Stdout, "apple\t8\npear\t4\n") {
		t.Errorf("spark-sql printed %q\n%s", res.Stdout, tail(res.Stderr))
	}
	list, err := world.FS.List(t.Context(), home(testbed.WithAccount, "warehouse/fruit"))
	if err != nil || len(list) < 2 {
		t.Errorf("the table's folder holds %v, %v", list, err)
	}
}

// What the user adds reaches the driver's container and the executors'.
func TestFilesAndArchives(t *testing.T) {
	dir := folder(t, 0o755)
	write := func(name, body string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	single := write("single.py", "WORD = 'single'\n")
	packaged := write("packaged.zip", zipped(t, map[string]string{"packaged/__init__.py": "", "packaged/inner.py": "WORD = 'inner'\n"}))
	bundle := write("bundle.zip", zipped(t, map[string]string{"inner/deep.txt": "deep\n"}))
	side := write("side.txt", "side\n")
	for _, mode := range []string{"client", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "client" {
				testbed.Long(t)
			}
			res := world.rig.submit(t, world.rig.client(testbed.WithoutAccount), 2*time.Minute, "--deploy-mode", mode,
				"--py-files", single+","+packaged, "--archives", bundle+"#bundle", "--files", side, program(t, "files.py"))
			out := res.Stdout
			if mode == "cluster" {
				out = world.rig.logs(t, res.Application)
			}
			for _, want := range []string{"driver=single,inner\n", "tasks=single,inner,deep,side\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, tail(out))
				}
			}
		})
	}
}
