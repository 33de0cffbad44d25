package spark

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPack(t *testing.T) {
	for name, x := range map[string]struct {
		n     int64
		hosts []Host
		want  []int64
	}{
		"the roomiest first":         {7, []Host{{Room: 2}, {Room: 4}, {Room: 3}}, []int64{0, 4, 3}},
		"the rest where it fits":     {6, []Host{{Room: 3}, {Room: 4}, {Room: 2}}, []int64{0, 4, 2}},
		"one host that just fits":    {2, []Host{{Room: 9}, {Room: 2}, {Room: 2}, {Room: 1}}, []int64{0, 2, 0, 0}},
		"where the application is":   {3, []Host{{Room: 9}, {Room: 2, Held: 1}, {Room: 9, Held: 3}}, []int64{0, 0, 3}},
		"and then on":                {4, []Host{{Room: 9}, {Room: 2, Held: 1}, {Room: 1, Held: 3}}, []int64{1, 2, 1}},
		"where data waits":           {3, []Host{{Room: 9, Held: 2}, {Room: 2, Waiting: 1}, {Room: 9}}, []int64{1, 2, 0}},
		"data and executors, before": {1, []Host{{Room: 9, Waiting: 5}, {Room: 1, Waiting: 1, Held: 1}}, []int64{0, 1}},
		"full hosts":                 {2, []Host{{Waiting: 9}, {Room: -1}, {Room: 1}}, []int64{0, 0, 1}},
		"none is wanted":             {0, []Host{{Room: 2}}, []int64{0}},
		"no host":                    {2, nil, []int64{}},
	} {
		if got := Pack(x.n, x.hosts); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

func TestPackIsTight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := someHosts(t)
		n := rapid.Int64Range(0, 60).Draw(t, "n")
		fresh := rapid.Bool().Draw(t, "without data and executors")
		var rooms []int64
		for i := range hosts {
			if fresh {
				hosts[i].Waiting, hosts[i].Held = 0, 0
			}
			rooms = append(rooms, max(hosts[i].Room, 0))
		}
		got := Pack(n, hosts)
		var sum, room, used, partly int64
		for i := range hosts {
			if got[i] < 0 || got[i] > rooms[i] {
				t.Fatalf("host %d gets %d and has room for %d", i, got[i], rooms[i])
			}
			sum, room = sum+got[i], room+rooms[i]
			if got[i] > 0 {
				used++
				if got[i] < rooms[i] {
					partly++
				}
			}
		}
		if sum != min(n, room) || partly > 1 {
			t.Fatalf("%v: %v of %d, %d hosts are filled in part", hosts, got, n, partly)
		}
		if !fresh {
			return
		}
		// No fewer hosts would do: the roomiest ones do not.
		slices.SortFunc(rooms, func(a, b int64) int { return int(b - a) })
		least, rest := int64(0), sum
		for _, r := range rooms {
			if rest <= 0 {
				break
			}
			least, rest = least+1, rest-r
		}
		if used != least {
			t.Fatalf("%v: %v takes %d hosts, %d would do", hosts, got, used, least)
		}
	})
}
