package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is written as "30s", "10m", "24h".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration; write it as 30s, 10m or 24h", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Bytes is an amount of memory or disk, written as 512MiB, 8GiB, 8GB, 8G (a bare letter means the power of 1024).
type Bytes int64

var units = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"k", 1 << 10}, {"K", 1 << 10}, {"m", 1 << 20}, {"M", 1 << 20}, {"g", 1 << 30}, {"G", 1 << 30}, {"t", 1 << 40}, {"T", 1 << 40}, {"B", 1},
}

// ParseBytes reads an amount of bytes.
func ParseBytes(s string) (int64, error) {
	t, factor := strings.TrimSpace(s), 1.0
	for _, u := range units {
		if cut, ok := strings.CutSuffix(t, u.suffix); ok {
			t, factor = strings.TrimSpace(cut), u.factor
			break
		}
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || v < 0 || v*factor >= math.MaxInt64 || math.IsNaN(v) {
		return 0, fmt.Errorf("%q is no amount of bytes; write it as 512MiB or 8GiB", s)
	}
	return int64(v * factor), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Bytes) UnmarshalText(b []byte) error {
	n, err := ParseBytes(string(b))
	*v = Bytes(n)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (v Bytes) MarshalText() ([]byte, error) { return []byte(FormatBytes(int64(v))), nil }

// FormatBytes writes an amount of bytes for people, exactly where a whole unit fits.
func FormatBytes(n int64) string {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.factor {
			if n%u.factor == 0 {
				return strconv.FormatInt(n/u.factor, 10) + u.suffix
			}
			if n >= 10*u.factor || u.factor == 1<<10 {
				return strconv.FormatFloat(float64(n)/float64(u.factor), 'f', 1, 64) + u.suffix
			}
			return strconv.FormatFloat(float64(n)/float64(u.factor), 'f', 2, 64) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// CPU is an amount of cpu in thousandths, written as 4, 0.5 or 500m.
type CPU int64

// ParseCPU reads an amount of cpu, in milli-cpu.
func ParseCPU(s string) (int64, error) {
	t, factor := strings.TrimSpace(s), 1000.0
	if cut, ok := strings.CutSuffix(t, "m"); ok {
		t, factor = cut, 1
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || v < 0 || v > 1e9 || math.IsNaN(v) {
		return 0, fmt.Errorf("%q is no amount of cpu; write it as 4, 0.5 or 500m", s)
	}
	return int64(math.Round(v * factor)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *CPU) UnmarshalText(b []byte) error {
	n, err := ParseCPU(string(b))
	*v = CPU(n)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (v CPU) MarshalText() ([]byte, error) { return []byte(FormatCPU(int64(v))), nil }

// FormatCPU writes milli-cpu for people: 4, 0.5.
func FormatCPU(milli int64) string {
	return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64)
}

// yaml.v3 hands only string scalars to UnmarshalText, so numbers ("cpu: 4") come through here.
func scalar(n *yaml.Node, set func([]byte) error) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want one value, not a list or a section", n.Line)
	}
	if err := set([]byte(n.Value)); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error { return scalar(n, d.UnmarshalText) }

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *Bytes) UnmarshalYAML(n *yaml.Node) error { return scalar(n, v.UnmarshalText) }

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *CPU) UnmarshalYAML(n *yaml.Node) error { return scalar(n, v.UnmarshalText) }
