package run

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type record struct {
	part       int
	key, value string
}

// fataler is a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func write(t fataler, partitions int, codec Codec, records []record) ([]byte, Index) {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, partitions, codec)
	for i, r := range records {
		if err := w.Partition(r.part); err != nil {
			t.Fatal(err)
		}
		var err error
		if i%2 == 0 {
			err = w.Append([]byte(r.key), []byte(r.value))
		} else {
			err = w.AppendEncoded(AppendRecord(nil, []byte(r.key), []byte(r.value)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ix, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), ix
}

// readers reads a segment in all the ways there are.
func readers(b []byte, r Range) []*Reader {
	seg := b[r.Offset : r.Offset+r.Length]
	return []*Reader{
		NewBytesReader(seg, r.Records, false),
		NewBytesReader(seg, r.Records, true),
		NewReader(bytes.NewReader(seg), r.Length, r.Records),
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.IntRange(1, 6).Draw(t, "partitions")
		n := rapid.IntRange(0, 60).Draw(t, "records")
		var records []record
		for range n {
			size := rapid.SampledFrom([]int{0, 1, 100, 127, 128, 20_000, 200_000}).Draw(t, "size")
			records = append(records, record{
				part: rapid.IntRange(0, parts-1).Draw(t, "part"),
				key:  rapid.String().Draw(t, "key"), value: string(bytes.Repeat([]byte("v"), size)),
			})
		}
		slices.SortStableFunc(records, func(a, b record) int { return a.part - b.part })
		codec := Codec(rapid.IntRange(0, 3).Draw(t, "codec"))
		b, ix := write(t, parts, codec, records)
		read, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
		if err != nil || !slices.Equal(read, ix) {
			t.Fatalf("index %v, %v; want %v", read, err, ix)
		}
		for way := range 3 {
			var got []record
			for p, r := range ix {
				in := readers(b, r)[way]
				for in.Next() {
					got = append(got, record{p, string(in.Key), string(in.Value)})
				}
				if in.Err() != nil {
					t.Fatal(in.Err())
				}
				if err := Verify(b[r.Offset:r.Offset+r.Length], r.Records); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, records) {
				t.Fatalf("way %d: %d records, want %d", way, len(got), len(records))
			}
		}
	})
}

func sampleRecords(n int) []record {
	var records []record
	for i := range n {
		records = append(records, record{i * 3 / n, fmt.Sprintf("key-%06d", i), fmt.Sprintf("value %d of some", i%7)})
	}
	return records
}

func drain(r *Reader) error {
	for r.Next() {
	}
	return r.Err()
}

// Each byte of a segment is under a checksum or a rule.
func TestEveryByteCounts(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		b, ix := write(t, 1, codec, []record{{0, "key", strings.Repeat("value ", 50)}, {0, "key2", "x"}})
		seg := b[:ix[0].Length]
		if Codec(seg[2]) != codec {
			t.Fatalf("codec %d was not used", codec)
		}
		for i := range seg {
			for _, bit := range []byte{1, 0x80} {
				bad := bytes.Clone(seg)
				bad[i] ^= bit
				if err := drain(NewBytesReader(bad, 2, false)); !errors.Is(err, ErrCorrupt) {
					t.Errorf("codec %d, byte %d: reader says %v", codec, i, err)
				}
				if err := Verify(bad, 2); !errors.Is(err, ErrCorrupt) {
					t.Errorf("codec %d, byte %d: Verify says %v", codec, i, err)
				}
			}
		}
		for i := int(ix[0].Length); i < len(b); i++ {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, err := ReadIndex(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrCorrupt) {
				t.Errorf("index byte %d: %v", i, err)
			}
		}
	}
}

// A segment cut at any place, or with another number of records, is corrupt.
func TestCut(t *testing.T) {
	b, ix := write(t, 3, None, sampleRecords(30_000))
	seg := b[ix[1].Offset : ix[1].Offset+ix[1].Length]
	blocks := 0
	for n := 0; n < len(seg); n += 997 {
		for _, r := range []*Reader{
			NewBytesReader(seg[:n], ix[1].Records, false),
			NewReader(bytes.NewReader(seg[:n]), int64(n), ix[1].Records),
			NewReader(bytes.NewReader(seg[:n]), ix[1].Length, ix[1].Records),
		} {
			if err := drain(r); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
		blocks++
	}
	for _, records := range []int64{0, ix[1].Records - 1, ix[1].Records + 1} {
		if err := drain(NewBytesReader(seg, records, false)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d records announced: %v", records, err)
		}
		if err := Verify(seg, records); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d records announced: Verify says %v", records, err)
		}
	}
	if blocks < 2 {
		t.Errorf("only %d cuts", blocks)
	}
}

