package builtin

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strconv"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/spec"
)

// teraCounters is the group of Hadoop's own counter CHECKSUM of a teragen.
const teraCounters = "org.apache.hadoop.examples.terasort.TeraGen$Counters"

// TeraGen makes rows of the GraySort benchmark, the same bytes as Hadoop's teragen and Chris Nyberg's gensort make.
// Args: ROWS OUT; ROWS may end in k, m, b or t (thousands, millions, ...).
func TeraGen(args []string) (spec.Job, error) {
	if len(args) != 2 {
		return spec.Job{}, usageError("teragen")
	}
	rows, err := parseHuman(args[0])
	if err != nil {
		return spec.Job{}, fmt.Errorf("teragen: %w", err)
	}
	return spec.Job{
		Name: "TeraGen", Output: args[1], InputFormat: input.None, OutputFormat: output.Tera, Maps: 2,
		Mapper: spec.Stage{Function: "teragen"},
		Conf:   map[string]string{input.RecordsProperty: strconv.FormatInt(rows, 10)},
	}, nil
}

// TeraSort sorts the rows of a teragen in total order. Args: IN OUT.
func TeraSort(args []string) (spec.Job, error) {
	if len(args) != 2 {
		return spec.Job{}, usageError("terasort")
	}
	return spec.Job{
		Name: "TeraSort", Inputs: args[:1], Output: args[1], InputFormat: input.Tera, OutputFormat: output.Tera,
		Mapper: spec.Stage{Function: "identity"}, Reducer: spec.Stage{Function: "identity"},
		Reduces: 4, Partitioner: "total",
	}, nil
}

// parseHuman reads a number that may end in k, m, b or t.
func parseHuman(s string) (int64, error) {
	base := int64(1)
	digits := s
	if s != "" {
		switch s[len(s)-1] {
		case 't':
			base = 1e12
		case 'b':
			base = 1e9
		case 'm':
			base = 1e6
		case 'k':
			base = 1e3
		}
		if base > 1 {
			digits = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/base {
		return 0, fmt.Errorf("%q is no number of rows: write 10000000 or 10m", s)
	}
	return n * base, nil
}

// uint128 is an unsigned number of 128 bits; arithmetic wraps.
type uint128 struct{ hi, lo uint64 }

func (x uint128) add(y uint128) uint128 {
	lo, carry := bits.Add64(x.lo, y.lo, 0)
	hi, _ := bits.Add64(x.hi, y.hi, carry)
	return uint128{hi, lo}
}

func (x uint128) mul(y uint128) uint128 {
	hi, lo := bits.Mul64(x.lo, y.lo)
	return uint128{hi + x.hi*y.lo + x.lo*y.hi, lo}
}

// hex is the number in hexadecimal without leading zeros, as Hadoop prints it.
func (x uint128) hex() string {
	if x.hi == 0 {
		return strconv.FormatUint(x.lo, 16)
	}
	return fmt.Sprintf("%x%016x", x.hi, x.lo)
}

// parseHex reads what hex writes.
func parseHex(s []byte) (uint128, error) {
	var x uint128
	if len(s) == 0 || len(s) > 32 {
		return x, fmt.Errorf("%q is no 128-bit number", s)
	}
	for _, c := range s {
		d, err := strconv.ParseUint(string(rune(c)), 16, 8)
		if err != nil {
			return x, fmt.Errorf("%q is no 128-bit number", s)
		}
		x = uint128{x.hi<<4 | x.lo>>60, x.lo<<4 | d}
	}
	return x, nil
}

// step is a function x -> a*x + c modulo 2^128.
type step struct{ a, c uint128 }

// generator is the linear congruential generator of gensort: its multiplier is from L'Ecuyer, "Tables of linear
// congruential generators of different sizes and good lattice structure" (1999), its increment says "JimGrayRIP".
var generator = step{
	a: uint128{0x2360ed051fc65da4, 0x4385df649fccf645},
	c: uint128{0x4a696d4772617952, 0x4950202020202001},
}

func (s step) next(x uint128) uint128 { return s.a.mul(x).add(s.c) }

// twice is s done two times.
func (s step) twice() step { return step{s.a.mul(s.a), s.a.mul(s.c).add(s.c)} }

// skipAhead returns the state after n steps from 0.
func skipAhead(n uint64) uint128 {
	var x uint128
	for s := generator; n != 0; s, n = s.twice(), n>>1 {
		if n&1 != 0 {
			x = s.next(x)
		}
	}
	return x
}

const hexDigits = "0123456789ABCDEF"

// teraRow writes row number n, whose random number is r, to b of 100 bytes: the ten high bytes of r as the key, a
// break, the row number as 32 hexadecimal digits, a break, the low twelve hexadecimal digits of r four times each, a
// break.
func teraRow(b []byte, r uint128, n uint64) {
	_ = b[99]
	binary.BigEndian.PutUint64(b, r.hi)
	binary.BigEndian.PutUint16(b[8:], uint16(r.lo>>48))
	b[10], b[11] = 0x00, 0x11
	for i := range 16 {
		b[12+i] = '0'
	}
	for i := range 16 {
		b[28+i] = hexDigits[n>>(60-4*i)&15]
	}
	b[44], b[45], b[46], b[47] = 0x88, 0x99, 0xaa, 0xbb
	for i := range 12 {
		d := uint32(hexDigits[r.lo>>(44-4*i)&15])
		binary.LittleEndian.PutUint32(b[48+4*i:], d*0x01010101)
	}
	b[96], b[97], b[98], b[99] = 0xcc, 0xdd, 0xee, 0xff
}

// teraGen is the mapper: its keys are the numbers of rows, one after another.
type teraGen struct {
	next uint64
	rand uint128
	any  bool
	sum  uint64
	row  [input.TeraRecord]byte
}

func (g *teraGen) Map(_ *mapreduce.Context, key, _ []byte, out mapreduce.Emitter) error {
	n, err := mapreduce.ParseInt(key)
	if err != nil {
		return err
	}
	if !g.any || uint64(n) != g.next {
		g.any = true
		g.rand = skipAhead(uint64(n))
	}
	g.rand = generator.next(g.rand)
	teraRow(g.row[:], g.rand, uint64(n))
	g.next = uint64(n) + 1
	g.sum += uint64(crc32.ChecksumIEEE(g.row[:]))
	return out.Emit(g.row[:input.TeraKey], g.row[input.TeraKey:])
}

func (g *teraGen) Cleanup(cx *mapreduce.Context, _ mapreduce.Emitter) error {
	cx.Counter(teraCounters, "CHECKSUM").Add(int64(g.sum))
	return nil
}
