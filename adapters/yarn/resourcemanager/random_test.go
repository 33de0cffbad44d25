package resourcemanager

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

// A master that asks, releases and hears at random, over brokers that are killed, lose their journal, or are slow: it gets
// what it asked for, each container once, hears of each end once, and what it believes to run is what runs.
func TestRandomMaster(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomMaster(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func randomMaster(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, nil)
	hosts := []string{"h1", "h2", "h3"}
	for i, h := range hosts {
		r.agent(h, []string{"/r1", "/r2"}[i%2], 200, 400<<10)
	}
	i := r.submit(nil)
	am := r.master(i)
	am.register()
	wanted := map[string]int32{"*": 0, "h1": 0, "h2": 0, "h3": 0, "/r1": 0, "/r2": 0}
	live, seen, told := map[string]bool{}, map[string]bool{}, map[string]bool{}
	replays := 0
	hear := func(a *wire.AllocateResponseProto) {
		for _, c := range a.AllocatedContainers {
			name := containerName(c)
			if seen[name] {
				t.Errorf("%s was handed over twice", name)
			}
			seen[name], live[name] = true, true
			wanted["*"] = max(wanted["*"]-1, 0)
			if h := c.GetNodeId().GetHost(); wanted[h] > 0 {
				wanted[h]--
			}
		}
		for _, s := range a.CompletedContainerStatuses {
			i, err := id.ContainerFrom(s.ContainerId)
			if err != nil {
				t.Fatal(err)
			}
			if told[i.String()] {
				t.Errorf("the end of %s was told twice", i)
			}
			told[i.String()] = true
			delete(live, i.String())
		}
	}
	rows := func() (out []*wire.ResourceRequestProto) {
		for _, name := range []string{"*", "h1", "h2", "h3", "/r1", "/r2"} {
			out = append(out, want(20, name, wanted[name], 1024))
		}
		return out
	}
	for range 60 {
		switch n := rnd.IntN(20); {
		case n < 6:
			add := rnd.Int32N(8)
			wanted["*"] += add
			h := hosts[rnd.IntN(3)]
			wanted[h] += add
			hear(am.allocate(asking(rows()...)))
		case n < 8:
			wanted["*"] = rnd.Int32N(wanted["*"] + 1)
			hear(am.allocate(asking(rows()...)))
		case n < 12:
			hear(am.allocate(&wire.AllocateRequestProto{}))
		case n < 14:
			q := &wire.AllocateRequestProto{}
			for name := range live {
				i, _ := id.ParseContainer(name)
				q.Release = append(q.Release, i.Proto())
				break
			}
			hear(am.allocate(q))
		case n < 17:
			for _, name := range sorted(live) {
				if a := r.where(name); a != nil && rnd.IntN(3) == 0 && a.task(name).state < 3 {
					a.finish(name, int32(rnd.IntN(2)), "")
				}
			}
		case n < 18:
			r.journal.hold()
			hear(am.allocate(asking(rows()...)))
			if rnd.IntN(2) == 0 {
				r.journal.release()
			} else {
				r.journal.fail()
				r.sleep(time.Second)
				for _, a := range r.agents {
					a.disconnect()
					a.connect()
				}
			}
			synctest.Wait()
		case n < 19:
			// The answer is lost: the same call has the same answer.
			if am.response > 0 {
				old := am.response - 1
				p, err := r.m.allocate(t.Context(), am.caller, &wire.AllocateRequestProto{ResponseId: proto.Int32(old)})
				if err != nil || p.(*wire.AllocateResponseProto).GetResponseId() != am.response {
					t.Errorf("a repeated call: %v", err)
				}
				replays++
			}
		default:
			// That it has read the last answer is known by its next call only: until then an end is told again.
			for quiet := false; !quiet; {
				a := am.allocate(&wire.AllocateRequestProto{})
				quiet = len(a.CompletedContainerStatuses) == 0
				hear(a)
			}
			r.restart()
			am.register()
			hear(am.allocate(asking(rows()...)))
		}
		if rnd.IntN(4) == 0 {
			r.sleep(time.Duration(rnd.IntN(3)) * time.Second)
		}
	}
	hear(am.allocate(asking(rows()...)))
	for range 5 {
		r.sleep(20 * time.Second)
		hear(am.allocate(&wire.AllocateRequestProto{}))
	}
	if wanted["*"] != 0 {
		t.Errorf("%d containers never came", wanted["*"])
	}
	running := map[string]bool{}
	for name := range r.grants(i) {
		if name != am.container {
			running[name] = true
		}
	}
	if got, want := sorted(running), sorted(live); !slices.Equal(got, want) {
		t.Errorf("there run\n%v\nand the master believes\n%v", got, want)
	}
}

func sorted(set map[string]bool) (out []string) {
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
