package resourcemanager

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/broker/core"
)

// contest is a cluster of 12 GiB and 12 vcores on two hosts, with queues big and small of weights 2 and 1, and a master of
// 1 GiB registered in each.
func contest(t *testing.T, change func(*core.Config, *Options)) (r *rig, big, small *fakeMaster) {
	t.Helper()
	r = newRig(t, func(c *core.Config, o *Options) {
		c.Roles = []core.Role{{Path: "big", Weight: 2}, {Path: "small", Weight: 1}}
		if change != nil {
			change(c, o)
		}
	})
	r.agent("h1", "/r1", 6, 6144)
	r.agent("h2", "/r1", 6, 6144)
	return r, r.run("big"), r.run("small")
}

// nothingTaken fails if a master hears of anything that is or would be taken from it, asking every 10 s for so many times.
func (r *rig) nothingTaken(from *fakeMaster, times int) {
	r.t.Helper()
	for range times {
		r.sleep(10 * time.Second)
		if contract, n, ended, _ := from.heard(); len(contract)+int(n)+len(ended) != 0 {
			r.t.Errorf("contract %v, %d tasks, ended %v", contract, n, ended)
		}
	}
}

// run is a registered master in a queue.
func (r *rig) run(queue string, change ...func(*wire.ApplicationSubmissionContextProto)) *fakeMaster {
	r.t.Helper()
	i := r.submit(func(x *wire.ApplicationSubmissionContextProto) {
		x.Queue, x.Resource = proto.String(queue), &wire.ResourceProto{Memory: proto.Int64(1024), VirtualCores: proto.Int32(1)}
		for _, f := range change {
			f(x)
		}
	})
	r.sleep(time.Second)
	am := r.master(i)
	am.register()
	return am
}

// get has a master ask and wait until it has been handed n containers.
func (x *fakeMaster) get(n int, q *wire.AllocateRequestProto) (names []string) {
	x.r.t.Helper()
	for range 5 {
		for _, c := range x.allocate(q).AllocatedContainers {
			names = append(names, containerName(c))
		}
		if len(names) >= n {
			break
		}
		q = &wire.AllocateRequestProto{}
	}
	if len(names) != n {
		x.r.t.Fatalf("%d containers, want %d", len(names), n)
	}
	return names
}

// heard is what a master is told: the contract, its tasks, and which of its containers have ended, with their exit status.
func (x *fakeMaster) heard() (contract []string, tasks int32, ended map[string]int32, got int) {
	x.r.t.Helper()
	a := x.allocate(&wire.AllocateRequestProto{})
	for _, c := range a.GetPreempt().GetContract().GetContainer() {
		i, err := id.ContainerFrom(c.Id)
		if err != nil {
			x.r.t.Fatal(err)
		}
		contract = append(contract, i.String())
	}
	for _, r := range a.GetPreempt().GetContract().GetResource() {
		tasks += r.Resource.GetNumContainers()
	}
	ended = map[string]int32{}
	for _, s := range a.CompletedContainerStatuses {
		i, _ := id.ContainerFrom(s.ContainerId)
		ended[i.String()] = s.GetExitStatus()
		if s.GetExitStatus() == exitPreempted && s.GetDiagnostics() != "Container preempted by scheduler" {
			x.r.t.Errorf("%s: %q", i, s.GetDiagnostics())
		}
	}
	return contract, tasks, ended, len(a.AllocatedContainers)
}

func (x *fakeMaster) release(names ...string) {
	x.r.t.Helper()
	q := &wire.AllocateRequestProto{}
	for _, n := range names {
		i, err := id.ParseContainer(n)
		if err != nil {
			x.r.t.Fatal(err)
		}
		q.Release = append(q.Release, i.Proto())
	}
	x.allocate(q)
}

func (r *rig) held(x *fakeMaster) int {
	i, _ := id.ParseContainer(x.container)
	return len(r.grants(i.Application()))
}

