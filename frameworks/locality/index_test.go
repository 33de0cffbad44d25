package locality

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	v1 "fairway/broker/api/fairwayv1"
)

func place(host, rack string) Place { return Place{Host: host, Rack: rack} }

func TestPick(t *testing.T) {
	x := New()
	x.Add(Item{ID: 1, Places: []Place{place("h1", "/r1"), place("h2", "/r1")}})
	x.Add(Item{ID: 2, Places: []Place{place("h1", "/r1")}})
	x.Add(Item{ID: 3, Places: []Place{place("h3", "/r2")}})
	x.Add(Item{ID: 4})
	for _, step := range []struct {
		at    Host
		id    int
		level v1.Locality
	}{
		{Host{Name: "H1"}, 2, v1.Locality_LOCALITY_NODE},                     // only h1 holds it; 1 is left for h2
		{Host{Name: "h9", Rack: "/r1"}, 1, v1.Locality_LOCALITY_RACK},        // before what lies nowhere
		{Host{Name: "h9", Rack: "/r1"}, 4, v1.Locality_LOCALITY_UNSPECIFIED}, // takes nothing from anyone
		{Host{Name: "h9", Rack: "/r1"}, 3, v1.Locality_LOCALITY_ANY},
	} {
		if level := x.Level(step.id, step.at); level != step.level {
			t.Errorf("level of %d at %v is %v, want %v", step.id, step.at, level, step.level)
		}
		id, level, ok := x.Pick(step.at)
		if !ok || id != step.id || level != step.level {
			t.Errorf("at %v: picked %d %v %v, want %d %v", step.at, id, level, ok, step.id, step.level)
		}
	}
	if _, _, ok := x.Pick(Host{Name: "h1"}); ok || x.Waiting() != 0 {
		t.Error("something is left")
	}
}

func TestHostsByAddress(t *testing.T) {
	x := New()
	x.Add(Item{ID: 1, Places: []Place{{Host: "dn1.internal", Address: "10.0.0.7"}}})
	x.Add(Item{ID: 2, Places: []Place{{Host: "dn2.internal", Address: "127.0.0.1"}}})
	at := Host{Name: "agent", Addresses: []string{"10.0.0.7", "127.0.0.1"}}
	if id, level, _ := x.Pick(at); id != 1 || level != v1.Locality_LOCALITY_NODE {
		t.Errorf("picked %d %v", id, level)
	}
	if _, level, _ := x.Pick(at); level != v1.Locality_LOCALITY_ANY {
		t.Errorf("a loopback address made an item %v", level)
	}
}

func TestSparesShortQueues(t *testing.T) {
	x := New()
	for i := range 10 {
		x.Add(Item{ID: i, Places: []Place{place("busy", "/r")}})
	}
	x.Add(Item{ID: 10, Places: []Place{place("idle", "/r")}})
	for range 9 {
		if id, _, _ := x.Pick(Host{Name: "far"}); id == 10 {
			t.Fatal("took the only item of a host that could do it itself")
		}
	}
}

func TestWants(t *testing.T) {
	x := New()
	x.Add(Item{ID: 1, Places: []Place{{Host: "B", Address: "10.0.0.2", Rack: "/r1"}, place("a", "/r1"), place("b", "/r1")}})
	x.Add(Item{ID: 2, Places: []Place{place("b", "/r1")}})
	x.Add(Item{ID: 3, Places: []Place{place("c", "/r2")}})
	x.Remove(3)
	x.Remove(3)
	got := fmt.Sprint(x.Wants())
	want := fmt.Sprint([]*v1.HostWant{{Host: "a", Count: 1, Rack: "/r1"}, {Host: "b", Address: "10.0.0.2", Count: 2, Rack: "/r1"}})
	if got != want {
		t.Errorf("wants %v, want %v", got, want)
	}
	if r := x.Racks(); len(r) != 1 || r[0].Rack != "/r1" || r[0].Count != 2 {
		t.Errorf("racks %v", r)
	}
	if len(x.Of(1)) != 2 || len(x.Of(99)) != 0 {
		t.Errorf("of one: %v", x.Of(1))
	}
}

