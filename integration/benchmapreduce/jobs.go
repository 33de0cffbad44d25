package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fairway/integration/text"
)

// Inputs in HDFS.
const (
	bigText   = "/bench/text"   // 1 GiB in blocks of 128 MiB
	midText   = "/bench/text16" // one file of 256 MiB in blocks of 16 MiB
	smallText = "/bench/small"  // one block of 16 MiB
	teraRows  = "/bench/tera"   // 1 GiB of TeraGen's rows
)

// rows of 100 bytes: 1 GiB.
const rows = 1 << 30 / 100

// load writes the inputs.
func (b *bench) load(ctx context.Context) error {
	for _, in := range []struct {
		path        string
		files       int
		size, block int64
	}{{bigText, 8, 128<<20 - 4096, 128 << 20}, {midText, 1, 256<<20 - 4096, 16 << 20}, {smallText, 1, 16<<20 - 4096, 16 << 20}} {
		start := time.Now()
		counts, err := text.Write(ctx, b.fs, in.path, in.files, in.size, in.block)
		if err != nil {
			return err
		}
		b.want[in.path] = counts
		fmt.Printf("loaded %s: %d MiB in %.1f s\n", in.path, int64(in.files)*in.size>>20, time.Since(start).Seconds())
	}
	start := time.Now()
	if _, err := b.c.Run(ctx, "submit", "mapreduce", "-q", "teragen", fmt.Sprint(rows), "hdfs://"+teraRows, "--maps", "8"); err != nil {
		return err
	}
	fmt.Printf("teragen: 1 GiB in %.1f s\n", time.Since(start).Seconds())
	for name, code := range programs {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(code), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// programs are the Python sides. words.py writes a line for each word, lines.py joins a line's words into one write.
var programs = map[string]string{
	"words.py": `import sys
for line in sys.stdin:
    for word in line.split():
        print("%s\t1" % word)
`,
	"lines.py": `import sys
out = sys.stdout.buffer
for line in sys.stdin.buffer:
    words = line.split()
    if words:
        out.write(b"\t1\n".join(words) + b"\t1\n")
`,
	"sum.py": `import sys
last, total = None, 0
for line in sys.stdin:
    word, n = line.rstrip("\n").split("\t")
    if word != last:
        if last is not None:
            print("%s\t%d" % (last, total))
        last, total = word, 0
    total += int(n)
if last is not None:
    print("%s\t%d" % (last, total))
`,
	"columns.py": `import sys
import pyarrow as pa
import pyarrow.compute as pc
source = pa.ipc.open_stream(sys.stdin.buffer)
words = pa.chunked_array([pc.list_flatten(pc.split_pattern(batch.column(0), " ")) for batch in source], pa.string())
counts = pa.table({"key": words}).group_by("key").aggregate([([], "count_all")])
with pa.ipc.new_stream(sys.stdout.buffer, pa.schema([("key", pa.string()), ("value", pa.int64())])) as sink:
    sink.write_table(pa.table({"key": counts["key"], "value": counts["count_all"]}))
`,
	"sumcolumns.py": `import sys
import pyarrow as pa
table = pa.ipc.open_stream(sys.stdin.buffer).read_all()
value = table["value"].cast(pa.int64())
sums = pa.table({"key": table["key"], "value": value}).group_by("key").aggregate([("value", "sum")])
with pa.ipc.new_stream(sys.stdout.buffer, pa.schema([("key", pa.string()), ("value", pa.int64())])) as sink:
    sink.write_table(pa.table({"key": sums["key"], "value": sums["value_sum"]}))
`,
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// jobs are the comparisons with Hadoop.
func (b *bench) jobs() []job {
	counted := func(in string) func(context.Context, *bench, string) error {
		return func(ctx context.Context, b *bench, out string) error {
			got, err := text.ReadCounts(ctx, b.fs, out)
			if err != nil {
				return err
			}
			if bad := text.Differences(b.want[in], got); len(bad) > 0 {
				return fmt.Errorf("%d words differ: %s", len(bad), bad[0])
			}
			return nil
		}
	}
	wordcount := func(name, in string, bar float64) job {
		return job{name: name, bar: bar,
			fairway: func(out string) []string { return []string{"wordcount", "hdfs://" + in, out} },
			hadoop: func(out string) (string, []string) {
				return b.install.ExamplesJar(), []string{"wordcount", b.dfs.URL() + in, out}
			},
			check: counted(in)}
	}
	return []job{
		wordcount("wordcount", bigText, 14),
		{name: "terasort", bar: 8,
			fairway: func(out string) []string {
				return []string{"terasort", "hdfs://" + teraRows, out, "--reduces", "2"}
			},
			hadoop: func(out string) (string, []string) {
				return b.install.ExamplesJar(), []string{"terasort", "-Dmapreduce.job.reduces=2", b.dfs.URL() + teraRows, out}
			},
			check: validated},
		{name: "streaming", bar: 3,
			fairway: func(out string) []string {
				return []string{"-input", "hdfs://" + midText, "-output", out, "-mapper", "python3 words.py", "-reducer", "python3 sum.py",
					"-file", b.file("words.py"), "-file", b.file("sum.py"), "-numReduceTasks", "2"}
			},
			hadoop: func(out string) (string, []string) {
				return b.install.StreamingJar(), []string{"-files", b.file("words.py") + "," + b.file("sum.py"), "-input", b.dfs.URL() + midText, "-output", out,
					"-mapper", "python3 words.py", "-reducer", "python3 sum.py", "-numReduceTasks", "2"}
			},
			check: counted(midText)},
		wordcount("small_job", smallText, 15),
	}
}

// validated runs our teravalidate over an output, whoever sorted it, and compares checksum and rows with the input's.
func validated(ctx context.Context, b *bench, out string) error {
	report := out + "-report"
	if _, err := b.c.Run(ctx, "submit", "mapreduce", "-q", "teravalidate", "hdfs://"+out, "hdfs://"+report); err != nil {
		return err
	}
	return b.fs.Remove(ctx, report)
}

// arrow compares a mapper on columns with a text mapper that joins and writes once for each line, both on Fairway: the
// streaming job's count with its Python reducer and no combiner, in splits of 64 MiB. What the engine's own combiner and
// reducer ("sum") make of the two is measured beside it, without a bar.
func (b *bench) arrow(ctx context.Context, rounds int) (*measured, error) {
	m := &measured{Bar: 3, Rounds: map[string][]float64{}}
	for r := range rounds {
		for _, side := range []string{"text", "arrow", "text_combined", "arrow_combined"} {
			out := fmt.Sprintf("/bench/out/arrow-%s-%d", side, r)
			args := []string{"submit", "mapreduce", "-q", "-input", "hdfs://" + midText, "-output", "hdfs://" + out, "--split-size", "64MiB"}
			if mapper, combined := strings.CutSuffix(side, "_combined"); mapper == "text" {
				args = append(args, "-mapper", b.python+" lines.py", "-file", b.file("lines.py"))
				args = append(args, b.reducer(combined, false)...)
			} else {
				args = append(args, "-mapper", b.python+" columns.py", "-file", b.file("columns.py"), "--io", "arrow")
				args = append(args, b.reducer(combined, true)...)
			}
			start := time.Now()
			if _, err := b.c.Run(ctx, args...); err != nil {
				return nil, err
			}
			seconds := time.Since(start).Seconds()
			m.Rounds[side] = append(m.Rounds[side], round2(seconds))
			fmt.Printf("  arrow_streaming round %d %s: %.2f s\n", r+1, side, seconds)
			got, err := text.ReadCounts(ctx, b.fs, out)
			if err != nil {
				return nil, err
			}
			if bad := text.Differences(b.want[midText], got); len(bad) > 0 {
				return nil, fmt.Errorf("%s: %d words differ: %s", side, len(bad), bad[0])
			}
			if err := b.fs.Remove(ctx, out); err != nil {
				return nil, err
			}
		}
	}
	m.FairwayS, m.TextS = median(m.Rounds["arrow"]), median(m.Rounds["text"])
	m.Speedup = round2(m.TextS / m.FairwayS)
	m.Met = m.Speedup >= m.Bar
	return m, nil
}

// reducer sums: the streaming job's Python reducer, its sister that reads columns, or the engine's own with a combiner.
func (b *bench) reducer(combined, columns bool) []string {
	switch {
	case combined:
		return []string{"-reducer", "sum", "-combiner", "sum"}
	case columns:
		return []string{"-reducer", b.python + " sumcolumns.py", "-file", b.file("sumcolumns.py")}
	}
	return []string{"-reducer", b.python + " sum.py", "-file", b.file("sum.py")}
}
