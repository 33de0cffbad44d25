package resource

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestParseQuantity(t *testing.T) {
	for _, c := range []struct {
		slot int
		text string
		want int64 // -1: refused
	}{
		{CPU, "4", 4000}, {CPU, "500m", 500}, {CPU, "0.5", 500}, {CPU, ".25", 250}, {CPU, "1.001", 1001}, {CPU, " 2 ", 2000}, {CPU, "0", 0},
		{CPU, "1.0001", -1}, {CPU, "1.0000", 1000}, {CPU, "0.5m", -1}, {CPU, "-1", -1}, {CPU, "", -1}, {CPU, "m", -1}, {CPU, "1.", -1},
		{CPU, "1e3", -1}, {CPU, "4 cores", -1}, {CPU, "9223372036854775807", -1}, {CPU, "9223372036854775", 9223372036854775000},
		{Memory, "1024", 1024}, {Memory, "8GiB", 8 << 30}, {Memory, "8G", 8 << 30}, {Memory, "8g", 8 << 30}, {Memory, "8Gi", 8 << 30},
		{Memory, "8GB", 8e9}, {Memory, "512MiB", 512 << 20}, {Memory, "512m", 512 << 20}, {Memory, "64k", 64 << 10}, {Memory, "1kb", 1000},
		{Memory, "1.5g", 3 << 29}, {Memory, "0.1GiB", 107374182}, {Memory, "3TiB", 3 << 40}, {Memory, "2PB", 2e15}, {Memory, "7B", 7}, {Memory, "7 MiB", 7 << 20},
		{Memory, "0.5", -1}, {Memory, "0.5B", -1}, {Memory, "9000PiB", -1}, {Memory, "GiB", -1}, {Memory, "8X", -1}, {Memory, "8GiBs", -1}, {Memory, "--8G", -1},
		{Memory, "1.1234567890123456789G", -1}, {Memory, "8191PiB", 8191 << 50}, {Memory, "8191.9999999PiB", 9223372036742185817},
		{Disk, "1T", 1 << 40}, {GPU, "2", 2}, {GPU, "0.5", -1}, {GPU, "2G", -1}, {Ports, "3", 3}, {Named, "9223372036854775807", math.MaxInt64}, {Named, "9223372036854775808", -1},
	} {
		got, err := ParseQuantity(c.slot, c.text)
		if c.want < 0 {
			if !errors.Is(err, ErrQuantity) {
				t.Errorf("slot %d %q: %d, %v; want it refused", c.slot, c.text, got, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("slot %d %q: %d, %v; want %d", c.slot, c.text, got, err, c.want)
		}
	}
}

func TestFormatQuantity(t *testing.T) {
	for _, c := range []struct {
		slot int
		n    int64
		want string
	}{
		{CPU, 0, "0"}, {CPU, 1, "0.001"}, {CPU, 250, "0.25"}, {CPU, 4000, "4"}, {CPU, -1500, "-1.5"}, {CPU, math.MinInt64, "-9223372036854775.808"},
		{Memory, 0, "0"}, {Memory, 1, "1B"}, {Memory, 1536 << 20, "1536MiB"}, {Memory, 1 << 60, "1024PiB"}, {Memory, -1 << 30, "-1GiB"}, {Disk, 1000, "1000B"}, {GPU, 7, "7"},
	} {
		if got := FormatQuantity(c.slot, c.n); got != c.want {
			t.Errorf("slot %d: %d is %q, want %q", c.slot, c.n, got, c.want)
		}
	}
}

// TestRoundTrip: what is written is read again.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slot := rapid.IntRange(0, Slots-1).Draw(t, "slot")
		n := rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "n") >> rapid.IntRange(0, 62).Draw(t, "shift")
		if got, err := ParseQuantity(slot, FormatQuantity(slot, n)); got != n || err != nil {
			t.Fatalf("slot %d: %d is written %q and read %d, %v", slot, n, FormatQuantity(slot, n), got, err)
		}
	})
}

func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"4", "500m", "8GiB", "1.5g", "", ".", "9999999999999999999P", "0.0000000000000000001m"} {
		f.Add(0, s)
		f.Add(1, s)
	}
	f.Fuzz(func(t *testing.T, slot int, text string) {
		if n, err := ParseQuantity(slot&7, text); err == nil && n < 0 {
			t.Fatalf("%q is %d", text, n)
		}
		if v, err := ParseVector(text, nil); err == nil && v.Negative() {
			t.Fatalf("%q is %v", text, v)
		}
	})
}
