package yarnjobs

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

func checkCounts(t *testing.T, folder string, want map[string]int) {
	t.Helper()
	got := map[string]string{}
	for l := range strings.Lines(read(t, folder)) {
		k, v, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		got[k] = v
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d keys, want %d", folder, len(got), len(want))
	}
	for w, n := range want {
		if got[w] != fmt.Sprint(n) {
			t.Fatalf("%s: %s = %q, want %d", folder, w, got[w], n)
		}
	}
}

func home(user, name string) string { return "/user/" + user + "/" + name }

func TestWordcount(t *testing.T) {
	body, want := text(120_000) // some two blocks
	world.Put(t, testbed.WithoutAccount, home(testbed.WithoutAccount, "wc/in.txt"), body)
	res := world.rig.run(t, testbed.WithoutAccount, 2*time.Minute, world.In.ExamplesJar(), "wordcount", home(testbed.WithoutAccount, "wc"), home(testbed.WithoutAccount, "wc-out"))
	checkCounts(t, home(testbed.WithoutAccount, "wc-out"), want)
	if res.Counters["Data-local map tasks"] == 0 || res.Counters["Rack-local map tasks"] != 0 {
		t.Errorf("maps ran far from their data: %v", res.Counters)
	}
}

func TestPi(t *testing.T) {
	res := world.rig.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), "pi", "4", "1000")
	m := regexp.MustCompile(`Estimated value of Pi is ([\d.]+)`).FindStringSubmatch(res.Output)
	if m == nil {
		t.Fatalf("no estimate in\n%s", res.Output)
	}
	if v, err := strconv.ParseFloat(m[1], 64); err != nil || math.Abs(v-math.Pi) > 0.05 {
		t.Errorf("pi = %s", m[1])
	}
}

func TestGrep(t *testing.T) {
	body, want := text(20_000)
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "grep/in.txt"), body)
	world.rig.run(t, testbed.WithAccount, 3*time.Minute, world.In.ExamplesJar(), "grep", home(testbed.WithAccount, "grep"), home(testbed.WithAccount, "grep-out"), `x[0-9]+`)
	got := map[string]string{}
	for l := range strings.Lines(read(t, home(testbed.WithAccount, "grep-out"))) {
		n, w, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		got[w] = n
	}
	for w, n := range want {
		if strings.HasPrefix(w, "x") && got[w] != fmt.Sprint(n) {
			t.Errorf("%s = %q, want %d", w, got[w], n)
		}
	}
	if len(got) != 37 {
		t.Errorf("%d keys, want 37", len(got))
	}
}

func TestTerasort(t *testing.T) {
	dir := home(testbed.WithAccount, "tera")
	world.rig.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), "teragen", "-Dmapreduce.job.maps=2", "40000", dir+"/in")
	world.rig.run(t, testbed.WithAccount, 3*time.Minute, world.In.ExamplesJar(), "terasort", "-Dmapreduce.job.reduces=2", dir+"/in", dir+"/out")
	world.rig.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), "teravalidate", dir+"/out", dir+"/report")
	if got := read(t, dir+"/report"); strings.Contains(got, "error") || !strings.Contains(got, "checksum") {
		t.Errorf("teravalidate reports %q", got)
	}
	if n := len(read(t, dir+"/out")); n != 40000*100 {
		t.Errorf("terasort wrote %d bytes, want %d", n, 40000*100)
	}
}

func TestSecondarySort(t *testing.T) {
	var in strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "%d %d\n", i%7, (i*37)%100)
	}
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "second/in.txt"), in.String())
	world.rig.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), "secondarysort", home(testbed.WithAccount, "second"), home(testbed.WithAccount, "second-out"))
	var last []int
	pairs := 0
	for l := range strings.Lines(read(t, home(testbed.WithAccount, "second-out"))) {
		a, b, ok := strings.Cut(strings.TrimSpace(l), "\t")
		if !ok {
			last = nil // a line of dashes starts a group
			continue
		}
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		if last != nil && (last[0] != x || last[1] > y) {
			t.Fatalf("%d %d follows %v", x, y, last)
		}
		last, pairs = []int{x, y}, pairs+1
	}
	if pairs != 500 {
		t.Errorf("%d pairs, want 500", pairs)
	}
}

