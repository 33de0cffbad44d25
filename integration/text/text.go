package text

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/storage"
)

// vocabulary makes n distinct words of 2 to 10 letters.
func vocabulary(n int) []string {
	r := rand.New(rand.NewPCG(7, 11))
	seen := map[string]bool{}
	words := make([]string, 0, n)
	for len(words) < n {
		b := make([]byte, 2+r.IntN(9))
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		if w := string(b); !seen[w] {
			seen[w] = true
			words = append(words, w)
		}
	}
	return words
}

// Write writes files of text whose words follow Zipf's law, and counts the words while it does: the count that
// the jobs' results are checked against comes from here, not from the engine. A file has just size bytes: with a few more or fewer than
// whole blocks Hadoop cuts a split that lies over two of them, whose hosts it names by their addresses.
func Write(ctx context.Context, fs storage.FS, folder string, files int, size int64, block int64) (map[string]int64, error) {
	words := vocabulary(100_000)
	counts := make([][]int64, files)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for f := range files {
		counts[f] = make([]int64, len(words))
		g.Go(func() error {
			w, err := fs.Create(ctx, fmt.Sprintf("%s/part-%02d.txt", folder, f), storage.CreateOptions{BlockSize: block})
			if err != nil {
				return err
			}
			if err := fill(w, words, counts[f], size, uint64(f)); err != nil {
				w.Close()
				return err
			}
			return w.Close()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	total := make(map[string]int64, len(words))
	for i, w := range words {
		for f := range files {
			if counts[f][i] > 0 {
				total[w] += counts[f][i]
			}
		}
	}
	return total, nil
}

func fill(w io.Writer, words []string, counts []int64, size int64, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 42))
	z := rand.NewZipf(r, 1.1, 2, uint64(len(words)-1))
	b := bufio.NewWriterSize(w, 1<<20)
	some := map[int]int{} // a word of each length
	shortest, longest := len(words[0]), 0
	for k, w := range words {
		some[len(w)] = k
		shortest, longest = min(shortest, len(w)), max(longest, len(w))
	}
	var n int64
	for n+int64(12*(longest+1)+shortest+1) <= size {
		for i := range 12 {
			k := z.Uint64()
			counts[k]++
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(words[k])
			n += int64(len(words[k])) + 1
		}
		if err := b.WriteByte('\n'); err != nil {
			return err
		}
	}
	for left := int(size - n); left > 0; { // the last line: each word leaves nothing, or enough for another
		take := left
		if left > longest+1 {
			take = min(longest+1, left-shortest-1)
		}
		k, ok := some[take-1]
		if !ok {
			return fmt.Errorf("no text has %d bytes", size)
		}
		counts[k]++
		b.WriteString(words[k])
		if left -= take; left > 0 {
			b.WriteByte(' ')
		}
	}
	if size > n {
		b.WriteByte('\n')
	}
	return b.Flush()
}

// ReadCounts reads "word TAB count" lines of a job's output.
func ReadCounts(ctx context.Context, fs storage.FS, folder string) (map[string]int64, error) {
	list, err := fs.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	got := map[string]int64{}
	success := false
	for _, i := range list {
		name := i.Path[strings.LastIndexByte(i.Path, '/')+1:]
		if name == "_SUCCESS" {
			success = true
		}
		if !strings.HasPrefix(name, "part-") {
			continue
		}
		if err := readPart(ctx, fs, i.Path, got); err != nil {
			return nil, err
		}
	}
	if !success {
		return nil, fmt.Errorf("%s has no _SUCCESS", folder)
	}
	return got, nil
}

func readPart(ctx context.Context, fs storage.FS, path string, got map[string]int64) error {
	f, err := fs.Open(ctx, path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(bufio.NewReaderSize(f, 1<<20))
	for s.Scan() {
		var n int64
		w, count, ok := strings.Cut(s.Text(), "\t")
		if _, err := fmt.Sscan(count, &n); !ok || err != nil {
			return fmt.Errorf("%s: %q is no count of a word", path, s.Text())
		}
		if _, twice := got[w]; twice {
			return fmt.Errorf("%s: the word %q is there twice", path, w)
		}
		got[w] = n
	}
	return s.Err()
}

// Differences names a few words whose counts differ.
func Differences(want, got map[string]int64) []string {
	var bad []string
	for w, n := range want {
		if got[w] != n {
			bad = append(bad, fmt.Sprintf("%s: %d, want %d", w, got[w], n))
		}
	}
	for w, n := range got {
		if want[w] == 0 {
			bad = append(bad, fmt.Sprintf("%s: %d, want none", w, n))
		}
	}
	sort.Strings(bad)
	return bad
}
