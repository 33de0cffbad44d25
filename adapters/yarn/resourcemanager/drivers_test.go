package resourcemanager

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// What an application's pages say is shown in its job while it runs and after its end; another run begins anew. A
// submission that names itself is found by that.
func TestDrivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 64, 64*1024)
		spark := func(name string) func(*wire.ApplicationSubmissionContextProto) {
			return func(x *wire.ApplicationSubmissionContextProto) {
				x.ApplicationType = proto.String("SPARK")
				x.AmContainerSpec.Environment = append(x.AmContainerSpec.Environment, &wire.StringStringMapProto{Key: proto.String(SubmissionVariable), Value: proto.String(name)})
			}
		}
		i, odd, other := r.submit(spark("s1")), r.submit(spark("not a name")), r.submit(nil)
		job := func() *v1.Job {
			t.Helper()
			synctest.Wait()
			j, err := r.broker.GetJob(context.Background(), api.Caller{User: "ann"}, r.m.find(i).job)
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		if n := len(r.m.Drivers("spark")); n != 0 {
			t.Errorf("%d drivers before one has registered", n)
		}
		// It took 2 s to come up, and is asked when its executors have had three times as long.
		x := r.master(i)
		r.sleep(2 * time.Second)
		x.register()
		r.master(other).register()
		r.sleep(9 * time.Second)
		if n := len(r.m.Drivers("spark")); n != 0 {
			t.Errorf("%d drivers before one has an executor", n)
		}
		executor := func(wait time.Duration) {
			t.Helper()
			if n := len(x.allocate(asking(want(1, "*", 1, 1024))).AllocatedContainers); n != 1 {
				t.Fatalf("%d executors", n)
			}
			r.sleep(wait - time.Millisecond)
			if n := len(r.m.Drivers("spark")); n != 0 {
				t.Errorf("%d drivers while their executors start", n)
			}
			r.sleep(2 * time.Millisecond)
		}
		executor(6 * time.Second)
		list := r.m.Drivers("spark")
		if len(list) != 1 || list[0] != (Driver{Attempt: r.m.find(i).current().id, User: "ann", URL: "http://h1:4001"}) {
			t.Fatalf("%+v", list)
		}
		if j := job(); j.Labels[SubmissionLabel] != "s1" || len(j.Progress) != 1 || j.Progress[0].Name != "application" {
			t.Errorf("%v", j)
		}
		if j, err := r.broker.GetJob(context.Background(), api.Caller{User: "ann"}, r.m.find(odd).job); err != nil || len(j.Labels) != 0 {
			t.Errorf("a name that is none: %v, %v", j, err)
		}
		stages, counters := []*v1.Progress{{Name: "stages", Total: 2, Done: 1}}, []*v1.Counter{{Group: "g", Name: "NODE", Value: 7}}
		r.m.Tell(list[0].Attempt, stages, counters)
		x.allocate(&wire.AllocateRequestProto{Progress: proto.Float32(0.5)})
		if j := job(); len(j.Progress) != 1 || j.Progress[0].Done != 1 || len(j.Counters) != 1 || j.Counters[0].Value != 7 {
			t.Errorf("%v", j)
		}

		// The driver dies; what is said of it late is not taken for the next one's.
		r.where(x.container).finish(x.container, 1, "")
		r.sleep(2 * time.Second)
		r.m.Tell(list[0].Attempt, []*v1.Progress{{Name: "late"}}, nil)
		x = r.master(i)
		r.sleep(30 * time.Second)
		x.register()
		executor(slowStart)
		if j := job(); len(j.Counters) != 0 || j.Progress[0].Name != "application" {
			t.Errorf("%v", j)
		}
		second := r.m.Drivers("SPARK")
		if len(second) != 1 || second[0].Attempt.Number != 2 {
			t.Fatalf("%+v", second)
		}
		counters[0].Value = 8
		r.m.Tell(second[0].Attempt, stages, counters)
		x.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		if n := len(r.m.Drivers("spark")); n != 0 {
			t.Errorf("%d drivers after the last has said that it is done", n)
		}
		r.where(x.container).finish(x.container, 0, "")
		r.sleep(time.Second)
		r.m.Tell(second[0].Attempt, []*v1.Progress{{Name: "late"}}, nil)
		if j := job(); j.FinishedUnixNanos == 0 || j.Counters[0].Value != 8 || j.Progress[0].Name != "stages" || j.Labels[SubmissionLabel] != "s1" {
			t.Errorf("%v", j)
		}
		// One that gets no executors is asked all the same.
		r.master(odd).register()
		r.sleep(slowStart - time.Millisecond)
		if n := len(r.m.Drivers("spark")); n != 0 {
			t.Errorf("%d drivers while executors may come", n)
		}
		r.sleep(2 * time.Millisecond)
		if list := r.m.Drivers("spark"); len(list) != 1 || list[0].Attempt.Application != odd {
			t.Errorf("%+v", list)
		}
		r.restart()
		if j, err := r.broker.GetJob(context.Background(), api.Caller{User: "ann"}, r.m.find(i).job); err != nil || j.Counters[0].Value != 8 || j.Labels[SubmissionLabel] != "s1" {
			t.Errorf("after a restart: %v, %v", j, err)
		}
	})
}