func TestJoin(t *testing.T) {
	var left, right strings.Builder
	for i := range 100 {
		fmt.Fprintf(&left, "k%03d\tl%d\n", i, i)
		if i%2 == 0 {
			fmt.Fprintf(&right, "k%03d\tr%d\n", i, i)
		}
	}
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "join/left/part-0"), left.String())
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "join/right/part-0"), right.String())
	world.rig.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), "join", "-r", "1",
		"-inFormat", "org.apache.hadoop.mapreduce.lib.input.KeyValueTextInputFormat",
		"-outFormat", "org.apache.hadoop.mapreduce.lib.output.TextOutputFormat",
		"-outKey", "org.apache.hadoop.io.Text", "-outValue", "org.apache.hadoop.mapreduce.lib.join.TupleWritable",
		home(testbed.WithAccount, "join/left"), home(testbed.WithAccount, "join/right"), home(testbed.WithAccount, "join-out"))
	got := slices.Collect(strings.Lines(read(t, home(testbed.WithAccount, "join-out"))))
	if len(got) != 50 || !strings.HasPrefix(got[1], "k002\t[l2,r2]") {
		t.Errorf("join gave %d lines, the second %q", len(got), got[min(1, len(got)-1)])
	}
}

// script writes a program into a folder that every account reads.
func script(t *testing.T, name, body string) string {
	t.Helper()
	dir, err := os.MkdirTemp(world.Dir, "script-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

const countMapper = `#!/usr/bin/env python3
import sys
for line in sys.stdin:
    for word in line.split():
        print(word + "\t1")
`

const countReducer = `#!/usr/bin/env python3
import sys
last, n = None, 0
for line in sys.stdin:
    word, count = line.rstrip("\n").split("\t")
    if word != last:
        if last is not None:
            print(last + "\t" + str(n))
        last, n = word, 0
    n += int(count)
if last is not None:
    print(last + "\t" + str(n))
`

func TestStreaming(t *testing.T) {
	body, want := text(30_000)
	world.Put(t, testbed.WithoutAccount, home(testbed.WithoutAccount, "stream/in.txt"), body)
	m, r := script(t, "mapper.py", countMapper), script(t, "reducer.py", countReducer)
	world.rig.run(t, testbed.WithoutAccount, 2*time.Minute, world.In.StreamingJar(), "-files", m+","+r, "-input", home(testbed.WithoutAccount, "stream"),
		"-output", home(testbed.WithoutAccount, "stream-out"), "-mapper", "mapper.py", "-reducer", "reducer.py")
	checkCounts(t, home(testbed.WithoutAccount, "stream-out"), want)
}

// Files, archives and jars that the user adds reach the task's folder; a job without reduces writes its maps' output.
func TestCacheFilesAndMapOnly(t *testing.T) {
	world.Put(t, testbed.WithoutAccount, home(testbed.WithoutAccount, "cache/in.txt"), "one\ntwo\n")
	m := script(t, "check.py", `#!/usr/bin/env python3
import os, sys
sys.stdin.read()
for p in ("side.txt", "bundle/inner/deep.txt", "extra.jar"):
    print(p + "\t" + str(os.path.exists(p)))
print("ls\t" + ",".join(sorted(os.listdir("."))))
print("text\t" + open("side.txt").read().strip() + "," + open("bundle/inner/deep.txt").read().strip())
print("cwd\t" + str(os.access(".", os.W_OK)))
`)
	side := script(t, "side.txt", "side")
	bundle := zipFile(t, "bundle.zip", "inner/deep.txt", "deep")
	jar := zipFile(t, "extra.jar", "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
	world.rig.run(t, testbed.WithoutAccount, 2*time.Minute, world.In.StreamingJar(), "-Dmapreduce.job.reduces=0", "-Dmapreduce.job.maps=1",
		"-files", m+","+side, "-archives", bundle+"#bundle", "-libjars", jar,
		"-input", home(testbed.WithoutAccount, "cache"), "-output", home(testbed.WithoutAccount, "cache-out"), "-mapper", "check.py")
	got := read(t, home(testbed.WithoutAccount, "cache-out"))
	for _, want := range []string{"side.txt\tTrue", "bundle/inner/deep.txt\tTrue", "extra.jar\tTrue", "text\tside,deep", "cwd\tTrue"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}
