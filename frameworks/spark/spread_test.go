package spark

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSpread(t *testing.T) {
	for name, x := range map[string]struct {
		n     int64
		hosts []Host
		want  []int64
	}{
		"one each":             {3, []Host{{Waiting: 3, Room: 9}, {Waiting: 3, Room: 9}, {Waiting: 3, Room: 9}}, []int64{1, 1, 1}},
		"where none is":        {1, []Host{{Waiting: 2, Held: 1, Room: 9}, {Waiting: 2, Held: 1, Room: 9}, {Waiting: 2, Room: 9}}, []int64{0, 0, 1}},
		"by what waits":        {4, []Host{{Waiting: 9, Room: 9}, {Waiting: 3, Room: 9}}, []int64{3, 1}},
		"what is held counts":  {2, []Host{{Waiting: 6, Held: 5, Room: 9}, {Waiting: 3, Room: 9}}, []int64{0, 2}},
		"room for all":         {9, []Host{{Waiting: 2, Room: 9}, {Waiting: 1}}, []int64{2, 1}},
		"a full host":          {2, []Host{{Waiting: 2}, {Waiting: 2, Room: 9}, {Waiting: 2, Room: 9}}, []int64{0, 1, 1}},
		"room for one":         {3, []Host{{Waiting: 9, Room: 1}, {Waiting: 2, Room: 9}}, []int64{1, 2}},
		"more than the others": {3, []Host{{Waiting: 3}, {Waiting: 1, Room: 9}}, []int64{0, 1}},
		"all are full":         {1, []Host{{Waiting: 2}, {Waiting: 3}}, []int64{0, 1}},
		"none is wanted":       {0, []Host{{Waiting: 2, Room: 9}}, []int64{0}},
		"no host":              {2, nil, []int64{}},
		"far too many":         {1 << 20, []Host{{Waiting: 1 << 20, Room: 9}, {Waiting: 1 << 20, Room: 9}}, []int64{1 << 20, 1 << 20}},
	} {
		if got := Spread(x.n, x.hosts); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

// someHosts draws up to six.
func someHosts(t *rapid.T) []Host {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Host {
		return Host{Waiting: rapid.Int64Range(0, 20).Draw(t, "waiting"), Held: rapid.Int64Range(0, 5).Draw(t, "held"), Room: rapid.Int64Range(-1, 25).Draw(t, "room")}
	}), 1, 6).Draw(t, "hosts")
}

func TestSpreadIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := someHosts(t)
		n := rapid.Int64Range(0, 60).Draw(t, "n")
		got := Spread(n, hosts)
		full := !slices.ContainsFunc(hosts, func(h Host) bool { return h.Room > 0 })
		most := func(h Host) int64 { // that a host may get
			if full {
				return h.Waiting
			}
			return min(h.Waiting, max(h.Room, 0))
		}
		var sum, waiting, open int64
		for i, h := range hosts {
			sum, waiting, open = sum+got[i], waiting+h.Waiting, open+most(h)
			if got[i] < 0 || got[i] > h.Waiting {
				t.Fatalf("host %d gets %d of %d", i, got[i], h.Waiting)
			}
		}
		if n >= waiting {
			if sum != waiting {
				t.Fatalf("%d are placed of %d that wait", sum, waiting)
			}
			return
		}
		if sum != min(n, open) {
			t.Fatalf("%d are placed of %d wanted, and there is room for %d", sum, n, open)
		}
		// Nobody who got one has less reason for it than somebody who could have had one more.
		for i, h := range hosts {
			if got[i] > most(h) {
				t.Fatalf("%v: host %d got %d", hosts, i, got[i])
			}
			for j, o := range hosts {
				if got[i] > 0 && got[j] < most(o) && h.Waiting*(o.Held+got[j]+1) < o.Waiting*(h.Held+got[i]) {
					t.Fatalf("%v: host %d got %d, host %d %d", hosts, i, got[i], j, got[j])
				}
			}
		}
	})
}
