package resourcemanager

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
	"fairway/frameworks/spark"
)

// wishing makes a submission Spark's, with tags.
func wishing(tags ...string) func(*wire.ApplicationSubmissionContextProto) {
	return func(x *wire.ApplicationSubmissionContextProto) {
		x.ApplicationType, x.ApplicationTags = proto.String("SPARK"), tags
	}
}

// neighbours is a rig with queues a, b and c of one weight, where nothing is reclaimed.
func neighbours(t *testing.T) *rig {
	return newRig(t, func(c *core.Config, _ *Options) {
		c.Roles = []core.Role{{Path: "a", Weight: 1}, {Path: "b", Weight: 1}, {Path: "c", Weight: 1}}
		c.ReclaimAfter = -1
	})
}

// why is what is said of a master's job.
func (r *rig) why(x *fakeMaster) string {
	r.t.Helper()
	i, err := id.ParseContainer(x.container)
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := r.m.ExplainJob(context.Background(), api.Caller{User: "ann"}, r.m.find(i.Application()).job)
	if err != nil {
		r.t.Fatal(err)
	}
	return e.Summary
}

// handed is how many containers a master is given in one answer.
func (x *fakeMaster) handed(q *wire.AllocateRequestProto) int {
	x.r.t.Helper()
	return len(x.allocate(q).AllocatedContainers)
}

// An application that wants three executors at first is given none while one of them is missing, and holds nothing meanwhile.
func TestGangWaitsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := neighbours(t)
		r.agent("h1", "/r1", 4, 4096)
		r.agent("h2", "/r1", 4, 4096)
		other := r.run("a")
		names := other.get(5, asking(want(20, "*", 5, 1024)))
		am := r.run("b", wishing("fairway.gang=3"))
		if n := am.handed(asking(want(0, "*", 4, 1024))); n != 0 {
			t.Fatalf("%d executors begin alone", n)
		}
		for k := range 2 {
			r.sleep(time.Second)
			if n := r.held(am); n != 1 {
				t.Errorf("it holds %d, want its master's", n)
			}
			if text, room := r.why(am), fmt.Sprintf("it begins with 3 at once or waits whole, and there is room for %d now", k+1); !strings.Contains(text, room) {
				t.Errorf("%q, want %q", text, room)
			}
			other.release(names[k])
			r.sleep(time.Second)
		}
		if n := am.handed(&wire.AllocateRequestProto{}); n != 3 {
			t.Fatalf("%d executors come together", n)
		}
		if text := r.why(am); strings.Contains(text, "waits whole") {
			t.Errorf("%q", text)
		}
		other.release(names[2])
		am.get(1, &wire.AllocateRequestProto{}) // it has begun: the next one comes alone
		if n := r.held(am); n != 5 {
			t.Errorf("it holds %d", n)
		}
	})
}

// There is room for one of two gangs: one begins, then the other, and what the second cannot use others may have.
func TestGangsInEachOthersWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := neighbours(t)
		for _, h := range []string{"h1", "h2", "h3"} {
			r.agent(h, "/r1", 3, 3072)
		}
		other, x, y := r.run("c"), r.run("a", wishing("fairway.gang")), r.run("b", wishing("fairway.gang"))
		names := other.get(6, asking(want(20, "*", 6, 1024)))
		for _, am := range []*fakeMaster{x, y} {
			if n := am.handed(asking(want(0, "*", 4, 1024))); n != 0 {
				t.Fatalf("%d executors in a full cluster", n)
			}
		}
		other.release(names...)
		r.sleep(time.Second)
		n, m := x.handed(&wire.AllocateRequestProto{}), y.handed(&wire.AllocateRequestProto{})
		if max(n, m) != 4 || min(n, m) != 0 {
			t.Fatalf("%d and %d executors have come", n, m)
		}
		second, first := x, y
		if n == 4 {
			second, first = y, x
		}
		if n := r.held(second); n != 1 {
			t.Errorf("the second holds %d, want its master's", n)
		}
		other.get(1, asking(want(20, "*", 1, 1024)))
		i, err := id.ParseContainer(first.container)
		if err != nil {
			t.Fatal(err)
		}
		first.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(first.container).finish(first.container, 0, "")
		r.sleep(time.Second)
		if n := len(r.grants(i.Application())); n != 0 {
			t.Errorf("%d of the first are left", n)
		}
		if n := second.handed(&wire.AllocateRequestProto{}); n != 4 {
			t.Errorf("%d executors of the second have come", n)
		}
	})
}

