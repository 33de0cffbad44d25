package resource

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func ports(t testing.TB, text string) PortSet {
	t.Helper()
	s, err := ParsePorts(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPorts(t *testing.T) {
	for _, c := range []struct{ a, b, sum, difference string }{
		{"", "", "", ""},
		{"1-10", "", "1-10", "1-10"},
		{"", "1-10", "1-10", ""},
		{"1-10", "5", "1-10", "1-4,6-10"},
		{"1-10", "1", "1-10", "2-10"},
		{"1-10", "10-20", "1-20", "1-9"},
		{"1-10", "11-20", "1-20", "1-10"},
		{"1-10,20-30", "5-25", "1-30", "1-4,26-30"},
		{"1-65535", "1-65535", "1-65535", ""},
		{"65535", "65534", "65534-65535", "65535"},
		{"31000-32000", "31000-31002,31500,32000", "31000-32000", "31003-31499,31501-31999"},
		{"1,3,5", "2,4", "1-5", "1,3,5"},
	} {
		a, b := ports(t, c.a), ports(t, c.b)
		if got := a.Add(b).String(); got != c.sum {
			t.Errorf("%s + %s = %s, want %s", c.a, c.b, got, c.sum)
		}
		if got := a.Sub(b).String(); got != c.difference {
			t.Errorf("%s - %s = %s, want %s", c.a, c.b, got, c.difference)
		}
		if a.String() != c.a || b.String() != c.b {
			t.Errorf("%s or %s was changed", c.a, c.b)
		}
	}
	for _, c := range []struct {
		set         string
		n           int
		taken, rest string
		ok          bool
	}{
		{"1-10", 3, "1-3", "4-10", true}, {"1-10", 10, "1-10", "", true}, {"1-10", 11, "", "1-10", false}, {"1-10", 0, "", "1-10", true},
		{"5,7-8,10", 2, "5,7", "8,10", true}, {"5,7-8,10", 3, "5,7-8", "10", true}, {"1-65535", 65535, "1-65535", "", true}, {"", 1, "", "", false}, {"1-2", -1, "", "1-2", false},
	} {
		s := ports(t, c.set)
		taken, rest, ok := s.Take(c.n)
		if taken.String() != c.taken || rest.String() != c.rest || ok != c.ok || s.String() != c.set {
			t.Errorf("%d of %s: %s, %s, %v", c.n, c.set, taken, rest, ok)
		}
	}
	for _, bad := range []string{"0", "65536", "2-1", "1-", "-1", "a", "1,,2", "1-2-3", "1;2"} {
		if s, err := ParsePorts(bad); err == nil {
			t.Errorf("%q is %s", bad, s)
		}
	}
	if got := NewPortSet(PortRange{9, 1}, PortRange{5, 6}, PortRange{1, 4}).String(); got != "1-6" {
		t.Error(got)
	}
}

// TestPortAlgebra compares with plain sets.
func TestPortAlgebra(t *testing.T) {
	draw := func(t *rapid.T) (PortSet, map[uint16]bool) {
		var ranges []PortRange
		plain := map[uint16]bool{}
		for range rapid.IntRange(0, 5).Draw(t, "ranges") {
			first := rapid.IntRange(1, 40).Draw(t, "first")
			last := first + rapid.IntRange(0, 10).Draw(t, "more")
			ranges = append(ranges, PortRange{uint16(first), uint16(last)})
			for p := first; p <= last; p++ {
				plain[uint16(p)] = true
			}
		}
		return NewPortSet(ranges...), plain
	}
	rapid.Check(t, func(t *rapid.T) {
		a, pa := draw(t)
		b, pb := draw(t)
		sum, difference := a.Add(b), a.Sub(b)
		for p := uint16(0); p < 60; p++ {
			if sum.Has(p) != (pa[p] || pb[p]) || difference.Has(p) != (pa[p] && !pb[p]) {
				t.Fatalf("%s and %s: port %d", a, b, p)
			}
		}
		if sum.Len() != difference.Len()+b.Len() || !sum.Contains(a) || !sum.Contains(b) || len(b) > 0 && difference.Contains(b) {
			t.Fatalf("%s and %s: %s, %s", a, b, sum, difference)
		}
		for _, s := range []PortSet{sum, difference} {
			for i := 1; i < len(s); i++ {
				if int(s[i].First) <= int(s[i-1].Last)+1 {
					t.Fatalf("%s is not in order", s)
				}
			}
			if again, err := ParsePorts(s.String()); err != nil || !slices.Equal(again, s) {
				t.Fatalf("%s is read as %s, %v", s, again, err)
			}
		}
	})
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"", "1", "1-2,5", "65535", "0", "9-1", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParsePorts(text)
		if err != nil {
			return
		}
		if again, err := ParsePorts(s.String()); err != nil || !slices.Equal(again, s) {
			t.Fatalf("%q is %s and then %s, %v", text, s, again, err)
		}
	})
}