// A master that releases what it can spare keeps the rest: nothing else is taken.
func TestPreemptionHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		names := big.get(10, asking(want(20, "*", 14, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(29 * time.Second)
		if contract, n, _, _ := big.heard(); len(contract) != 0 || n != 0 {
			t.Fatalf("told too early: %v", contract)
		}
		r.sleep(2 * time.Second)
		a := big.allocate(&wire.AllocateRequestProto{})
		c := a.GetPreempt().GetContract()
		if a.GetPreempt().GetStrictContract() != nil || len(c.GetResource()) != 1 || len(c.GetContainer()) != 3 {
			t.Fatalf("%v", a.Preempt)
		}
		if q := c.Resource[0].Resource; q.GetNumContainers() != 3 || q.GetResourceName() != "*" || q.GetCapability().GetMemory() != 1024 || q.GetCapability().GetVirtualCores() != 1 {
			t.Errorf("%v", q)
		}
		for k, x := range c.Container {
			if i, _ := id.ContainerFrom(x.Id); i.String() != names[9-k] {
				t.Errorf("%s is to be taken as number %d, want the newest first: %v", i, k, names)
			}
		}
		if contract, n, _, _ := big.heard(); len(contract)+int(n) != 0 {
			t.Errorf("told again: %v", contract)
		}
		// It gives up others than those of the contract.
		big.release(names[0], names[1], names[2])
		small.get(3, &wire.AllocateRequestProto{})
		for range 10 {
			r.sleep(10 * time.Second)
			contract, n, ended, got := big.heard()
			for name, exit := range ended {
				if exit != exitAborted || !slices.Contains(names[:3], name) {
					t.Errorf("%s ended with %d", name, exit)
				}
			}
			if len(contract)+int(n)+got != 0 {
				t.Errorf("contract %v, %d tasks; %d containers came", contract, n, got)
			}
		}
		if b, s := r.held(big), r.held(small); b != 8 || s != 4 {
			t.Errorf("the shares are %d to %d", b, s)
		}
	})
}

// A master that does not listen loses containers in order: not begun first, then of lowest priority, newest first.
func TestPreemptionIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		low := big.get(2, asking(want(20, "*", 2, 1024)))
		high := big.get(7, asking(want(5, "*", 7, 1024)))
		for _, a := range r.agents {
			a.mu.Lock()
			a.lazy = true
			a.mu.Unlock()
		}
		idle := big.get(1, asking(want(5, "*", 1, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		want := []string{idle[0], low[1], low[0]}
		if contract, n, _, _ := big.heard(); !slices.Equal(contract, want) || n != 3 {
			t.Fatalf("contract %v, %d tasks, want %v of %v %v", contract, n, want, low, high)
		}
		r.sleep(13 * time.Second)
		if _, _, ended, _ := big.heard(); len(ended) != 0 {
			t.Errorf("taken before the grace is over: %v", ended)
		}
		r.sleep(2 * time.Second)
		_, _, ended, _ := big.heard()
		if len(ended) != 3 || ended[want[0]] != exitPreempted || ended[want[1]] != exitPreempted || ended[want[2]] != exitPreempted {
			t.Errorf("%v, want %v", ended, want)
		}
		small.get(3, &wire.AllocateRequestProto{})
		// It wants others instead, and gets none: the shares have met, and nothing more happens.
		big.allocate(asking(wantRows(20, 3)))
		for range 20 {
			r.sleep(10 * time.Second)
			contract, n, ended, got := big.heard()
			if len(contract)+int(n)+len(ended)+got != 0 {
				t.Errorf("contract %v, %d tasks, ended %v, %d came", contract, n, ended, got)
			}
			if contract, n, ended, got := small.heard(); len(contract)+int(n)+len(ended)+got != 0 {
				t.Errorf("the other: contract %v, %d tasks, ended %v, %d came", contract, n, ended, got)
			}
		}
		if b, s := r.held(big), r.held(small); b != 8 || s != 4 {
			t.Errorf("the shares are %d to %d", b, s)
		}
	})
}

func wantRows(priority, n int32) *wire.ResourceRequestProto { return want(priority, "*", n, 1024) }

// Containers that were granted and that the master has not fetched go first, and it never hears of them.
func TestPreemptionOfUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		names := big.get(7, asking(want(20, "*", 7, 1024)))
		r.journal.hold()
		if a := big.allocate(asking(want(20, "*", 3, 1024))); len(a.AllocatedContainers) != 0 {
			t.Fatalf("%v", a)
		}
		r.journal.release()
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(47 * time.Second)
		small.get(3, &wire.AllocateRequestProto{})
		for range 3 {
			contract, n, ended, got := big.heard()
			if len(contract)+int(n)+len(ended)+got != 0 {
				t.Errorf("contract %v, %d tasks, ended %v, %d came", contract, n, ended, got)
			}
			r.sleep(10 * time.Second)
		}
		// What it still wants it gets when there is room.
		i, _ := id.ParseContainer(small.container)
		small.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(small.container).finish(small.container, 0, "")
		r.sleep(5 * time.Second)
		if got := len(r.grants(i.Application())); got != 0 {
			t.Errorf("%d of the other are left", got)
		}
		big.get(3, &wire.AllocateRequestProto{})
		if len(names) != 7 || r.held(big) != 11 {
			t.Errorf("it holds %d", r.held(big))
		}
	})
}