// TestIndexAgainstNaive compares with a plain list: what is local is found, nothing is picked twice or lost, and the
// wants are the counts of what waits.
func TestIndexAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New()
		rackOf := func(h int) string { return fmt.Sprint("/r", h%2) }
		items := map[int][]int{} // hosts of all items
		waiting := map[int]bool{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "move") {
			case 0, 1:
				id := rapid.IntRange(0, 20).Draw(t, "id")
				if items[id] == nil {
					items[id] = rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 0, 3, rapid.ID[int]).Draw(t, "hosts")
					if items[id] == nil {
						items[id] = []int{}
					}
				}
				var places []Place
				for _, h := range items[id] {
					places = append(places, place(fmt.Sprint("h", h), rackOf(h)))
				}
				x.Add(Item{ID: id, Places: places})
				waiting[id] = true
			case 2:
				id := rapid.IntRange(0, 20).Draw(t, "id")
				x.Remove(id)
				delete(waiting, id)
			case 3:
				h := rapid.IntRange(0, 5).Draw(t, "host")
				level := v1.Locality_LOCALITY_ANY
				fewest := 99
				for id := range waiting {
					switch hosts := items[id]; {
					case slices.Contains(hosts, h):
						level, fewest = v1.Locality_LOCALITY_NODE, min(fewest, len(hosts))
					case level == v1.Locality_LOCALITY_ANY && slices.ContainsFunc(hosts, func(o int) bool { return rackOf(o) == rackOf(h) }):
						level = v1.Locality_LOCALITY_RACK
					}
				}
				id, got, ok := x.Pick(Host{Name: fmt.Sprint("h", h), Rack: rackOf(h)})
				if ok != (len(waiting) > 0) || ok && !waiting[id] {
					t.Fatalf("picked %d %v of %v", id, ok, waiting)
				}
				if !ok {
					break
				}
				if got == v1.Locality_LOCALITY_UNSPECIFIED && len(items[id]) == 0 {
					got = v1.Locality_LOCALITY_ANY
				}
				if got != level {
					t.Fatalf("picked %d at %v, possible %v", id, got, level)
				}
				if level == v1.Locality_LOCALITY_NODE && len(items[id]) != fewest {
					t.Fatalf("picked one with %d copies where one had %d", len(items[id]), fewest)
				}
				delete(waiting, id)
			}
			if x.Waiting() != len(waiting) {
				t.Fatalf("%d wait, want %d", x.Waiting(), len(waiting))
			}
			want := map[string]uint32{}
			for id := range waiting {
				for _, h := range items[id] {
					want[fmt.Sprint("h", h)]++
				}
			}
			got := map[string]uint32{}
			for _, w := range x.Wants() {
				got[w.Host] = w.Count
			}
			if !maps.Equal(got, want) {
				t.Fatalf("wants %v, want %v", got, want)
			}
		}
	})
}

func TestCounts(t *testing.T) {
	var c Counts
	for _, l := range []v1.Locality{v1.Locality_LOCALITY_NODE, v1.Locality_LOCALITY_NODE, v1.Locality_LOCALITY_RACK, v1.Locality_LOCALITY_ANY, v1.Locality_LOCALITY_UNSPECIFIED} {
		c.Count(l)
	}
	if c != (Counts{Node: 2, Rack: 1, Other: 2}) {
		t.Errorf("counts %v", c)
	}
}

func BenchmarkPick(b *testing.B) {
	x := New()
	const items, hosts = 100_000, 300
	for i := range items {
		x.Add(Item{ID: i, Places: []Place{place(fmt.Sprint("h", i%hosts), "/r"), place(fmt.Sprint("h", (i*7+1)%hosts), "/r"), place(fmt.Sprint("h", (i*13+2)%hosts), "/r")}})
	}
	n := 0
	for b.Loop() {
		id, _, ok := x.Pick(Host{Name: fmt.Sprint("h", n%hosts), Rack: "/r"})
		if n++; !ok {
			b.Fatal("empty")
		}
		x.Add(Item{ID: id})
	}
}
