package resourcemanager

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

// scheduling is a request for n containers with tags.
func scheduling(requestID int64, n int32, rule *wire.PlacementConstraintProto, tags ...string) *wire.SchedulingRequestProto {
	return &wire.SchedulingRequestProto{
		AllocationRequestId: proto.Int64(requestID), Priority: &wire.PriorityProto{Priority: proto.Int32(3)}, AllocationTags: tags, PlacementConstraint: rule,
		ResourceSizing: &wire.ResourceSizingProto{NumAllocations: proto.Int32(n), Resources: token.Resource(1024, 1)},
	}
}

func requesting(all ...*wire.SchedulingRequestProto) *wire.AllocateRequestProto {
	return &wire.AllocateRequestProto{SchedulingRequests: all}
}

// placed is what a master has heard of its scheduling requests.
type placed struct {
	on       map[string]string // host by container
	by       map[int64][]string
	rejected []*wire.RejectedSchedulingRequestProto
}

// settle calls until n containers have come and requests are settled, and no longer than 12 s.
func (x *fakeMaster) settle(p *placed, q *wire.AllocateRequestProto, n int) {
	x.r.t.Helper()
	if p.on == nil {
		p.on, p.by = map[string]string{}, map[int64][]string{}
	}
	for i := range 12 {
		a := x.allocate(q)
		q = &wire.AllocateRequestProto{}
		for _, c := range a.AllocatedContainers {
			p.on[containerName(c)] = c.GetNodeId().GetHost()
			p.by[c.GetAllocationRequestId()] = append(p.by[c.GetAllocationRequestId()], c.GetNodeId().GetHost())
		}
		p.rejected = append(p.rejected, a.RejectedSchedulingRequests...)
		if len(p.on) >= n && i > 3 {
			return
		}
		x.r.sleep(time.Second)
	}
}

// registerWith registers constraints by tag.
func (x *fakeMaster) registerWith(rules map[string]*wire.PlacementConstraintProto) error {
	q := &wire.RegisterApplicationMasterRequestProto{Host: proto.String("h1"), RpcPort: proto.Int32(4000)}
	for tag, rule := range rules {
		q.PlacementConstraints = append(q.PlacementConstraints, &wire.PlacementConstraintMapEntryProto{AllocationTags: []string{tag}, PlacementConstraint: rule})
	}
	_, err := x.r.m.registerMaster(context.Background(), x.caller, q)
	synctest.Wait()
	x.response = 0
	return err
}

func spread(t *testing.T, f func(r *rig, am *fakeMaster, i id.ApplicationID)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for n := range 4 {
			r.agent(fmt.Sprintf("h%d", n+1), fmt.Sprintf("/r%d", n/2+1), 16, 64<<10)
		}
		i := r.submit(nil)
		f(r, r.master(i), i)
	})
}

func inOrder(all []string) string {
	all = slices.Clone(all)
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestAntiAffinity(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		am.register()
		var p placed
		am.settle(&p, requesting(scheduling(7, 4, apart("node", "db"), "db")), 4)
		if inOrder(p.by[7]) != "h1 h2 h3 h4" || len(p.rejected) > 0 {
			t.Errorf("apart: %v, %v", p.by, p.rejected)
		}
		// There is no place for a fifth, until one of them ends.
		am.settle(&p, requesting(scheduling(8, 2, apart("node", "db"), "db")), 99)
		if len(p.by[8]) > 0 || len(p.rejected) != 1 || p.rejected[0].GetReason() != wire.RejectionReasonProto_RRP_COULD_NOT_PLACE_ON_NODE ||
			p.rejected[0].GetRequest().GetAllocationRequestId() != 8 || p.rejected[0].GetRequest().GetResourceSizing().GetNumAllocations() != 2 {
			t.Errorf("a fifth: %v, %v", p.by, p.rejected)
		}
		am.allocate(requesting(scheduling(9, 1, apart("node", "db"), "db")))
		for name, host := range p.on {
			if host == "h3" {
				r.where(name).finish(name, 0, "")
			}
		}
		am.settle(&p, &wire.AllocateRequestProto{}, 5)
		if inOrder(p.by[9]) != "h3" {
			t.Errorf("after one ended on h3: %v", p.by)
		}
	})
}