// What waits is larger than each container: several of one host are taken together, and nobody gets in between.
func TestPreemptionForLarger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		big.get(10, asking(want(20, "*", 20, 1024)))
		small.allocate(asking(want(20, "*", 2, 3072)))
		r.sleep(31 * time.Second)
		contract, n, _, _ := big.heard()
		if n != 1 || len(contract) < 2 || len(contract) > 3 {
			t.Fatalf("contract %v, %d tasks", contract, n)
		}
		for _, name := range contract {
			if r.where(name) != r.where(contract[0]) {
				t.Errorf("of several hosts: %v", contract)
			}
		}
		r.sleep(16 * time.Second)
		small.get(1, &wire.AllocateRequestProto{})
		for range 10 {
			r.sleep(10 * time.Second)
			if contract, n, _, got := big.heard(); len(contract)+int(n)+got != 0 {
				t.Errorf("contract %v, %d tasks, %d came", contract, n, got)
			}
		}
	})
}

// What waits is smaller than any container that could be taken without going below the share: nothing is.
func TestPreemptionOfTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		big.get(2, asking(want(20, "*", 9, 5120)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.nothingTaken(big, 12)
	})
}

// Who waits goes before the grace is over: nothing is taken.
func TestPreemptionWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		big.get(10, asking(want(20, "*", 14, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		if contract, _, _, _ := big.heard(); len(contract) != 3 {
			t.Fatalf("%v", contract)
		}
		small.allocate(asking(want(20, "*", 0, 1024)))
		r.nothingTaken(big, 10)
		// Of less, less is taken.
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		small.allocate(asking(want(20, "*", 1, 1024)))
		if contract, n, _, _ := big.heard(); len(contract) != 1 || n != 1 {
			t.Errorf("contract %v, %d tasks", contract, n)
		}
		r.sleep(16 * time.Second)
		if _, _, ended, _ := big.heard(); len(ended) != 1 {
			t.Errorf("%v", ended)
		}
	})
}

func TestPreemptionOff(t *testing.T) {
	for name, change := range map[string]func(*core.Config, *Options){
		"by the broker": func(c *core.Config, _ *Options) { c.ReclaimAfter = -1 },
		"by YARN's own": func(_ *core.Config, o *Options) { o.PreemptionGrace = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, big, small := contest(t, change)
				big.get(10, asking(want(20, "*", 14, 1024)))
				small.allocate(asking(want(20, "*", 9, 1024)))
				r.nothingTaken(big, 12)
			})
		})
	}
}

// A queue whose first master finds no room is one that waits: a container of another gives way to it, and no master does.
func TestPreemptionForMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, _ *Options) {
			c.Roles = []core.Role{{Path: "big", Weight: 2}, {Path: "small", Weight: 1}}
		})
		r.agent("h1", "/r1", 6, 6144)
		big := r.run("big")
		big.get(5, asking(want(20, "*", 14, 1024)))
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) {
			x.Queue, x.Resource = proto.String("small"), &wire.ResourceProto{Memory: proto.Int64(1024), VirtualCores: proto.Int32(1)}
		})
		r.sleep(47 * time.Second)
		small := r.master(i)
		small.register()
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(47 * time.Second)
		small.get(1, &wire.AllocateRequestProto{})
		r.sleep(5 * time.Minute)
		if r.where(big.container) == nil || r.held(big) != 4 || r.held(small) != 2 {
			t.Errorf("%d to %d", r.held(big), r.held(small))
		}
	})
}

