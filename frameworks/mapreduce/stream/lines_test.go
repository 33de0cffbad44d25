package stream

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type repeatedRecords struct {
	lines []string
	n     []int64
}

func (r *repeatedRecords) Next() (key, value []byte, err error) { panic("one by one") }

func (r *repeatedRecords) NextRepeated() (key, value []byte, n int64, err error) {
	if len(r.n) == 0 {
		return nil, nil, 0, io.EOF
	}
	k, n := r.lines[0], r.n[0]
	r.lines, r.n = r.lines[1:], r.n[1:]
	return []byte(k), []byte("v"), n, nil
}

// Records that repeat give as many lines, whatever fits a buffer.
func TestRepeatedRecordsAsLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &repeatedRecords{}
		var want strings.Builder
		for range rapid.IntRange(0, 8).Draw(t, "records") {
			k := strings.Repeat("k", rapid.SampledFrom([]int{0, 1, 7, 1000, writeSize - 4, writeSize, 3 * writeSize}).Draw(t, "length"))
			n := rapid.SampledFrom([]int64{1, 2, 5, 64, writeSize / 4, writeSize/4 + 1, 100_000}).Draw(t, "n")
			n = min(n, max(1, 1<<20/int64(len(k)+3)))
			in.lines, in.n = append(in.lines, k), append(in.n, n)
			want.WriteString(strings.Repeat(k+"\tv\n", int(n)))
		}
		var got bytes.Buffer
		if err := recordFeed(in, "\t")(&got, func() {}); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Fatalf("%d bytes, want %d", got.Len(), want.Len())
		}
	})
}