func TestRackAntiAffinity(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		am.register()
		var p placed
		am.settle(&p, requesting(scheduling(1, 3, apart("rack", "db"), "db")), 99)
		racks := map[string]int{}
		for _, h := range p.by[1] {
			racks[map[string]string{"h1": "/r1", "h2": "/r1", "h3": "/r2", "h4": "/r2"}[h]]++
		}
		if racks["/r1"] != 1 || racks["/r2"] != 1 || len(p.rejected) != 1 || p.rejected[0].GetRequest().GetResourceSizing().GetNumAllocations() != 1 {
			t.Errorf("racks %v, rejected %v", racks, p.rejected)
		}
	})
}

func TestAffinity(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		// The constraint comes with the registration, by the tag.
		if err := am.registerWith(map[string]*wire.PlacementConstraintProto{"web": near("node", "db")}); err != nil {
			t.Fatal(err)
		}
		var p placed
		am.settle(&p, requesting(scheduling(1, 3, nil, "web")), 99)
		if len(p.on) > 0 || len(p.rejected) != 1 || p.rejected[0].GetReason() != wire.RejectionReasonProto_RRP_COULD_NOT_PLACE_ON_NODE {
			t.Errorf("near nothing: %v, %v", p.by, p.rejected)
		}
		p.rejected = nil
		am.settle(&p, requesting(scheduling(2, 1, nil, "db"), scheduling(3, 3, nil, "web")), 4)
		if len(p.by[2]) != 1 || len(p.by[3]) != 3 || len(p.rejected) > 0 {
			t.Fatalf("near db: %v, %v", p.by, p.rejected)
		}
		for _, h := range p.by[3] {
			if h != p.by[2][0] {
				t.Errorf("db is on %v and web on %v", p.by[2], p.by[3])
			}
		}
	})
}

// Containers and their tokens carry tags and request ids; a call that asks is the one that brings them.
func TestTagsOfContainers(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		am.register()
		a := am.allocate(requesting(scheduling(11, 1, apart("node", "b"), "b", "a", "b")))
		if len(a.AllocatedContainers) != 1 {
			t.Fatalf("%d containers in the call", len(a.AllocatedContainers))
		}
		c := a.AllocatedContainers[0]
		tok, err := token.ParseContainer(c.GetContainerToken().GetIdentifier())
		if err != nil || c.GetAllocationRequestId() != 11 || c.GetPriority().GetPriority() != 3 || strings.Join(c.GetAllocationTags(), " ") != "a b" ||
			strings.Join(tok.Tags, " ") != "a b" || tok.AllocationRequestID != 11 {
			t.Errorf("%v, token %v, %v", c, tok, err)
		}
	})
}

// What has room nowhere is told apart from what has no place.
func TestNoRoom(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		am.register()
		big := scheduling(1, 1, apart("node", "db"), "db")
		big.ResourceSizing.Resources = token.Resource(60<<10, 16)
		all := []*wire.SchedulingRequestProto{}
		for n := range int64(5) {
			x := proto.Clone(big).(*wire.SchedulingRequestProto)
			x.AllocationRequestId = proto.Int64(n)
			x.AllocationTags, x.PlacementConstraint = []string{fmt.Sprint("t", n)}, apart("node", fmt.Sprint("t", n))
			all = append(all, x)
		}
		var p placed
		am.settle(&p, requesting(all...), 99)
		// The master has room of one agent's, so three have a place.
		if len(p.on) != 3 || len(p.rejected) != 2 {
			t.Fatalf("%v, rejected %v", p.by, p.rejected)
		}
		for _, x := range p.rejected {
			if x.GetReason() != wire.RejectionReasonProto_RRP_COULD_NOT_SCHEDULE_ON_NODE {
				t.Errorf("rejected %v", x)
			}
		}
	})
}

