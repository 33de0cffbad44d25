package sorter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
)

type record struct {
	key, value string
}

// readRun returns the records of each partition of a run file.
func readRun(t testing.TB, path string) [][]record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	ix, err := run.ReadIndex(f, fi.Size())
	if err != nil {
		t.Fatal(err)
	}
	parts := make([][]record, len(ix))
	for p, r := range ix {
		in := run.NewReader(io.NewSectionReader(f, r.Offset, r.Length), r.Length, r.Records)
		for in.Next() {
			parts[p] = append(parts[p], record{string(in.Key), string(in.Value)})
		}
		if in.Err() != nil {
			t.Fatal(in.Err())
		}
	}
	return parts
}

// collect runs records through a collector and returns the partitions.
func collect(t testing.TB, o Options, records []record) [][]record {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := c.(*buffer); ok && len(records)%2 == 0 {
		var keys, values [][]byte
		for _, r := range records {
			keys, values = append(keys, []byte(r.key)), append(values, []byte(r.value))
		}
		err = b.EmitAll(keys, values)
	} else {
		for _, r := range records {
			err = errors.Join(err, c.Emit([]byte(r.key), []byte(r.value)))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, "out.run")
	ix, err := c.Finish(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if len(ix) != o.Partitions {
		t.Fatalf("%d partitions, want %d", len(ix), o.Partitions)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("left in the folder: %v, %v", entries, err)
	}
	parts := readRun(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return parts
}

// reference sorts as a Collector should: stable by key within each partition.
func reference(o Options, records []record) [][]record {
	parts := make([][]record, o.Partitions)
	for _, r := range records {
		p := mapreduce.HashPartition([]byte(r.key), o.Partitions)
		if o.Cuts != nil {
			p = 0
			for _, c := range o.Cuts {
				if string(c) <= r.key {
					p++
				}
			}
		}
		parts[p] = append(parts[p], r)
	}
	for _, p := range parts {
		slices.SortStableFunc(p, func(a, b record) int { return bytes.Compare([]byte(a.key), []byte(b.key)) })
	}
	return parts
}

// sum combines sorted records to one for each key.
func sum(parts [][]record) [][]record {
	out := make([][]record, len(parts))
	for p, records := range parts {
		totals := map[string]int64{}
		for _, r := range records {
			n, _ := strconv.ParseInt(r.value, 10, 64)
			totals[r.key] += n
		}
		for _, k := range slices.Sorted(maps.Keys(totals)) {
			out[p] = append(out[p], record{k, fmt.Sprint(totals[k])})
		}
	}
	return out
}

// keys draws keys that collide in prefixes, lengths and trailing zeros.
func keys() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 0, 4, -1),
		rapid.Map(rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 0, 3, -1), func(s string) string { return "commonprefix" + s }),
		rapid.Map(rapid.IntRange(0, 30), func(n int) string { return string(bytes.Repeat([]byte{'x'}, n*11)) }),
		rapid.String(),
	)
}

func options(t *rapid.T, dir string) Options {
	o := Options{
		Partitions: rapid.IntRange(1, 5).Draw(t, "partitions"),
		Memory:     64 << 10, // the least; records are repeated to fill it
		Dir:        dir,
		Codec:      run.Codec(rapid.IntRange(0, 3).Draw(t, "codec")),
	}
	if rapid.Bool().Draw(t, "total") {
		o.Cuts = [][]byte{}
		for range o.Partitions - 1 {
			o.Cuts = append(o.Cuts, []byte(keys().Draw(t, "cut")))
		}
		slices.SortFunc(o.Cuts, bytes.Compare)
	}
	return o
}

// draw makes some thousand records of few keys, so that budgets of 64 KiB spill.
func draw(t *rapid.T, value func(*rand.Rand) string) []record {
	some := rapid.SliceOfN(keys(), 1, 40).Draw(t, "keys")
	n := rapid.IntRange(0, 6000).Draw(t, "records")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	records := make([]record, n)
	for i := range records {
		k := some[r.IntN(len(some))]
		if r.IntN(3) == 0 {
			k += strconv.Itoa(r.IntN(2000))
		}
		records[i] = record{k, value(r)}
	}
	return records
}

