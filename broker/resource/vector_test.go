package resource

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

var edges = []int64{math.MinInt64, math.MinInt64 + 1, -1 << 40, -2, -1, 0, 1, 2, 1000, 1 << 31, 1 << 40, math.MaxInt64 - 1, math.MaxInt64}

func clamp(b *big.Int) int64 {
	if b.Cmp(big.NewInt(math.MaxInt64)) > 0 {
		return math.MaxInt64
	}
	if b.Cmp(big.NewInt(math.MinInt64)) < 0 {
		return math.MinInt64
	}
	return b.Int64()
}

// TestSaturation compares every pair of edge values, in every slot, with unbounded arithmetic.
func TestSaturation(t *testing.T) {
	for _, a := range edges {
		for _, b := range edges {
			x, y := big.NewInt(a), big.NewInt(b)
			for slot := range Slots {
				var v, w Vector
				v[slot], w[slot] = a, b
				for name, got := range map[string][2]int64{
					"Add":   {v.Add(w)[slot], clamp(new(big.Int).Add(x, y))},
					"Sub":   {v.Sub(w)[slot], clamp(new(big.Int).Sub(x, y))},
					"Scale": {v.Scale(b)[slot], clamp(new(big.Int).Mul(x, y))},
					"Max":   {v.Max(w)[slot], max(a, b)},
					"Min":   {v.Min(w)[slot], min(a, b)},
					"Floor": {v.Floor()[slot], max(a, 0)},
				} {
					if got[0] != got[1] {
						t.Errorf("%s(%d, %d) = %d, want %d", name, a, b, got[0], got[1])
					}
				}
				if got, want := v.Fits(w), a <= b || a <= 0; got != want {
					t.Errorf("%d fits %d: %v", a, b, got)
				}
				if got, want := v.Negative(), a < 0; got != want {
					t.Errorf("Negative(%d) = %v", a, got)
				}
				if got, want := v.IsZero(), a == 0; got != want {
					t.Errorf("IsZero(%d) = %v", a, got)
				}
			}
		}
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		v, shape Vector
		want     int64
	}{
		{Vector{4000, 8}, Vector{1000, 3}, 2},
		{Vector{4000, 8}, Vector{1000}, 4},
		{Vector{4000, 8}, Vector{}, math.MaxInt64},
		{Vector{-1, 8}, Vector{1000}, 0},
		{Vector{4000, 8}, Vector{CPU: 1, Ports: 1}, 0},
	} {
		if got := c.v.Times(c.shape); got != c.want {
			t.Errorf("%v into %v: %d times, want %d", c.shape, c.v, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var v, shape Vector
		for i := range v {
			v[i], shape[i] = rapid.Int64Range(0, 1<<40).Draw(t, "v"), rapid.Int64Range(0, 1<<20).Draw(t, "shape")
		}
		if shape.IsZero() {
			return
		}
		n := v.Times(shape)
		if !shape.Scale(n).Fits(v) || shape.Scale(n+1).Fits(v) {
			t.Fatalf("%v into %v: not %d times", shape, v, n)
		}
	})
}

func TestWithin(t *testing.T) {
	limit := None()
	limit[CPU] = 1000
	for _, c := range []struct {
		v    Vector
		want bool
	}{{Vector{}, true}, {Vector{1000, math.MaxInt64}, true}, {Vector{1001}, false}} {
		if got := c.v.Within(limit); got != c.want {
			t.Errorf("%v within %v: %v", c.v, limit, got)
		}
	}
}

func TestDominant(t *testing.T) {
	total := Vector{10000, 100 << 30}
	for _, c := range []struct {
		v     Vector
		total Vector
		share float64
		slot  int
	}{
		{Vector{5000, 10 << 30}, total, 0.5, CPU},
		{Vector{1000, 90 << 30}, total, 0.9, Memory},
		{Vector{1000, 10 << 30}, total, 0.1, CPU},
		{Vector{GPU: 3}, total, 0, CPU},
		{Vector{1000}, Vector{}, 0, -1},
	} {
		if share, slot := c.v.Dominant(c.total); share != c.share || slot != c.slot {
			t.Errorf("%v of %v: %v in slot %d, want %v in %d", c.v, c.total, share, slot, c.share, c.slot)
		}
	}
}

func TestKinds(t *testing.T) {
	var k Kinds
	for i, name := range []string{"yarn.io/fpga", "licence", "x-1_2"} {
		slot, fresh, err := k.Intern(name)
		if slot != Named+i || !fresh || err != nil {
			t.Fatal(name, slot, fresh, err)
		}
		if slot, fresh, err = k.Intern(name); slot != Named+i || fresh || err != nil {
			t.Fatal("again", name, slot, fresh, err)
		}
	}
	if _, _, err := k.Intern("fourth"); err == nil {
		t.Error("a fourth kind was named")
	}
	for _, bad := range []string{"", "1x", "a b", "ü", string(make([]byte, 64)), "a=b"} {
		var k Kinds
		if _, _, err := k.Intern(bad); err == nil {
			t.Errorf("%q was named", bad)
		}
	}
	for _, c := range []struct {
		slot int
		name string
	}{{CPU, "x"}, {Slots, "x"}, {-1, "x"}, {Named, "other"}, {Named + 1, "yarn.io/fpga"}, {Named, "cpu"}} {
		if err := k.Set(c.slot, c.name); err == nil {
			t.Errorf("slot %d was named %q", c.slot, c.name)
		}
	}
	if slot, ok := (*Kinds)(nil).Slot("memory"); !ok || slot != Memory {
		t.Error("a nil Kinds does not know memory")
	}
	if got := (*Kinds)(nil).Name(6); got != "kind6" {
		t.Error(got)
	}
}

func TestFormatVector(t *testing.T) {
	var k Kinds
	if _, _, err := k.Intern("fpga"); err != nil {
		t.Fatal(err)
	}
	v := Vector{CPU: 1500, Memory: 8 << 30, Disk: 7, GPU: 2, Ports: 3, Named: 4}
	const text = "cpu=1.5 memory=8GiB disk=7B gpu=2 ports=3 fpga=4"
	if got := v.Format(&k); got != text {
		t.Errorf("%s, want %s", got, text)
	}
	if got, err := ParseVector(text, &k); got != v || err != nil {
		t.Error(got, err)
	}
	if got := (Vector{}).String(); got != "none" {
		t.Error(got)
	}
	for _, bad := range []string{"cpu", "cpu=1 cpu=2", "fpga=1", "cpu=x", "memory=-1", "=1"} {
		if _, err := ParseVector(bad, nil); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
