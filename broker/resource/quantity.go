package resource

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// ErrQuantity is returned, wrapped, for text that is no quantity.
var ErrQuantity = errors.New("not a quantity")

// byteUnits are the suffixes of an amount of bytes. As in Hadoop and Spark a single letter is binary ("8G" is 8 GiB);
// decimal units are written out ("8GB").
var byteUnits = []struct {
	suffix string
	bytes  int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40}, {"pib", 1 << 50},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12}, {"pb", 1e15},
	{"ki", 1 << 10}, {"mi", 1 << 20}, {"gi", 1 << 30}, {"ti", 1 << 40}, {"pi", 1 << 50},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"p", 1 << 50},
	{"b", 1},
}

// ParseCPU reads an amount of cpu in milli-cpu: "4", "0.5", "500m".
func ParseCPU(text string) (int64, error) {
	s := strings.TrimSpace(text)
	if t, ok := strings.CutSuffix(s, "m"); ok {
		return parseDecimal(text, t, 1)
	}
	return parseDecimal(text, s, 1000)
}

// ParseBytes reads an amount of bytes: "1024", "8GiB", "8G" (the same), "8GB" (decimal), "1.5g".
func ParseBytes(text string) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	for _, u := range byteUnits {
		if t, ok := strings.CutSuffix(s, u.suffix); ok {
			return parseDecimal(text, strings.TrimSpace(t), u.bytes)
		}
	}
	return parseDecimal(text, s, 1)
}

// ParseQuantity reads an amount of a slot's kind.
func ParseQuantity(slot int, text string) (int64, error) {
	switch slot {
	case CPU:
		return ParseCPU(text)
	case Memory, Disk:
		return ParseBytes(text)
	}
	return parseDecimal(text, strings.TrimSpace(text), 1)
}

// FormatQuantity writes an amount so that ParseQuantity reads the same again.
func FormatQuantity(slot int, n int64) string {
	switch slot {
	case CPU:
		return FormatCPU(n)
	case Memory, Disk:
		return FormatBytes(n)
	}
	return strconv.FormatInt(n, 10)
}

// FormatCPU writes milli-cpu: "4", "1.5", "0.25".
func FormatCPU(milli int64) string {
	sign := ""
	u := uint64(milli)
	if milli < 0 {
		sign, u = "-", -u
	}
	s := sign + strconv.FormatUint(u/1000, 10)
	if r := u % 1000; r != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%03d", r), "0")
	}
	return s
}

// FormatBytes writes bytes exactly, in the largest binary unit that leaves a whole number: "8GiB", "1536MiB", "7B".
func FormatBytes(n int64) string {
	if n == 0 {
		return "0"
	}
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := min(bits.TrailingZeros64(uint64(n))/10, len(units)-1)
	return strconv.FormatInt(n>>(10*i), 10) + units[i]
}

// ParseVector reads "cpu=4 memory=8GiB ports=2", separated by spaces or commas. kinds may be nil.
func ParseVector(text string, kinds *Kinds) (Vector, error) {
	var v Vector
	var seen [Slots]bool
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		name, amount, ok := strings.Cut(field, "=")
		if !ok {
			return Vector{}, fmt.Errorf("%w: %q has no \"=\": write kind=amount, as in cpu=4", ErrQuantity, field)
		}
		slot, ok := kinds.Slot(name)
		if !ok {
			return Vector{}, fmt.Errorf("%w: %q is no kind of resource (cpu, memory, disk, gpu, ports or one named by the operator)", ErrQuantity, name)
		}
		if seen[slot] {
			return Vector{}, fmt.Errorf("%w: %s is given twice", ErrQuantity, name)
		}
		n, err := ParseQuantity(slot, amount)
		if err != nil {
			return Vector{}, fmt.Errorf("%s: %w", name, err)
		}
		seen[slot], v[slot] = true, n
	}
	return v, nil
}

// parseDecimal reads a non-negative decimal and multiplies it by unit; a fraction must come out whole.
func parseDecimal(text, number string, unit int64) (int64, error) {
	whole, fraction, dotted := strings.Cut(number, ".")
	bad := func(why string) (int64, error) {
		return 0, fmt.Errorf("%w: %q %s", ErrQuantity, text, why)
	}
	if whole == "" && fraction == "" || dotted && fraction == "" || !digits(whole) || !digits(fraction) {
		return bad("is not a number with a unit, such as 4, 500m or 8GiB")
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > 18 {
		return bad("has too many digits")
	}
	var n uint64
	if whole != "" {
		var err error
		if n, err = strconv.ParseUint(whole, 10, 63); err != nil {
			return bad("is too large")
		}
	}
	hi, lo := bits.Mul64(n, uint64(unit))
	if hi != 0 || lo > math.MaxInt64 {
		return bad("is too large")
	}
	if fraction == "" {
		return int64(lo), nil
	}
	f, _ := strconv.ParseUint(fraction, 10, 63)
	scale := uint64(1)
	for range fraction {
		scale *= 10
	}
	// Half a byte of a large unit is noise of writing "1.3GiB"; half a milli-cpu or device is a mistake.
	fhi, flo := bits.Mul64(f, uint64(unit))
	q, r := bits.Div64(fhi, flo, scale)
	if r != 0 && unit < 1<<10 {
		return bad("is finer than the smallest unit")
	}
	if lo+q > math.MaxInt64 {
		return bad("is too large")
	}
	return int64(lo + q), nil
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