// Sorting, spilling and merging equal a stable sort in memory.
func TestBufferSorts(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		o := options(rt, dir)
		values := rapid.SampledFrom([]int{1, 2, 1000}).Draw(rt, "values") // few: records repeat
		records := draw(rt, func(r *rand.Rand) string { return strconv.Itoa(r.IntN(values)) })
		if got, want := collect(t, o, records), reference(o, records); !equal(got, want) {
			rt.Fatalf("%d records: not as the reference", len(records))
		}
	})
}

func equal(a, b [][]record) bool {
	return slices.EqualFunc(a, b, func(x, y []record) bool { return slices.Equal(x, y) })
}

// Records that repeat are counted as often as they were emitted, but kept once.
func TestRepeatedRecords(t *testing.T) {
	o := Options{Partitions: 1, Memory: 1 << 20, Dir: t.TempDir()}
	o.Counts.fill()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 100_000
	for i := range n {
		if err := c.Emit([]byte{'a' + byte(i%3)}, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(o.Dir, "out.run")
	ix, err := c.Finish(path)
	if err != nil {
		t.Fatal(err)
	}
	if ix[0].Records != n || ix[0].Length > 100 {
		t.Errorf("%d records in %d bytes, want %d in less than 100", ix[0].Records, ix[0].Length, n)
	}
	got := []int64{o.Counts.Records.Load(), o.Counts.Bytes.Load(), o.Counts.Spilled.Load()}
	if want := []int64{n, 2 * n, n}; !slices.Equal(got, want) {
		t.Errorf("records, bytes, spilled = %d, want %d", got, want)
	}
	if got := len(readRun(t, path)[0]); got != n {
		t.Errorf("read %d records, want %d", got, n)
	}
}

// Records that do not repeat are not looked up for long.
func TestNoRepeatsAreNotLookedFor(t *testing.T) {
	b, err := newBuffer(Options{Partitions: 1, Memory: 16 << 20, Dir: t.TempDir(), Counts: filled()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range trial + 1 {
		if !b.same.looking && i < trial {
			t.Fatalf("gave up after %d records", i)
		}
		if err := b.Emit(strconv.AppendInt(nil, int64(i), 10), []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	if b.same.looking {
		t.Error("still looks for repeats")
	}
}

func filled() (c Counts) { c.fill(); return c }

// The in-place and the grouping combiner give one record for each key.
func TestCombiners(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		o := options(rt, dir)
		records := draw(rt, func(r *rand.Rand) string { return strconv.Itoa(r.IntN(2000) - 1000) })
		want := sum(reference(o, records))
		inPlace := o
		inPlace.InPlace = mapreduce.Sum.InPlace
		if got := collect(t, inPlace, records); !equal(got, want) {
			rt.Fatalf("in place: not as the reference")
		}
		grouped := o
		grouped.Combine = func(in mapreduce.Records, out mapreduce.Emitter) error {
			return Reduce(&mapreduce.Context{}, mapreduce.Sum.InPlace.Reducer(), NewGroups(in), out)
		}
		if got := collect(t, grouped, records); !equal(got, want) {
			rt.Fatalf("grouped: not as the reference")
		}
	})
}

func TestMinMaxCount(t *testing.T) {
	in := []record{{"a", "3"}, {"b", "-1"}, {"a", "7"}, {"a", "5"}, {"b", "2"}}
	for _, c := range []struct {
		name string
		c    mapreduce.Combiner
		want []record
	}{
		{"min", mapreduce.Min, []record{{"a", "3"}, {"b", "-1"}}},
		{"max", mapreduce.Max, []record{{"a", "7"}, {"b", "2"}}},
		{"count", mapreduce.Count, []record{{"a", "3"}, {"b", "2"}}},
	} {
		got := collect(t, Options{Partitions: 1, Dir: t.TempDir(), InPlace: c.c.InPlace}, in)
		if !slices.Equal(got[0], c.want) {
			t.Errorf("%s: %v, want %v", c.name, got[0], c.want)
		}
	}
}

// Count's values need not be numbers, and counts of several spills add up.
func TestCountAcrossSpills(t *testing.T) {
	var records []record
	want := map[string]int{}
	for i := range 20_000 {
		k := fmt.Sprintf("key-that-does-not-fit-a-slot-%d", i%3000)
		records = append(records, record{k, "not a number"})
		want[k]++
	}
	got := collect(t, Options{Partitions: 1, Memory: 64 << 10, Dir: t.TempDir(), InPlace: mapreduce.Count.InPlace}, records)
	if len(got[0]) != len(want) {
		t.Fatalf("%d keys, want %d", len(got[0]), len(want))
	}
	for _, r := range got[0] {
		if r.value != strconv.Itoa(want[r.key]) {
			t.Errorf("%s: %s, want %d", r.key, r.value, want[r.key])
		}
	}
}

// Records and keys larger than the whole budget pass.
func TestGiantRecords(t *testing.T) {
	giant := string(bytes.Repeat([]byte("g"), 300_000))
	in := []record{{"b", "1"}, {giant, "2"}, {"a", "3"}, {"h", "4"}, {giant, "5"}}
	want := []record{{"a", "3"}, {"b", "1"}, {giant, "2"}, {giant, "5"}, {"h", "4"}}
	o := Options{Partitions: 1, Memory: 1, Dir: t.TempDir()}
	if got := collect(t, o, in)[0]; !slices.Equal(got, want) {
		t.Errorf("sorted: %d records", len(got))
	}
	o.InPlace = mapreduce.Sum.InPlace
	want = []record{{"a", "3"}, {"b", "1"}, {giant, "7"}, {"h", "4"}}
	if got := collect(t, o, in)[0]; !slices.Equal(got, want) {
		t.Errorf("combined: %d records", len(got))
	}
	in = []record{{"a", giant}, {"", "x"}}
	if got := collect(t, Options{Partitions: 2, Memory: 1, Dir: t.TempDir(), Cuts: [][]byte{[]byte("a")}}, in); !equal(got,
		[][]record{{{"", "x"}}, {{"a", giant}}}) {
		t.Errorf("giant value: %d and %d records", len(got[0]), len(got[1]))
	}
}

func TestCounts(t *testing.T) {
	var o Options
	o.Partitions, o.Dir, o.InPlace = 1, t.TempDir(), mapreduce.Sum.InPlace
	o.Counts.fill()
	collect(t, o, []record{{"a", "1"}, {"a", "2"}, {"b", "3"}})
	got := []int64{
		o.Counts.Records.Load(), o.Counts.Bytes.Load(), o.Counts.Spilled.Load(), o.Counts.CombineInput.Load(),
		o.Counts.CombineDone.Load(),
	}
	if want := []int64{3, 6, 2, 3, 2}; !slices.Equal(got, want) {
		t.Errorf("records, bytes, spilled, combine in, out = %d, want %d", got, want)
	}
}

func TestErrors(t *testing.T) {
	emit := func(o Options, key, value string) error {
		o.Dir = t.TempDir()
		c, err := New(o)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Emit([]byte(key), []byte(value)); err != nil {
			return err
		}
		_, err = c.Finish(filepath.Join(o.Dir, "out"))
		return err
	}
	bad := mapreduce.Partitioner(func([]byte, int) int { return 2 })
	for name, err := range map[string]error{
		"partitions":  emit(Options{}, "a", "1"),
		"cuts":        emit(Options{Partitions: 3, Cuts: [][]byte{nil}}, "a", "1"),
		"no number":   emit(Options{Partitions: 1, InPlace: mapreduce.Sum.InPlace}, "a", "x"),
		"partitioner": emit(Options{Partitions: 2, Partition: bad}, "a", "x"),
		"order": emit(Options{Partitions: 1, Combine: func(_ mapreduce.Records, out mapreduce.Emitter) error {
			return errors.Join(out.Emit([]byte("b"), nil), out.Emit([]byte("a"), nil))
		}}, "a", "x"),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c, err := New(Options{Partitions: 1, Memory: 64 << 10, Dir: filepath.Join(t.TempDir(), "gone")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for err == nil {
		err = c.Emit([]byte("key"), make([]byte, 1000))
	}
	var disk *DiskError
	if !errors.As(err, &disk) {
		t.Errorf("spill without a folder: %v", err)
	}
}

// A merge over any segments equals sorting them together, stable by segment.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "segments")
		var all []record
		var segments [][]byte
		var counts []int64
		for i := range n {
			ks := rapid.SliceOfN(keys(), 0, 20).Draw(t, "keys")
			slices.Sort(ks)
			var b bytes.Buffer
			w := run.NewWriter(&b, 1, run.None)
			for _, k := range ks {
				all = append(all, record{k, strconv.Itoa(i)})
				if rapid.IntRange(0, 3).Draw(t, "repeat") == 0 {
					all = append(all, all[len(all)-1], all[len(all)-1])
					if err := w.AppendRepeated(run.AppendRecord(nil, []byte(k), []byte(strconv.Itoa(i))), 3); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err := w.Append([]byte(k), []byte(strconv.Itoa(i))); err != nil {
					t.Fatal(err)
				}
			}
			ix, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			segments = append(segments, b.Bytes()[:ix[0].Length])
			counts = append(counts, ix[0].Records)
		}
		open := func() (rs []*run.Reader) {
			for i, b := range segments {
				rs = append(rs, run.NewBytesReader(b, counts[i], false))
			}
			return rs
		}
		slices.SortStableFunc(all, func(a, b record) int { return bytes.Compare([]byte(a.key), []byte(b.key)) })
		var got []record
		m := NewMerge(open())
		err := mapreduce.EachRecord(m, func(k, v []byte) error {
			got = append(got, record{string(k), string(v)})
			return nil
		})
		if err != nil || !slices.Equal(got, all) {
			t.Fatalf("got %q, %v; want %q", got, err, all)
		}
		got = got[:0]
		for m = NewMerge(open()); ; {
			k, v, n, err := m.NextRepeated()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				got = append(got, record{string(k), string(v)})
			}
		}
		if !slices.Equal(got, all) {
			t.Fatalf("repeated: got %q; want %q", got, all)
		}
	})
}

// A damaged segment of a merge is named.
func TestMergeNamesSegment(t *testing.T) {
	segment := func(damage bool) *run.Reader {
		var b bytes.Buffer
		w := run.NewWriter(&b, 1, run.None)
		if err := w.Append([]byte("key"), []byte("value")); err != nil {
			t.Fatal(err)
		}
		ix, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		p := b.Bytes()[:ix[0].Length]
		if damage {
			p[len(p)-1] ^= 1
		}
		return run.NewBytesReader(p, 1, false)
	}
	m := NewMerge([]*run.Reader{segment(false), segment(true), segment(false)})
	_, _, err := m.Next()
	var bad *SegmentError
	if !errors.As(err, &bad) || bad.Segment != 1 || !errors.Is(err, run.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// Groups pass over values that a reducer leaves.
func TestGroupsSkip(t *testing.T) {
	in := &sliceRecords{{"a", "1"}, {"a", "2"}, {"b", "3"}, {"c", "4"}, {"c", "5"}, {"c", "6"}}
	g := NewGroups(in)
	var got []string
	for {
		key, ok := g.Next()
		if !ok {
			break
		}
		for v := range g.Values {
			got = append(got, string(key)+string(v))
			if string(key) == "c" {
				break
			}
		}
		for v := range g.Values {
			t.Errorf("value %s again", v)
		}
	}
	if want := []string{"a1", "a2", "b3", "c4"}; !slices.Equal(got, want) || g.Count != 3 || g.Records != 6 {
		t.Errorf("got %v, %d groups, %d records", got, g.Count, g.Records)
	}
}

type sliceRecords []record

func (s *sliceRecords) Next() (key, value []byte, err error) {
	if len(*s) == 0 {
		return nil, nil, io.EOF
	}
	r := (*s)[0]
	*s = (*s)[1:]
	return []byte(r.key), []byte(r.value), nil
}
