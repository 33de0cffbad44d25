package resourcemanager

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Masters that are there before the first agent do not fill it.
func TestMastersBeforeAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		var all []id.ApplicationID
		for range 5 {
			all = append(all, r.submit(nil))
		}
		x, err := r.m.ExplainJob(context.Background(), api.Caller{User: "ann"}, r.m.find(all[4]).job)
		if err != nil || x.Summary != "there is no agent in the cluster" || x.HeldBack.GetAhead() != 3 {
			t.Errorf("without an agent: %v, %v", x, err)
		}
		r.agent("h1", "/r1", 64, 32*1024)
		n := 0
		for _, i := range all {
			n += len(r.grants(i))
		}
		if n != 3 || len(r.grants(all[3]))+len(r.grants(all[4])) != 0 {
			t.Errorf("%d masters run on the first agent", n)
		}
	})
}

// A master that waits for its queue's share for masters is explained, in words and amounts, as long as it waits.
func TestExplainHeldMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 64, 32*1024)
		ctx := context.Background()
		explain := func(i id.ApplicationID) *v1.Explanation {
			t.Helper()
			x, err := r.m.ExplainJob(ctx, api.Caller{User: "ann"}, r.m.find(i).job)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		kill := func(i id.ApplicationID) {
			t.Helper()
			if _, err := r.m.forceKillApplication(ctx, as("ann"), &wire.KillApplicationRequestProto{ApplicationId: i.Proto()}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		var all []id.ApplicationID
		for range 6 {
			all = append(all, r.submit(nil))
		}
		r.sleep(7 * time.Second)
		want := &v1.HeldBack{
			By: "masters of queue root.default", Wanted: &v1.Resources{MemoryBytes: 2 << 30, CpuMilli: 1000}, Held: &v1.Resources{MemoryBytes: 6 << 30, CpuMilli: 3000},
			Limit: &v1.Resources{MemoryBytes: 32 << 30 / 5, CpuMilli: 12800}, Ahead: 1, WaitingNanos: int64(7 * time.Second),
		}
		const words = "its master waits: masters of queue root.default hold 6144 MiB and 3 vcores, and may hold 6553 MiB and 12.8 vcores together, " +
			"20 % of the queue's share; it needs 2048 MiB and 1 vcores; 1 master waits before it"
		if x := explain(all[4]); !proto.Equal(x.HeldBack, want) || x.Summary != words {
			t.Errorf("the second that waits: %v", x)
		}
		if x := explain(all[5]); !strings.HasSuffix(x.Summary, "; 2 masters wait before it") {
			t.Errorf("the third: %v", x)
		}
		if x := explain(all[3]); x.HeldBack.GetAhead() != 0 || !strings.HasSuffix(x.Summary, "it needs 2048 MiB and 1 vcores") {
			t.Errorf("the first: %v", x)
		}
		if x := explain(all[2]); x.HeldBack != nil || !strings.Contains(x.Summary, "does not wait") {
			t.Errorf("one that runs: %v", x)
		}

		kill(all[3]) // one that waited is gone
		if x := explain(all[3]); x.HeldBack != nil || !strings.Contains(x.Summary, "has ended") {
			t.Errorf("one that was killed: %v", x)
		}
		kill(all[0]) // one that ran makes room for the next
		if x := explain(all[4]); x.HeldBack != nil || len(r.grants(all[4])) != 1 {
			t.Errorf("its turn has come: %v", x)
		}
		if x := explain(all[5]); x.HeldBack.GetAhead() != 0 || x.HeldBack.GetHeld().GetMemoryBytes() != 6<<30 {
			t.Errorf("the last: %v", x)
		}
		r.agent("h2", "/r1", 64, 32*1024) // the share grows
		if x := explain(all[5]); x.HeldBack != nil || len(r.grants(all[5])) != 1 {
			t.Errorf("with room for it: %v", x)
		}
		if _, err := r.m.ExplainJob(ctx, api.Caller{User: "ann"}, "job-000099"); err == nil {
			t.Error("a job that is not there is explained")
		}
	})
}