// A part of a gang is not taken, and what has come when another came to nothing ends: it is asked for whole again.
func TestGangIsNotTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := neighbours(t)
		r.agent("h1", "/r1", 2, 2048)
		am := r.run("b", wishing("fairway.gang"))
		i, err := id.ParseContainer(am.container)
		if err != nil {
			t.Fatal(err)
		}
		a := r.m.find(i.Application())
		if n := am.handed(asking(want(0, "*", 3, 1024))); n != 0 {
			t.Fatalf("%d executors where there is room for one", n)
		}
		a.mu.Lock()
		for _, g := range a.current().asks.byID {
			seen := a.lastOffer
			a.offered([]*v1.Offer{{Id: 1 << 40, Group: g.id, Count: 2, AgentId: r.agents[0].id, Attributes: r.agents[0].info.Attributes}})
			if len(a.accepted) != 0 || g.any.count != 3 || g.begins != 0 {
				t.Errorf("two of three: %d offers were taken, %d are wanted", len(a.accepted), g.any.count)
			}
			a.lastOffer = seen
		}
		a.mu.Unlock()
		am.allocate(asking(want(0, "*", 0, 1024)))
		r.agent("h2", "/r1", 2, 2048)

		r.journal.hold()
		if n := am.handed(asking(want(0, "*", 3, 1024))); n != 0 {
			t.Fatalf("%d executors that are not durable", n)
		}
		a.mu.Lock()
		taken, stray, offer := len(a.accepted), uint64(0), uint64(0)
		for o, all := range a.accepted {
			if len(all) == 1 {
				stray, offer = all[0].task, o
			}
		}
		a.refusal(&v1.Refused{Call: "accept", Offer: offer}) // as if its agent had just been cut off
		a.mu.Unlock()
		if taken != 2 {
			t.Fatalf("%d offers were taken, want one of each agent", taken)
		}
		r.journal.release()
		r.sleep(time.Second)
		if n := am.handed(&wire.AllocateRequestProto{}); n != 0 || r.held(am) != 2 {
			t.Errorf("%d executors of three; it holds %d, want its master's and the stray one", n, r.held(am))
		}
		if text := r.why(am); !strings.Contains(text, "it begins with 3 at once or waits whole, and there is room for 2 now") {
			t.Errorf("%q", text)
		}
		a.mu.Lock()
		a.killTask(stray, "the test's")
		a.mu.Unlock()
		r.sleep(time.Second)
		if n := am.handed(&wire.AllocateRequestProto{}); n != 3 {
			t.Errorf("%d executors come together", n)
		}
	})
}

// What is reclaimed from others for a gang comes to it together.
func TestGangGetsItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, _ *Options) {
			c.Roles = []core.Role{{Path: "big", Weight: 2}, {Path: "small", Weight: 1}}
		})
		r.agent("h1", "/r1", 6, 6144)
		r.agent("h2", "/r1", 6, 6144)
		big, small := r.run("big"), r.run("small", wishing("fairway.gang"))
		big.get(10, asking(want(20, "*", 14, 1024)))
		got := small.handed(asking(want(0, "*", 3, 1024)))
		for range 10 {
			r.sleep(10 * time.Second)
			big.allocate(&wire.AllocateRequestProto{})
			if n := small.handed(&wire.AllocateRequestProto{}); n != 0 {
				got += n
				break
			}
		}
		if got != 3 {
			t.Errorf("%d executors have come together", got)
		}
	})
}

// The tags win over what is configured, and say what they do not know.
func TestGangsByDefault(t *testing.T) {
	for name, x := range map[string]struct {
		usual spark.Wish
		tags  []string
		want  int
	}{
		"none":     {spark.Wish{}, nil, 2},
		"by tag":   {spark.Wish{}, []string{"nightly", "Fairway.Gang"}, 0},
		"usual":    {spark.Wish{Gang: true}, nil, 0},
		"less":     {spark.Wish{Gang: true}, []string{"fairway.gang=2"}, 2},
		"not this": {spark.Wish{Gang: true}, []string{"fairway.gang=off"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *core.Config, o *Options) { o.Spark = x.usual })
				r.agent("h1", "/r1", 3, 3072)
				am := r.run("default", wishing(x.tags...))
				if n := am.handed(asking(want(0, "*", 3, 1024))); n != x.want {
					t.Errorf("%d executors come of three when there is room for two, want %d", n, x.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 3, 3072)
		x := r.submission()
		x.ApplicationTags = []string{"fairway.gang=many"}
		if _, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x}); err != nil {
			t.Errorf("a tag of MapReduce's: %v", err)
		}
		x = r.submission()
		wishing("fairway.gang=many")(x)
		_, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x})
		if class(err) != hadooprpc.IllegalArgument || !strings.Contains(err.Error(), `"fairway.gang=many"`) {
			t.Errorf("%v", err)
		}
	})
}

// After a restart of the broker a gang that has begun is not held back again, and one that has not still waits whole.
func TestGangsOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := neighbours(t)
		r.agent("h1", "/r1", 5, 5120)
		begun, waits := r.run("a", wishing("fairway.gang=3")), r.run("b", wishing("fairway.gang=2"))
		if n := begun.handed(asking(want(0, "*", 2, 1024))); n != 2 {
			t.Fatalf("%d executors come together", n)
		}
		if n := waits.handed(asking(want(0, "*", 2, 1024))); n != 0 || r.held(waits) != 1 {
			t.Fatalf("%d executors begin alone; it holds %d", n, r.held(waits))
		}
		r.restart()
		r.sleep(2 * time.Second)
		begun.register()
		waits.register()
		if n := waits.handed(asking(want(0, "*", 2, 1024))); n != 0 {
			t.Errorf("%d executors begin alone", n)
		}
		r.sleep(2 * time.Minute)
		if n := waits.handed(&wire.AllocateRequestProto{}); n != 0 || r.held(waits) != 1 {
			t.Errorf("%d executors begin alone; it holds %d", n, r.held(waits))
		}
		waits.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(waits.container).finish(waits.container, 0, "")
		r.sleep(time.Second)
		if n := begun.handed(asking(want(0, "*", 3, 1024))); n != 2 {
			t.Errorf("%d more executors come, and there is room for two", n)
		}
	})
}
