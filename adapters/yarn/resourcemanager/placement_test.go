package resourcemanager

import (
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/wire"
	"fairway/broker/core"
	"fairway/frameworks/spark"
)

// Spark asks for executors that all name the same hosts: they come to lie on all of them, also when they are asked for one after
// the other. A map of MapReduce takes the first of its hosts that has room.
func TestExecutorsAreSpread(t *testing.T) {
	rows := func(n int32) *wire.AllocateRequestProto {
		return asking(want(0, "h1", n, 1024), want(0, "h2", n, 1024), want(0, "h3", n, 1024), want(0, "/default-rack", n, 1024), want(0, "*", n, 1024))
	}
	for _, name := range []string{"at once", "one by one"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				for _, h := range []string{"h1", "h2", "h3"} {
					r.agent(h, "/default-rack", 8, 16384)
				}
				am := r.master(r.submit(func(x *wire.ApplicationSubmissionContextProto) { x.ApplicationType = proto.String("SPARK") }))
				am.register()
				var got []string
				if name == "at once" {
					got = hostsOf(am.allocate(rows(6)))
				} else {
					for range 6 {
						got = append(got, hostsOf(am.allocate(rows(1)))...)
						am.allocate(rows(0)) // as a master does when it has what it wanted
					}
				}
				slices.Sort(got)
				if want := []string{"h1", "h1", "h2", "h2", "h3", "h3"}; !slices.Equal(got, want) {
					t.Errorf("on %v, want %v", got, want)
				}
			})
		})
	}
}

// A host without room keeps none waiting.
func TestSpreadPassesFullHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/default-rack", 8, 16384) // the master's too
		am := r.master(r.submit(func(x *wire.ApplicationSubmissionContextProto) { x.ApplicationType = proto.String("SPARK") }))
		am.register()
		r.agent("h2", "/default-rack", 1, 1024)
		first := hostsOf(am.allocate(asking(want(1, "h2", 1, 1024), want(1, "/default-rack", 1, 1024), want(1, "*", 1, 1024))))
		if !slices.Equal(first, []string{"h2"}) {
			t.Fatalf("on %v", first)
		}
		r.sleep(lookPace * 2) // a snapshot
		got := hostsOf(am.allocate(asking(want(0, "h1", 2, 1024), want(0, "h2", 2, 1024), want(0, "/default-rack", 2, 1024), want(0, "*", 2, 1024))))
		if want := []string{"h1", "h1"}; !slices.Equal(got, want) {
			t.Errorf("on %v, want %v", got, want)
		}
	})
}

// With the wish to be packed executors fill few hosts, and those where the application is first; else they go around.
func TestExecutorsArePacked(t *testing.T) {
	for name, x := range map[string]struct {
		usual         spark.Wish
		tags          []string
		first, second []string // hosts; nil: whatever they are, more than one
	}{
		"by tag":  {spark.Wish{}, []string{"fairway.placement=pack"}, []string{"h3", "h3", "h3", "h3", "h3"}, []string{"h1", "h1", "h3"}},
		"usually": {spark.Wish{Pack: true}, nil, []string{"h3", "h3", "h3", "h3", "h3"}, []string{"h1", "h1", "h3"}},
		"not":     {spark.Wish{Pack: true}, []string{"fairway.placement=spread"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *core.Config, o *Options) { o.Spark = x.usual })
				r.agent("h1", "/r1", 4, 4096) // the master's too
				am := r.run("default", wishing(x.tags...))
				r.agent("h2", "/r1", 8, 8192)
				r.agent("h3", "/r1", 6, 6144)
				first := hostsOf(am.allocate(asking(want(0, "*", 5, 1024))))
				if x.first == nil {
					if len(first) != 5 || len(slices.Compact(first)) < 2 {
						t.Errorf("on %v", first)
					}
					return
				}
				if !slices.Equal(first, x.first) {
					t.Fatalf("on %v, want %v", first, x.first)
				}
				r.sleep(lookPace * 2) // a snapshot
				if second := hostsOf(am.allocate(asking(want(0, "*", 3, 1024)))); !slices.Equal(second, x.second) {
					t.Errorf("then on %v, want %v", second, x.second)
				}
			})
		})
	}
}

// Packing stays within what the master insists on, and away from what it has excluded.
func TestPackedWithinLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 4, 4096) // the master's too
		am := r.run("default", wishing("fairway.placement=pack"))
		r.agent("h2", "/r1", 8, 8192)
		r.agent("h3", "/r1", 6, 6144)
		if got := hostsOf(am.allocate(asking(want(1, "h2", 9, 1024), unrelaxed(want(1, "*", 9, 1024))))); len(got) != 8 || len(slices.Compact(got)) != 1 {
			t.Errorf("on %v, want h2 alone, though it is full", got)
		}
		r.sleep(lookPace * 2) // a snapshot
		q := asking(want(2, "*", 2, 1024))
		q.BlacklistRequest = &wire.ResourceBlacklistRequestProto{BlacklistAdditions: []string{"h1", "h2"}}
		if got, want := hostsOf(am.allocate(q)), []string{"h3", "h3"}; !slices.Equal(got, want) {
			t.Errorf("on %v, want %v", got, want)
		}
	})
}