func TestSchedulingRefused(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		bad := apart("node", "a")
		bad.SimpleConstraint.Scope = proto.String("cluster")
		if err := am.registerWith(map[string]*wire.PlacementConstraintProto{"a": bad}); class(err) != hadooprpc.YarnException {
			t.Errorf("a registration with a bad constraint: %v", err)
		}
		am.register()
		opportunistic := scheduling(1, 1, nil, "a")
		opportunistic.ExecutionType = &wire.ExecutionTypeRequestProto{ExecutionType: wire.ExecutionTypeProto_OPPORTUNISTIC.Enum()}
		shapeless := scheduling(1, 1, nil, "a")
		shapeless.ResourceSizing.Resources = nil
		large := scheduling(1, 1, nil, "a")
		large.ResourceSizing.Resources = token.Resource(1<<30, 1)
		long := []*wire.SchedulingRequestProto{}
		for n := range maxScheduling {
			tags := []string{}
			for k := range maxAllocationTags {
				tags = append(tags, fmt.Sprintf("%s%d.%d", strings.Repeat("t", 200), n, k))
			}
			long = append(long, scheduling(1, 1, nil, tags...))
		}
		for name, c := range map[string]struct {
			q     *wire.AllocateRequestProto
			class string
		}{
			"constraint":    {requesting(scheduling(1, 1, bad, "a")), hadooprpc.YarnException},
			"tags":          {requesting(scheduling(1, 1, nil, make([]string, maxAllocationTags+1)...)), hadooprpc.YarnException},
			"negative":      {requesting(scheduling(1, -1, nil, "a")), hadooprpc.InvalidResourceRequest},
			"many":          {requesting(scheduling(1, maxTagged, nil, "a"), scheduling(2, 1, nil, "a")), hadooprpc.InvalidResourceRequest},
			"opportunistic": {requesting(opportunistic), hadooprpc.InvalidResourceRequest},
			"shapeless":     {requesting(shapeless), hadooprpc.InvalidResourceRequest},
			"large":         {requesting(large), hadooprpc.InvalidResourceRequest},
			"requests":      {requesting(append(slices.Clone(long), long[0])...), hadooprpc.InvalidResourceRequest},
			"bytes of tags": {requesting(long...), hadooprpc.InvalidResourceRequest},
		} {
			if _, err := am.call(c.q); class(err) != c.class {
				t.Errorf("%s: %v", name, err)
			}
		}
		if a := am.allocate(&wire.AllocateRequestProto{}); len(a.AllocatedContainers) > 0 || len(r.grants(i)) != 1 {
			t.Error("something of what was refused was done")
		}
	})
}

// More requests than the broker is told of at once: all are served.
func TestManyRequests(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		am.register()
		var p placed
		for round := range 2 {
			var all []*wire.SchedulingRequestProto
			for n := range int64(schedulingWindow + 8) {
				all = append(all, scheduling(n, 1, simple("node", 0, 30, "a"), "a"))
			}
			all = append(all, scheduling(500, 3, nil)) // neither tags nor a constraint
			q := requesting(all...)
			for range 60 {
				am.settle(&p, q, 99)
				q = &wire.AllocateRequestProto{}
				if len(p.on) >= schedulingWindow+11 {
					break
				}
			}
			if len(p.on) != schedulingWindow+11 || len(p.rejected) > 0 {
				t.Fatalf("round %d: %d containers, rejected %v", round, len(p.on), p.rejected)
			}
			for name := range p.on {
				r.where(name).finish(name, 0, "")
			}
			p = placed{}
		}
	})
}

// After a crash the tags of what lives still count.
func TestTagsSurvive(t *testing.T) {
	spread(t, func(r *rig, am *fakeMaster, i id.ApplicationID) {
		am.register()
		var p placed
		am.settle(&p, requesting(scheduling(1, 3, apart("node", "db"), "db")), 3)
		if len(p.by[1]) != 3 {
			t.Fatal(p.by)
		}
		r.restart()
		r.sleep(5 * time.Second)
		am.register()
		am.settle(&p, requesting(scheduling(2, 1, apart("node", "db"), "db")), 4)
		if inOrder(append(p.by[1], p.by[2]...)) != "h1 h2 h3 h4" {
			t.Errorf("before the crash %v, after it %v, rejected %v", p.by[1], p.by[2], p.rejected)
		}
		a := r.m.find(i)
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, c := range a.containers {
			if !c.isMaster && (c.requestID < 1 || strings.Join(c.tags, "") != "db") {
				t.Errorf("%s has the tags %v and the request %d", c.id, c.tags, c.requestID)
			}
		}
	})
}

