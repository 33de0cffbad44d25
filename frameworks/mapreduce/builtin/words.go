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

// lowBytes returns a bit for each of the eight bytes of w (bit 0 is the lowest) that is at most 0x20.
func lowBytes(w uint64) uint64 {
	above := w&^highs + ones*(0x7f-0x20) // the high bit of a byte: its low seven bits are above 0x20
	return ^(above | w) & highs >> 7 * 0x0102040810204080 >> 56
}

// words calls emit for each word of text. It looks for separators in 64 bytes at a time, so that the length of the
// words, which no processor can predict, costs no branch of its own.
func words(_ *mapreduce.Context, text []byte, out mapreduce.Emitter) error {
	start, base := 0, 0
	for ; base+64 <= len(text); base += 64 {
		b := text[base : base+64 : base+64]
		m := lowBytes(binary.LittleEndian.Uint64(b)) |
			lowBytes(binary.LittleEndian.Uint64(b[8:]))<<8 |
			lowBytes(binary.LittleEndian.Uint64(b[16:]))<<16 |
			lowBytes(binary.LittleEndian.Uint64(b[24:]))<<24 |
			lowBytes(binary.LittleEndian.Uint64(b[32:]))<<32 |
			lowBytes(binary.LittleEndian.Uint64(b[40:]))<<40 |
			lowBytes(binary.LittleEndian.Uint64(b[48:]))<<48 |
			lowBytes(binary.LittleEndian.Uint64(b[56:]))<<56
		for ; m != 0; m &= m - 1 {
			i := base + bits.TrailingZeros64(m)
			if !isSeparator(text[i]) {
				continue // another control byte
			}
			if i > start {
				if err := out.EmitInt(text[start:i], 1); err != nil {
					return err
				}
			}
			start = i + 1
		}
	}
	for i := base; i <= len(text); i++ {
		if i < len(text) && !isSeparator(text[i]) {
			continue
		}
		if i > start {
			if err := out.EmitInt(text[start:i], 1); err != nil {
				return err
			}
		}
		start = i + 1
	}
	return nil
}
