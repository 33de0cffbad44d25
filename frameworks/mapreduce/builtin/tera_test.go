package builtin

import (
	"encoding/hex"
	"flag"
	"hash/crc32"
	"testing"

	"pgregory.net/rapid"
)

var long = flag.Bool("long", false, "check the checksum of ten million rows too")

// The first row of gensort: its key says "JimGrayRIP", the increment of the generator.
func TestTeraRowGolden(t *testing.T) {
	var row [100]byte
	teraRow(row[:], generator.next(skipAhead(0)), 0)
	want := "JimGrayRIP\x00\x1100000000000000000000000000000000\x88\x99\xaa\xbb" +
		"222200002222000022220000222200002222000000001111" + "\xcc\xdd\xee\xff"
	if string(row[:]) != want {
		t.Errorf("row 0:\n%s\nwant\n%s", hex.Dump(row[:]), hex.Dump([]byte(want)))
	}
}

// Powers of the generator as Hadoop's Random16 lists them.
func TestGeneratorPowers(t *testing.T) {
	for _, c := range []struct {
		power int
		a, c  string
	}{
		{1, "17bce35bdf69743c529ed9eb20e0ae99", "95e0e48262b3edfe04479485c755b646"},
		{9, "4a5c31e0654c28aa60474e83bf3f7801", "be4a36657c98cd204e8c8af7dafe00"},
		{32, "433bef4314f16a9453cd8fbc00000001", "158c62f2b31e496dfd71a97f00000000"},
		{63, "af85d0c629e6c7de0000000000000001", "7858ca25feb8d4bf8000000000000000"},
	} {
		s := generator
		for range c.power {
			s = s.twice()
		}
		if s.a.hex() != c.a || s.c.hex() != c.c {
			t.Errorf("2^%d steps: a=%s c=%s, want %s %s", c.power, s.a.hex(), s.c.hex(), c.a, c.c)
		}
	}
}

func TestSkipAheadIsSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, 1<<62).Draw(t, "n")
		k := rapid.Uint64Range(0, 100).Draw(t, "k")
		x := skipAhead(n)
		for range k {
			x = generator.next(x)
		}
		if y := skipAhead(n + k); x != y {
			t.Fatalf("%d + %d steps: %s, skipping %s", n, k, x.hex(), y.hex())
		}
	})
}

// The sums of CRC32 that valsort and teravalidate print for a million and ten million rows.
func TestTeraChecksums(t *testing.T) {
	rows, want := 1_000_000, "7a27e2d0d55de"
	if *long {
		rows, want = 10_000_000, "4c49607ac53602"
	}
	var sum uint128
	var row [100]byte
	x := skipAhead(0)
	for i := range rows {
		x = generator.next(x)
		teraRow(row[:], x, uint64(i))
		sum = sum.add(uint128{lo: uint64(crc32.ChecksumIEEE(row[:]))})
	}
	if sum.hex() != want {
		t.Errorf("%d rows: checksum %s, want %s", rows, sum.hex(), want)
	}
}

func TestHex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := uint128{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
		if y, err := parseHex([]byte(x.hex())); err != nil || x != y {
			t.Fatalf("%v -> %s -> %v, %v", x, x.hex(), y, err)
		}
	})
	for _, s := range []string{"", "g", "123456789012345678901234567890123"} {
		if _, err := parseHex([]byte(s)); err == nil {
			t.Errorf("%q is taken for a number", s)
		}
	}
}