// Whatever is asked for, whatever ends and comes back: at each launch its constraint held, and what can have a place gets it.
func TestRandomConstraints(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomConstraints(t, rand.New(rand.NewPCG(seed, 3))) })
		})
	}
}

func randomConstraints(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, nil)
	rackOf := map[string]string{}
	for n := range 5 {
		host := fmt.Sprintf("h%d", n+1)
		rackOf[host] = fmt.Sprintf("/r%d", n%2+1)
		r.agent(host, rackOf[host], 100, 200<<10)
	}
	i := r.submit(nil)
	am := r.master(i)
	am.register()
	rules := map[int64]*rule{}
	tagsOf := map[int64][]string{}
	open := map[int64]int{} // containers that are still to come
	// The model counts in the order of the containers' numbers, which is that of their grants. An end is counted no later
	// than the manager does, as the test ends containers between calls.
	var census tagCensus
	live := map[string]uint64{}
	next := int64(1)
	hear := func(a *wire.AllocateResponseProto) {
		slices.SortFunc(a.AllocatedContainers, func(x, y *wire.ContainerProto) int { return int(x.GetId().GetId() - y.GetId().GetId()) })
		for _, c := range a.AllocatedContainers {
			k, host := c.GetAllocationRequestId(), c.GetNodeId().GetHost()
			if rules[k] != nil && !rules[k].holds(&census, host, rackOf[host]) {
				t.Errorf("%s of request %d went to %s against %s; there are %v", containerName(c), k, host, rules[k].key(), census.agents)
			}
			if open[k]--; open[k] < 0 {
				t.Errorf("request %d got too many", k)
			}
			live[containerName(c)] = uint64(c.GetId().GetId())
			census.add(uint64(c.GetId().GetId()), host, rackOf[host], tagsOf[k])
		}
		for _, x := range a.RejectedSchedulingRequests {
			k := x.GetRequest().GetAllocationRequestId()
			if n := int(x.GetRequest().GetResourceSizing().GetNumAllocations()); n != open[k] {
				t.Errorf("request %d: %d rejected, %d are open", k, n, open[k])
			}
			open[k] = 0
			for host, rack := range rackOf {
				if rules[k].holds(&census, host, rack) {
					t.Errorf("request %d was rejected, and %s suits %s", k, host, rules[k].key())
				}
			}
		}
	}
	for range 40 {
		switch rnd.IntN(6) {
		case 0, 1:
			q := requesting()
			for range 1 + rnd.IntN(3) {
				p := randomRule(rnd, 3)
				if rnd.IntN(5) == 0 {
					p = nil
				}
				k, n := next, 1+rnd.IntN(4)
				next++
				open[k], tagsOf[k] = n, []string{[]string{"x", "y", "z"}[rnd.IntN(3)]}
				rules[k], _ = ruleOf(p)
				q.SchedulingRequests = append(q.SchedulingRequests, scheduling(k, int32(n), p, tagsOf[k]...))
			}
			hear(am.allocate(q))
		case 2, 3:
			hear(am.allocate(&wire.AllocateRequestProto{}))
		case 4:
			// What was granted and not told is heard of first, so that the model counts in the manager's order.
			for before := -1; before != len(live); {
				before = len(live)
				hear(am.allocate(&wire.AllocateRequestProto{}))
			}
			for _, name := range names(live) {
				if rnd.IntN(3) == 0 {
					census.remove(live[name])
					delete(live, name)
					r.where(name).finish(name, 0, "")
					hear(am.allocate(&wire.AllocateRequestProto{}))
				}
			}
		case 5:
			r.sleep(time.Second)
		}
	}
	for range 40 {
		r.sleep(time.Second)
		hear(am.allocate(&wire.AllocateRequestProto{}))
	}
	for k, n := range open {
		if n > 0 {
			t.Errorf("request %d still waits for %d", k, n)
		}
	}
	a := r.m.find(i)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.census.of) != len(census.of) || len(a.current().asks.tagged) > 0 {
		t.Errorf("the manager counts %d, %d live; %d requests are kept", len(a.census.of), len(census.of), len(a.current().asks.tagged))
	}
}

func names(live map[string]uint64) (out []string) {
	for name := range live {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
