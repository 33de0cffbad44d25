package task_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// text returns random words of a small alphabet with all kinds of separators, and their counts.
func text(seed uint64, n int) (string, map[string]int) {
	r := rand.New(rand.NewPCG(seed, 1))
	seps := []string{" ", "\t", "\n", "\n", "  ", "\f", "\r\n", " \n"}
	counts := map[string]int{}
	var b strings.Builder
	for range n {
		w := make([]byte, 1+r.IntN(3))
		if r.IntN(50) == 0 {
			w = make([]byte, 1+r.IntN(60))
		}
		for i := range w {
			w[i] = "abcdefghij!\x01\x0b\xc3\x80"[r.IntN(15)]
		}
		counts[string(w)]++
		b.Write(w)
		b.WriteString(seps[r.IntN(len(seps))])
	}
	return b.String(), counts
}

func countLines(counts map[string]int) []string {
	var lines []string
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("%s\t%d", w, counts[w]))
	}
	return lines
}

func TestWordCount(t *testing.T) {
	for _, reduces := range []int{1, 3} {
		for _, combine := range []bool{true, false} {
			for _, direct := range []bool{true, false} {
				t.Run(fmt.Sprintf("reduces=%d,combine=%t,direct=%t", reduces, combine, direct), func(t *testing.T) {
					c := newCluster(t)
					c.direct = direct
					in, counts := text(7, 50_000)
					job := build(t, "wordcount", c.write("in.txt", in), c.newOutput())
					job.Reduces, job.SplitSize = reduces, 30_000
					if !combine {
						job.Combiner.Function = ""
					}
					if err := c.run(job); err != nil {
						t.Fatal(err)
					}
					got := strings.Split(strings.TrimSuffix(c.output(job.Output), "\n"), "\n")
					slices.Sort(got)
					want := countLines(counts)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("got %d lines, want %d", len(got), len(want))
					}
					if n := c.counter("MAP_OUTPUT_RECORDS"); n != 50_000 {
						t.Errorf("MAP_OUTPUT_RECORDS = %d", n)
					}
					if n := c.counter("REDUCE_INPUT_GROUPS"); n != int64(len(counts)) {
						t.Errorf("REDUCE_INPUT_GROUPS = %d, want %d", n, len(counts))
					}
				})
			}
		}
	}
}
