package builtin

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fairway/frameworks/mapreduce"
)

// wordList keeps words.
type wordList []string

func (w *wordList) Emit(key, _ []byte) error {
	*w = append(*w, string(key))
	return nil
}

func (w *wordList) EmitInt(key []byte, _ int64) error { return w.Emit(key, nil) }

func tokens(t interface{ Fatal(...any) }, text []byte) []string {
	var w wordList
	if err := words(&mapreduce.Context{}, text, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// reference is what java.util.StringTokenizer makes.
func reference(text []byte) []string {
	return strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \t\n\r\f", r) })
}

func TestWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := []byte("ab \t\n\r\f\v\x00\x01\x1f\x20\x21\x7f\x80\xa0\xff")
		text := rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 300).Draw(t, "text")
		got := tokens(t, text)
		if !slices.Equal(got, byBytes(text)) {
			t.Fatalf("%q: %q, want %q", text, got, byBytes(text))
		}
	})
	if got, want := tokens(t, []byte("über  ein\tWort\n")), reference([]byte("über  ein\tWort\n")); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// byBytes is reference for bytes that are no UTF-8.
func byBytes(text []byte) []string {
	var out []string
	word := []byte{}
	for _, c := range append(bytes.Clone(text), ' ') {
		if bytes.IndexByte([]byte(" \t\n\r\f"), c) < 0 {
			word = append(word, c)
		} else if len(word) > 0 {
			out = append(out, string(word))
			word = word[:0]
		}
	}
	return out
}

func BenchmarkWords(b *testing.B) {
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, again and again\n"), 10_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	n := &counter{}
	for b.Loop() {
		if err := words(nil, text, n); err != nil {
			b.Fatal(err)
		}
	}
}

type counter struct{ n int }

func (c *counter) Emit(_, _ []byte) error          { c.n++; return nil }
func (c *counter) EmitInt(_ []byte, _ int64) error { c.n++; return nil }
