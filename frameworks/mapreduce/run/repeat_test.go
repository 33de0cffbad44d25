package run

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// repeatedRecord is a record and how often it is written in one call; once: by Append.
type repeatedRecord struct {
	key, value string
	n          int64
}

func writeRepeated(t fataler, codec Codec, records []repeatedRecord) ([]byte, Index) {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, 1, codec)
	for i, r := range records {
		encoded := AppendRecord(nil, []byte(r.key), []byte(r.value))
		var err error
		switch {
		case r.n != 1:
			err = w.AppendRepeated(encoded, r.n)
		case i%2 == 0:
			err = w.Append([]byte(r.key), []byte(r.value))
		default:
			err = w.AppendEncoded(encoded)
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

// What is written repeated is read so often, one by one or at once.
func TestRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []repeatedRecord
		var want []string
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			r := repeatedRecord{
				key: rapid.String().Draw(t, "key"), value: string(make([]byte, rapid.SampledFrom([]int{0, 1, 200, 50_000}).Draw(t, "size"))),
				n: rapid.SampledFrom([]int64{1, 1, 0, 2, 300}).Draw(t, "n"),
			}
			records = append(records, r)
			for range r.n {
				want = append(want, r.key)
			}
		}
		b, ix := writeRepeated(t, Codec(rapid.IntRange(0, 3).Draw(t, "codec")), records)
		if ix[0].Records != int64(len(want)) {
			t.Fatalf("the index says %d records, want %d", ix[0].Records, len(want))
		}
		if err := Verify(b[:ix[0].Length], ix[0].Records); err != nil {
			t.Fatal(err)
		}
		for way, in := range readers(b, ix[0]) {
			var got []string
			for in.Next() {
				got = append(got, string(in.Key))
				if way == 0 {
					continue
				}
				for range in.Repeats() {
					got = append(got, string(in.Key))
				}
			}
			if in.Err() != nil || !slices.Equal(got, want) {
				t.Fatalf("way %d: %d records and %v, want %d", way, len(got), in.Err(), len(want))
			}
		}
	})
}

// Numbers of repeats that do not fit a block's number of records are cut.
func TestManyRepeats(t *testing.T) {
	const n = 5 << 31
	b, ix := writeRepeated(t, None, []repeatedRecord{{"a", "1", n}, {"b", "1", 3}})
	r := readers(b, ix[0])[0]
	got := map[string]int64{}
	for r.Next() {
		got[string(r.Key)] += 1 + r.Repeats()
	}
	if r.Err() != nil || got["a"] != n || got["b"] != 3 || ix[0].Records != n+3 {
		t.Errorf("read %v of %d, %v", got, ix[0].Records, r.Err())
	}
}

// A number of repeats that is none, or over what the block announces, is corrupt.
func TestLyingRepeats(t *testing.T) {
	record := AppendRecord(nil, []byte("key"), []byte("1"))
	for _, n := range [][]byte{{0}, {4}, {0xff}, {2}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		block := append(append(make([]byte, headerSize), n...), record...)
		header{last: true, repeats: true, raw: len(block) - headerSize, stored: len(block) - headerSize, records: 3}.put(block, block[headerSize:])
		if err := drain(NewBytesReader(block, 3, false)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("repeats %v of 3: %v", n, err)
		}
	}
}