// The broker restarts while a master has the grace: it is found again, and nothing is taken twice.
func TestPreemptionOverTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		big.get(10, asking(want(20, "*", 14, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		if contract, _, _, _ := big.heard(); len(contract) != 3 {
			t.Fatalf("%v", contract)
		}
		big.release() // nothing; it is registered as before
		r.restart()
		r.sleep(2 * time.Second)
		big.register()
		small.register()
		big.allocate(asking(want(20, "*", 4, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(20 * time.Second)
		if contract, _, ended, _ := big.heard(); len(contract)+len(ended) != 0 {
			t.Errorf("at once after the restart: %v %v", contract, ended)
		}
		r.sleep(12 * time.Second)
		if contract, n, _, _ := big.heard(); len(contract) != 3 || n != 3 {
			t.Errorf("contract %v, %d tasks", contract, n)
		}
		r.sleep(16 * time.Second)
		if _, _, ended, _ := big.heard(); len(ended) != 3 {
			t.Errorf("%v", ended)
		}
		small.get(3, &wire.AllocateRequestProto{})
		r.sleep(5 * time.Minute)
		if b, s := r.held(big), r.held(small); b != 8 || s != 4 {
			t.Errorf("the shares are %d to %d", b, s)
		}
	})
}

// What was taken is counted as YARN counts it, and stays counted over the broker's restart and the application's end. What the
// master gives back by itself is not.
func TestPreemptedCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		of := func(x *fakeMaster) id.ApplicationID {
			i, _ := id.ParseContainer(x.container)
			return i.Application()
		}
		names := big.get(10, asking(want(20, "*", 14, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		if contract, _, _, _ := big.heard(); len(contract) != 3 {
			t.Fatalf("%v", contract)
		}
		big.release(names[0])
		if x, _ := r.m.Application(of(big)); x.Preempted != (Preempted{}) {
			t.Errorf("before: %+v", x.Preempted)
		}
		r.sleep(16 * time.Second)
		if _, _, ended, _ := big.heard(); len(ended) != 3 || ended[names[0]] != exitAborted {
			t.Fatalf("%v", ended)
		}
		first, _ := r.m.Application(of(big))
		x := first.Preempted
		if x.Memory != 2048 || x.VCores != 2 || x.Containers != 2 || x.Masters != 0 {
			t.Errorf("%+v", x)
		}
		if x.VCoreSecs < 2*45 || x.VCoreSecs > 2*48 || x.MemorySecs/1024 != x.VCoreSecs {
			t.Errorf("%+v", x)
		}
		same := func(when string) {
			t.Helper()
			u := r.report(of(big)).GetAppResource_Usage()
			if u.GetPreemptedMemorySeconds() != x.MemorySecs || u.GetPreemptedVcoreSeconds() != x.VCoreSecs {
				t.Errorf("%s: %v", when, u)
			}
			for k, n := range []int64{x.MemorySecs, x.VCoreSecs} {
				if m := u.GetApplicationPreemptedResourceUsageMap(); len(m) != 2 || m[k].GetValue() != n {
					t.Errorf("%s: %v", when, m)
				}
			}
			if now, _ := r.m.Application(of(big)); now.Preempted != x {
				t.Errorf("%s: %+v, want %+v", when, now.Preempted, x)
			}
		}
		same("taken")
		if y, _ := r.m.Application(of(small)); y.Preempted != (Preempted{}) {
			t.Errorf("the other: %+v", y.Preempted)
		}
		r.restart()
		r.sleep(2 * time.Second)
		same("after a restart")
		big.register()
		big.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(big.container).finish(big.container, 0, "")
		r.sleep(5 * time.Second)
		same("ended")
		r.restart()
		r.sleep(2 * time.Second)
		same("ended, after a restart")
	})
}

// Of containers alike, those of the newest allocation request go first, as with CapacityScheduler.
func TestPreemptionByRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, big, small := contest(t, nil)
		request := func(id int64, n int32) *wire.ResourceRequestProto {
			q := want(20, "*", n, 1024)
			q.AllocationRequestId = proto.Int64(id)
			return q
		}
		second := big.get(2, asking(request(2, 2)))
		first := big.get(8, asking(request(1, 8)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		want := []string{second[1], second[0], first[7]}
		if contract, _, _, _ := big.heard(); !slices.Equal(contract, want) {
			t.Errorf("contract %v, want %v", contract, want)
		}
	})
}

// Of an application of Spark the newest executors go, whatever their priority, which is the number of their profile.
func TestPreemptionOfExecutors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, _ *Options) {
			c.Roles = []core.Role{{Path: "big", Weight: 2}, {Path: "small", Weight: 1}}
		})
		r.agent("h1", "/r1", 6, 6144)
		r.agent("h2", "/r1", 6, 6144)
		big, small := r.run("big", wishing()), r.run("small")
		big.get(7, asking(want(1, "*", 7, 1024)))
		newest := big.get(3, asking(want(0, "*", 3, 1024)))
		small.allocate(asking(want(20, "*", 9, 1024)))
		r.sleep(31 * time.Second)
		wanted := []string{newest[2], newest[1], newest[0]}
		if contract, n, _, _ := big.heard(); !slices.Equal(contract, wanted) || n != 3 {
			t.Fatalf("contract %v, %d tasks, want %v", contract, n, wanted)
		}
		r.sleep(16 * time.Second)
		_, _, ended, _ := big.heard()
		for _, name := range wanted {
			if ended[name] != exitPreempted {
				t.Errorf("%s has not ended so: %v", name, ended)
			}
		}
	})
}
