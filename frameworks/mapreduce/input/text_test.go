package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairway/frameworks/mapreduce/spec"
)

// naiveLines cuts as Hadoop's LineReader does, one byte after another, with the offset of each line.
func naiveLines(p string) (lines []string, offsets []int64) {
	i := 0
	if strings.HasPrefix(p, "\xef\xbb\xbf") {
		i = 3
	}
	for i < len(p) {
		start := i
		for i < len(p) && p[i] != '\n' && p[i] != '\r' {
			i++
		}
		lines, offsets = append(lines, p[start:i]), append(offsets, int64(start))
		if i < len(p) && p[i] == '\r' && i+1 < len(p) && p[i+1] == '\n' {
			i++
		}
		i++
	}
	return lines, offsets
}

// cuts draws an arbitrary cutting of size bytes into splits.
func cuts(t *rapid.T, size int) []spec.Split {
	var out []spec.Split
	for at := 0; at < size; {
		n := min(rapid.IntRange(1, max(size/2, 1)).Draw(t, "length"), size-at)
		out = append(out, spec.Split{Index: len(out), URL: "mem:///f", Offset: int64(at), Length: int64(n), FileSize: int64(size)})
		at += n
	}
	return out
}

func TestEveryLineOnceWhateverTheSplits(t *testing.T) {
	ctx := context.Background()
	piece := rapid.SampledFrom([]string{"\n", "\r\n", "\r", "a", "word", "ä", "", "\t", strings.Repeat("x", 40), "\xef\xbb\xbf", strings.Repeat("long ", 2000)})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 60).Draw(t, "text"), "")
		m := newMemory(map[string]string{"/f": text})
		m.reads = rapid.SampledFrom([]int{0, 1, 7, 4096}).Draw(t, "reads")
		wantLines, wantOffsets := naiveLines(text)
		var lines []string
		var offsets []int64
		var chunks bytes.Buffer
		for _, s := range cuts(t, len(text)) {
			r, err := Open(ctx, Text, m, "/f", s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for {
				k, v, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if strconv.FormatInt(r.(Positioned).Offset(), 10) != string(k) {
					t.Fatalf("key %s but offset %d", k, r.(Positioned).Offset())
				}
				at, _ := strconv.ParseInt(string(k), 10, 64)
				lines, offsets = append(lines, string(v)), append(offsets, at)
				if r.Pos() < 0 || r.Pos() > s.Length {
					t.Fatalf("position %d of %d", r.Pos(), s.Length)
				}
			}
			c, err := Open(ctx, Text, m, "/f", s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for {
				lines, _, err := c.(ChunkReader).NextChunk()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				chunks.Write(lines)
			}
		}
		if fmt.Sprintf("%q", lines) != fmt.Sprintf("%q", wantLines) {
			t.Fatalf("lines %q, want %q", lines, wantLines)
		}
		if fmt.Sprint(offsets) != fmt.Sprint(wantOffsets) {
			t.Fatalf("offsets %v, want %v", offsets, wantOffsets)
		}
		want := strings.Join(wantLines, "\n")
		if got := strings.TrimSuffix(chunks.String(), "\n"); got != strings.TrimSuffix(want, "\n") && got != want {
			t.Fatalf("chunks %q, want %q", got, want)
		}
	})
}

func TestLineAtTheBorderBelongsToTheSplitBefore(t *testing.T) {
	m := newMemory(map[string]string{"/f": "aaa\nbbb\nccc\n"})
	for _, c := range []struct {
		offset, length int64
		want           string
	}{
		{0, 4, "aaa bbb"}, {4, 4, "ccc"}, {8, 4, ""}, {0, 3, "aaa"}, {3, 1, "bbb"}, {0, 5, "aaa bbb"}, {1, 2, ""}, {1, 3, "bbb"},
	} {
		r, err := Open(context.Background(), Text, m, "/f", spec.Split{Offset: c.offset, Length: c.length, FileSize: 12}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			_, v, err := r.Next()
			if err != nil {
				break
			}
			got = append(got, string(v))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("split %d+%d: %q, want %q", c.offset, c.length, s, c.want)
		}
	}
}

func TestLineLongerThanItsBound(t *testing.T) {
	text := "short\n" + strings.Repeat("y", 3<<20) + "\nend\n"
	m := newMemory(map[string]string{"/f": text})
	split := spec.Split{URL: "mem:///f", Length: int64(len(text)), FileSize: int64(len(text))}
	for _, limit := range []string{"4", "100", "1000000", "2000000"} {
		conf := map[string]string{MaxLineProperty: limit}
		for _, chunks := range []bool{false, true} {
			r, err := Open(context.Background(), Text, m, "/f", split, conf)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				if chunks {
					_, _, err = r.(ChunkReader).NextChunk()
				} else {
					_, _, err = r.Next()
				}
			}
			if !errors.Is(err, ErrLineTooLong) || !strings.Contains(err.Error(), MaxLineProperty) || !strings.Contains(err.Error(), "mem:///f") {
				t.Errorf("limit %s, chunks %v: %v", limit, chunks, err)
			}
		}
	}
	r, err := Open(context.Background(), Text, m, "/f", split, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		_, v, err := r.Next()
		if err != nil {
			break
		}
		n += len(v)
	}
	if n != 3<<20+8 {
		t.Errorf("read %d bytes of lines", n)
	}
}

