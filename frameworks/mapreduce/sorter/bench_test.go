package sorter

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
)

// wordKeys returns n words of a Zipf-like vocabulary in one array, as a tokeniser would.
func wordKeys(n, vocabulary int) ([][]byte, int64) {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.1, 20, uint64(vocabulary-1))
	words := make([][]byte, vocabulary)
	for i := range words {
		w := make([]byte, 2+r.IntN(9))
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		words[i] = w
	}
	var text []byte
	ends := make([]int, n)
	for i := range ends {
		text = append(append(text, words[zipf.Uint64()]...), ' ')
		ends[i] = len(text) - 1
	}
	keys := make([][]byte, n)
	start := 0
	for i, end := range ends {
		keys[i] = text[start:end]
		start = end + 1
	}
	return keys, int64(len(text))
}

// BenchmarkTable combines words in place; MB/s is of their text.
func BenchmarkTable(b *testing.B) {
	for _, vocabulary := range []int{1000, 100_000} {
		b.Run(fmt.Sprint("vocabulary=", vocabulary), func(b *testing.B) {
			keys, size := wordKeys(2_000_000, vocabulary)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				c, err := New(Options{Partitions: 4, Memory: 256 << 20, Dir: b.TempDir(), InPlace: mapreduce.Sum.InPlace})
				if err != nil {
					b.Fatal(err)
				}
				for _, k := range keys {
					if err := c.EmitInt(k, 1); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := c.Finish(filepath.Join(b.TempDir(), "out")); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}

// BenchmarkBuffer sorts and writes words, and records as TeraSort has them.
func BenchmarkBuffer(b *testing.B) {
	words, wordBytes := wordKeys(2_000_000, 100_000)
	random := rand.NewChaCha8([32]byte{})
	tera := make([][]byte, 1_000_000)
	all := make([]byte, 10*len(tera))
	random.Read(all)
	for i := range tera {
		tera[i] = all[10*i : 10*i+10]
	}
	for _, c := range []struct {
		name  string
		keys  [][]byte
		value int
		size  int64
		all   bool
	}{{"words", words, 1, wordBytes, false}, {"words_all", words, 1, wordBytes, true}, {"tera", tera, 90, int64(100 * len(tera)), false}} {
		b.Run(c.name, func(b *testing.B) {
			value := make([]byte, c.value)
			b.SetBytes(c.size)
			b.ReportAllocs()
			for b.Loop() {
				s, err := New(Options{Partitions: 4, Memory: 512 << 20, Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				if c.all {
					err = emitAll(s.(*buffer), c.keys, value)
				} else {
					err = mapreduce.EachRecord(&keyRecords{c.keys, value}, s.Emit)
				}
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Finish(filepath.Join(b.TempDir(), "out")); err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}

// keyRecords are keys that share a value.
type keyRecords struct {
	keys  [][]byte
	value []byte
}

func (r *keyRecords) Next() (key, value []byte, err error) {
	if len(r.keys) == 0 {
		return nil, nil, io.EOF
	}
	key, r.keys = r.keys[0], r.keys[1:]
	return key, r.value, nil
}

// emitAll emits keys as the lines of a program come.
func emitAll(s *buffer, keys [][]byte, value []byte) error {
	values := slices.Repeat([][]byte{value}, 64)
	for k := range slices.Chunk(keys, len(values)) {
		if err := s.EmitAll(k, values[:len(k)]); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkMerge merges runs of TeraSort records in memory.
func BenchmarkMerge(b *testing.B) {
	for _, k := range []int{8, 64} {
		b.Run(fmt.Sprint("runs=", k), func(b *testing.B) {
			const n = 400_000
			segments := teraSegments(b, k, n/k)
			b.SetBytes(100 * n)
			for b.Loop() {
				m := NewMerge(segments())
				if err := mapreduce.EachRecord(m, func(_, _ []byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// teraSegments makes k sorted segments of n records and returns a function that reads them anew.
func teraSegments(b *testing.B, k, n int) func() []*run.Reader {
	random := rand.NewChaCha8([32]byte{1})
	var segments [][]byte
	value := make([]byte, 90)
	for range k {
		keys := make([][]byte, n)
		for i := range keys {
			keys[i] = make([]byte, 10)
			random.Read(keys[i])
		}
		slices.SortFunc(keys, bytes.Compare)
		var buf bytes.Buffer
		w := run.NewWriter(&buf, 1, run.None)
		for _, key := range keys {
			if err := w.Append(key, value); err != nil {
				b.Fatal(err)
			}
		}
		ix, err := w.Close()
		if err != nil {
			b.Fatal(err)
		}
		segments = append(segments, buf.Bytes()[:ix[0].Length])
	}
	return func() []*run.Reader {
		readers := make([]*run.Reader, k)
		for i, s := range segments {
			readers[i] = run.NewBytesReader(s, int64(n), false)
		}
		return readers
	}
}
