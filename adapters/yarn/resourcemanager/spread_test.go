package resourcemanager

import (
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/wire"
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