func TestKeyValue(t *testing.T) {
	text := "a\tb\tc\nkey\n\tv\n\n"
	m := newMemory(map[string]string{"/f": text})
	for _, c := range []struct{ sep, want string }{
		{"", `"a"="b\tc" "key"="" ""="v" ""="" `},
		{"e", `"a\tb\tc"="" "k"="y" "\tv"="" ""="" `},
	} {
		r, err := Open(context.Background(), KeyValue, m, "/f", spec.Split{Length: int64(len(text))}, map[string]string{SeparatorProperty: c.sep})
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for {
			k, v, err := r.Next()
			if err != nil {
				break
			}
			fmt.Fprintf(&got, "%q=%q ", k, v)
		}
		if got.String() != c.want {
			t.Errorf("separator %q: %s, want %s", c.sep, got.String(), c.want)
		}
		if _, ok := r.(ChunkReader); ok {
			t.Error("a keyvalue reader gives chunks, which would hide its separator")
		}
	}
}

func TestTeraRecordsOnceWhateverTheSplits(t *testing.T) {
	var text strings.Builder
	for i := range 37 {
		fmt.Fprintf(&text, "%010d%090d", i, i*7)
	}
	m := newMemory(map[string]string{"/f": text.String()})
	rapid.Check(t, func(t *rapid.T) {
		n, chunkBytes := 0, 0
		for _, s := range cuts(t, text.Len()) {
			r, err := Open(context.Background(), Tera, m, "/f", s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for {
				k, v, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil || string(k) != fmt.Sprintf("%010d", n) || len(v) != 90 {
					t.Fatalf("record %d: key %q, %d bytes, %v", n, k, len(v), err)
				}
				n++
			}
			c, _ := Open(context.Background(), Tera, m, "/f", s, nil)
			for {
				p, offset, err := c.(ChunkReader).NextChunk()
				if err == io.EOF {
					break
				}
				if err != nil || int(offset) != chunkBytes || len(p)%TeraRecord != 0 {
					t.Fatalf("chunk of %d at %d: %v", len(p), offset, err)
				}
				chunkBytes += len(p)
			}
		}
		if n != 37 || chunkBytes != 3700 {
			t.Fatalf("%d records, %d bytes in chunks", n, chunkBytes)
		}
	})
	m.files["/torn"] = []byte(text.String()[:250])
	r, _ := Open(context.Background(), Tera, m, "/torn", spec.Split{URL: "mem:///torn", Length: 250}, nil)
	if _, _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "250") {
		t.Errorf("torn file: %v", err)
	}
}

func TestNone(t *testing.T) {
	splits, err := Splits(context.Background(), newMemory(nil), &spec.Job{InputFormat: None, Maps: 3, Conf: map[string]string{RecordsProperty: "10"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range splits {
		r, err := Open(context.Background(), None, nil, "", s, nil)
		if err != nil {
			t.Fatal(err)
		}
		for {
			k, v, err := r.Next()
			if err != nil {
				break
			}
			got = append(got, string(k))
			if v != nil {
				t.Errorf("value %q", v)
			}
		}
	}
	if s := strings.Join(got, " "); s != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("%d splits: %s", len(splits), s)
	}
}

func TestDelimiterProperty(t *testing.T) {
	m := newMemory(map[string]string{"/f": "a\rb\nc\n"})
	r, err := Open(context.Background(), Text, m, "/f", spec.Split{Length: 6}, map[string]string{DelimiterProperty: "\n"})
	if err != nil {
		t.Fatal(err)
	}
	if _, v, _ := r.Next(); string(v) != "a\rb" {
		t.Errorf("line %q", v)
	}
	if _, err := Open(context.Background(), Text, m, "/f", spec.Split{}, map[string]string{DelimiterProperty: "||"}); err == nil {
		t.Error("an unsupported delimiter was taken")
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\nb\n", "a\r\nb\r\n\r", "\xef\xbb\xbfx\ny", "no end", "\n\n\n", strings.Repeat("z", 5000) + "\r\n"} {
		f.Add(s, int64(3))
	}
	f.Fuzz(func(t *testing.T, text string, cut int64) {
		if cut < 1 || cut >= int64(len(text)) {
			cut = int64(len(text))
		}
		m := newMemory(map[string]string{"/f": text})
		want, _ := naiveLines(text)
		var got []string
		for _, s := range []spec.Split{{Length: cut}, {Offset: cut, Length: int64(len(text)) - cut}} {
			if s.Length == 0 {
				continue
			}
			r, err := Open(context.Background(), Text, m, "/f", s, nil)
			if err != nil {
				t.Fatal(err)
			}
			for {
				_, v, err := r.Next()
				if err != nil {
					break
				}
				got = append(got, string(v))
			}
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func BenchmarkTextChunks(b *testing.B) {
	line := strings.Repeat("lorem ipsum ", 8) + "\n"
	text := strings.Repeat(line, 64<<20/len(line))
	m := newMemory(map[string]string{"/f": text})
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, _ := Open(context.Background(), Text, m, "/f", spec.Split{Length: int64(len(text))}, nil)
		for {
			if _, _, err := r.(ChunkReader).NextChunk(); err != nil {
				break
			}
		}
	}
}

func BenchmarkTextLines(b *testing.B) {
	line := strings.Repeat("lorem ipsum ", 8) + "\n"
	text := strings.Repeat(line, 64<<20/len(line))
	m := newMemory(map[string]string{"/f": text})
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, _ := Open(context.Background(), Text, m, "/f", spec.Split{Length: int64(len(text))}, nil)
		for {
			if _, _, err := r.Next(); err != nil {
				break
			}
		}
	}
}