// The verifier does not care how the bytes are cut into pieces.
func TestVerifierPieces(t *testing.T) {
	b, ix := write(t, 1, S2, sampleRecords(20_000)[:6000])
	rapid.Check(t, func(t *rapid.T) {
		v := Verifier{Length: ix[0].Length, Records: ix[0].Records}
		for rest := b[:ix[0].Length]; len(rest) > 0; {
			n := min(rapid.IntRange(1, 100_000).Draw(t, "piece"), len(rest))
			if _, err := v.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTooLong(t *testing.T) {
	w := NewWriter(io.Discard, 1, None)
	if err := w.Append(nil, make([]byte, MaxRecord+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("error %v", err)
	}
}

func TestWriteError(t *testing.T) {
	w := NewWriter(failing{}, 2, None)
	if err := w.Append([]byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Partition(1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// A block that decompresses to something else than it says is corrupt, and nothing huge is allocated for it.
func TestLyingBlocks(t *testing.T) {
	for codec := LZ4; codec <= Zstd; codec++ {
		packed, _, err := codec.compress(nil, bytes.Repeat([]byte("lie"), 1000))
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range []int{2, 2999, 3001, 1 << 20} {
			block := make([]byte, headerSize, headerSize+len(packed))
			block = append(block, packed...)
			header{codec: codec, last: true, raw: raw, stored: len(packed), records: 1}.put(block, packed)
			if err := drain(NewBytesReader(block, 1, false)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("codec %d, raw %d: %v", codec, raw, err)
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	for codec := None; codec <= Zstd; codec++ {
		b, ix := write(f, 1, codec, []record{{0, "key", strings.Repeat("value ", 50)}, {0, "key2", ""}})
		f.Add(b[:ix[0].Length], int64(2))
		b, ix = writeRepeated(f, codec, []repeatedRecord{{"key", "1", 7}, {"key2", "", 1}})
		f.Add(b[:ix[0].Length], ix[0].Records)
	}
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, records int64) {
		if records > 1<<16 {
			return // a few bytes may stand for so many records, which would only take long
		}
		fix(b)
		for _, r := range []*Reader{
			NewBytesReader(b, records, false), NewBytesReader(b, records, true),
			NewReader(bytes.NewReader(b), int64(len(b)), records),
		} {
			n := int64(0)
			for r.Next() {
				n++
			}
			if r.Err() == nil && n != records {
				t.Fatalf("%d records without an error, announced %d", n, records)
			}
		}
		if drain(NewBytesReader(b, records, false)) == nil {
			if err := Verify(b, records); err != nil {
				t.Fatalf("reads well but Verify says %v", err)
			}
		}
	})
}

// fix puts the right checksum into the first block, so that the fuzzer gets past it.
func fix(b []byte) {
	if len(b) < headerSize {
		return
	}
	stored := int(binary.LittleEndian.Uint32(b[8:]))
	if stored <= len(b)-headerSize {
		binary.LittleEndian.PutUint32(b[16:], checksum(b[:16], b[headerSize:headerSize+stored]))
	}
}

func FuzzIndex(f *testing.F) {
	b, _ := write(f, 3, None, sampleRecords(10))
	f.Add(b)
	f.Add([]byte("FRUN"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(b); n >= trailerSize {
			length := int(binary.LittleEndian.Uint32(b[n-12:]))
			if length <= n-trailerSize {
				binary.LittleEndian.PutUint32(b[n-8:], checksum(b[n-16:n-8], b[n-trailerSize-length:n-trailerSize]))
			}
		}
		ix, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var at int64
		for _, r := range ix {
			if r.Offset != at || r.Length < 0 || r.Records < 0 {
				t.Fatalf("index %v", ix)
			}
			at += r.Length
		}
		if at > int64(len(b)) {
			t.Fatalf("index beyond the file: %v", ix)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	key, value := []byte("0123456789"), make([]byte, 90)
	for codec := None; codec <= Zstd; codec++ {
		b.Run(fmt.Sprint("codec=", codec), func(b *testing.B) {
			b.SetBytes(100)
			w := NewWriter(io.Discard, 1, codec)
			for b.Loop() {
				if err := w.Append(key, value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	var buf bytes.Buffer
	w := NewWriter(&buf, 1, None)
	const n = 100_000
	for range n {
		if err := w.Append([]byte("0123456789"), make([]byte, 90)); err != nil {
			b.Fatal(err)
		}
	}
	ix, err := w.Close()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(ix[0].Length)
	for b.Loop() {
		if err := drain(NewBytesReader(buf.Bytes()[:ix[0].Length], n, false)); err != nil {
			b.Fatal(err)
		}
	}
}
