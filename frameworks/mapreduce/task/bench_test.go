package task_test

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

var benchMiB = flag.Int("bench-mib", 64, "MiB of input of the whole-job benchmarks")

// zipfText writes so many MiB of words as the measurements of the project use: about 6.7 bytes each with the separator,
// some 100,000 distinct ones, the frequent ones short.
func zipfText(b *testing.B, mib int) string {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.1, 20, 200_000)
	words := make([]string, 200_001)
	for i := range words {
		n := 2 + r.IntN(4)
		if i > 100 {
			n = 4 + r.IntN(8)
		}
		w := make([]byte, n)
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(w)
	}
	path := filepath.Join(b.TempDir(), "in.txt")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	for n, col := 0, 0; n < mib<<20; {
		s := words[zipf.Uint64()]
		n += len(s) + 1
		w.WriteString(s)
		if col += len(s); col > 70 {
			w.WriteByte('\n')
			col = 0
		} else {
			w.WriteByte(' ')
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkWordCount runs whole jobs: read, map, combine, sort, shuffle over HTTP, merge, write.
func BenchmarkWordCount(b *testing.B) {
	in := zipfText(b, *benchMiB)
	for _, combine := range []bool{true, false} {
		b.Run(fmt.Sprintf("combine=%t", combine), func(b *testing.B) {
			b.SetBytes(int64(*benchMiB) << 20)
			for b.Loop() {
				c := newCluster(b)
				c.memory = 512 << 20
				job := build(b, "wordcount", in, c.newOutput())
				job.Reduces, job.SplitSize = 4, 128<<20
				if !combine {
					job.Combiner.Function = ""
				}
				if err := c.run(job); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTeraSort sorts -bench-mib MiB in total order with four reduces.
func BenchmarkTeraSort(b *testing.B) {
	c := newCluster(b)
	rows := *benchMiB << 20 / 100
	gen := build(b, "teragen", fmt.Sprint(rows), c.newOutput())
	if err := c.run(gen); err != nil {
		b.Fatal(err)
	}
	for _, direct := range []bool{false, true} {
		b.Run(fmt.Sprintf("direct=%t", direct), func(b *testing.B) {
			b.SetBytes(int64(rows) * 100)
			for b.Loop() {
				c := newCluster(b)
				c.memory, c.direct = 512<<20, direct
				job := build(b, "terasort", gen.Output, c.newOutput())
				job.SplitSize = 128 << 20
				if err := c.run(job); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for _, dir := range []string{c.dir, job.Output} {
					if err := os.RemoveAll(dir); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
		})
	}
}
