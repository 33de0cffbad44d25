package builtin

import (
	"encoding/binary"
	"math/bits"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// WordCount counts the words of text. Words are what java.util.StringTokenizer makes of a line: runs of bytes other
// than space, tab, newline, carriage return and form feed. Args: IN... OUT.
func WordCount(args []string) (spec.Job, error) {
	in, out, err := inOut("wordcount", args)
	if err != nil {
		return spec.Job{}, err
	}
	return spec.Job{
		Name: "word count", Inputs: in, Output: out, Reduces: 1,
		Mapper:   spec.Stage{Function: "wordcount"},
		Combiner: spec.Stage{Function: "sum"},
		Reducer:  spec.Stage{Function: "sum"},
	}, nil
}

// separators has a bit for each byte up to 32 that ends a word.
const separators = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r' | 1<<'\f'

func isSeparator(c byte) bool { return c <= ' ' && separators>>c&1 != 0 }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// lowBytes sets the high bit of each byte of w that is at most 0x20. It may also set that of a byte after such a one
// that is just above, so a caller checks what it finds; the lowest one set is right, up to which bytes are control
// bytes at most.
func lowBytes(w uint64) uint64 {
	return (w - ones*0x21) & ^w & highs
}

// words calls emit for each word of text: eight bytes at a time as long as there are eight.
func words(_ *mapreduce.Context, text []byte, out mapreduce.Emitter) error {
	i, n := 0, len(text)
	for {
		// The start of the next word.
		for i < n && isSeparator(text[i]) {
			i++
		}
		if i == n {
			return nil
		}
		start := i
		i = wordEnd(text, i)
		if err := out.EmitInt(text[start:i], 1); err != nil {
			return err
		}
		i++
	}
}

// wordEnd returns the place of the first separator from i on, or the end of text.
func wordEnd(text []byte, i int) int {
	n := len(text)
	for i+8 <= n {
		m := lowBytes(binary.LittleEndian.Uint64(text[i:]))
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if isSeparator(text[i]) {
			return i
		}
		i++
	}
	for i < n && !isSeparator(text[i]) {
		i++
	}
	return i
}
