package resourcemanager

import (
	"testing"
	"testing/synctest"
	"time"

	"fairway/adapters/yarn/wire"
)

// A snapshot is taken when something changes, and when a node's time is over; at no other time.
func TestNothingPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 8192)
		h2 := r.agent("h2", "/r1", 8, 8192)
		state := func(host string) wire.NodeStateProto {
			for _, n := range r.m.Nodes() {
				if n.ID.Host == host {
					return n.State
				}
			}
			return 0
		}
		quiet := r.m.cluster()
		r.sleep(3 * time.Hour)
		if r.m.cluster() != quiet {
			t.Error("a snapshot of a cluster in which nothing has changed")
		}
		if heard := r.m.Nodes()[0].Heard; !heard.Equal(time.Now()) {
			t.Errorf("an agent that is there was heard of at %v", heard)
		}
		r.appear("", "h3", "/r1", 8, 8192) // no time passes
		if state("h3") != wire.NodeStateProto_NS_RUNNING {
			t.Error("an agent that has come is not known at once")
		}
		// It is cut off: the expiry runs from when it was heard last.
		r.sleep(time.Minute)
		h2.disconnect()
		r.sleep(r.m.o.NodeExpiry - 6*time.Second) // it beats every 5 s
		if state("h2") != wire.NodeStateProto_NS_RUNNING {
			t.Error("lost too early")
		}
		r.sleep(12 * time.Second)
		if state("h2") != wire.NodeStateProto_NS_LOST {
			t.Error("not lost after the expiry")
		}
		h2.connect()
		r.sleep(lookPace)
		if state("h2") != wire.NodeStateProto_NS_RUNNING {
			t.Error("back, and not known")
		}
		quiet = r.m.cluster()
		r.sleep(3 * time.Hour)
		if r.m.cluster() != quiet {
			t.Error("a snapshot of a cluster that is quiet again")
		}
		// What an application takes shows, and so does what it gives back.
		i := r.submit(nil)
		r.sleep(lookPace)
		if used := r.m.cluster().used.memory; used != 2048 { // in steps of 1 GiB
			t.Errorf("%d MiB are used", used)
		}
		am := r.master(i)
		am.register()
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(am.container).finish(am.container, 0, "")
		r.sleep(lookPace)
		if used := r.m.cluster().used.memory; used != 0 {
			t.Errorf("%d MiB are used by nobody", used)
		}
	})
}
