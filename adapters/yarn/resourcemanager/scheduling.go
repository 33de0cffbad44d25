package resourcemanager

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/resourcemanager/record"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// SchedulingRequests. Each becomes a group of the broker that wants one container at a time, from the hosts where its
// constraint holds now: few are named as the only ones wanted, of many the others are excluded. What is placed or ends
// changes that, and the group is stated again; an offer that crossed such a change is checked against the tags once more
// and declined if it came too late.

const (
	// maxScheduling bounds the scheduling requests of one attempt that are open, maxTagged the containers that they may
	// bring, with those that live.
	maxScheduling = 1000
	maxTagged     = 10_000
	maxTagBytes   = 256 << 10 // they are part of the application's saved state
	// schedulingTries is how many calls of its master may pass a request by: YARN's
	// yarn.resourcemanager.placement-constraints.retry-attempts.
	schedulingTries = 3
	// schedulingPace is how far apart calls are that count as such: YARN tries at each call, and the broker meanwhile.
	schedulingPace = 500 * time.Millisecond
	// crossPause is how long an agent is not offered to a group again whose constraint does not hold there: until what was
	// placed, or a snapshot that knows the agent, has changed the group.
	crossPause = 100 * time.Millisecond
	// schedulingWindow is how many requests with a constraint the broker knows at once; the oldest come first. They change
	// with each container that is placed.
	schedulingWindow = 32
)

// schedulingAsk is a request that was checked.
type schedulingAsk struct {
	request *wire.SchedulingRequestProto
	key     askKey
	tags    []string
	rule    *rule
	count   int64
}

// tagAsk is what a group has of its scheduling request.
type tagAsk struct {
	schedulingAsk
	ruleKey string
	tries   int
	tried   time.Time // the last of them
	moved   bool      // something was granted since
	could   bool      // it had a place then

	// Where it may go, as it was stated last.
	total    uint32
	hosts    []string // the only ones wanted; nil: any that is not excluded
	excluded []string // agents
}

// checkScheduling holds the scheduling requests of a call against what a master may ask.
func (a *application) checkScheduling(t *attempt, all []*wire.SchedulingRequestProto) ([]schedulingAsk, error) {
	if len(all) == 0 {
		return nil, nil
	}
	if len(all)+len(t.asks.tagged) > maxScheduling {
		return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid scheduling request, more than %d are open", maxScheduling)
	}
	sum := int64(len(a.census.of))
	for _, g := range t.asks.tagged {
		sum += max(g.any.count, 0)
	}
	var out []schedulingAsk
	for _, q := range all {
		n := int64(q.GetResourceSizing().GetNumAllocations())
		switch {
		case q.GetResourceSizing().GetResources() == nil:
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid scheduling request, it has no resources")
		case n < 0 || n > maxTagged:
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid scheduling request, %d containers", n)
		case q.GetExecutionType().GetExecutionType() == wire.ExecutionTypeProto_OPPORTUNISTIC:
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid scheduling request, only GUARANTEED execution type is supported")
		}
		x := schedulingAsk{request: q, count: n}
		var err error
		if x.tags, err = tagsOf(q.GetAllocationTags(), maxAllocationTags); err != nil {
			return nil, err
		}
		own, err := ruleOf(q.GetPlacementConstraint())
		if err != nil {
			return nil, err
		}
		x.rule = own
		if len(x.tags) == 1 {
			x.rule = both(own, t.rules[x.tags[0]])
		}
		x.key = askKey{priority: q.GetPriority().GetPriority(), requestID: q.GetAllocationRequestId()}
		if x.key.amount, err = a.m.checkAmount(q.GetResourceSizing().GetResources()); err != nil {
			return nil, err
		}
		if sum += n; sum > maxTagged {
			return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid scheduling request, more than %d containers of scheduling requests", maxTagged)
		}
		if n > 0 {
			out = append(out, x)
		}
	}
	if n := a.tagBytes(t, out); n > maxTagBytes {
		return nil, hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid scheduling request, %d bytes of allocation tags; %d are the most", n, maxTagBytes)
	}
	return out, nil
}

// tagBytes is the size of all different sets of tags of containers and requests.
func (a *application) tagBytes(t *attempt, more []schedulingAsk) (n int) {
	seen := map[string]bool{}
	see := func(tags []string) {
		if k := strings.Join(tags, "\x00"); !seen[k] {
			seen[k] = true
			n += len(k) + 4*len(tags)
		}
	}
	for _, c := range a.census.of {
		see(c.tags)
	}
	for _, g := range t.asks.tagged {
		see(g.tag.tags)
	}
	for _, x := range more {
		see(x.tags)
	}
	return n
}

// schedule takes requests over; it tells whether any of them may have a place now. Unlike rows of an ask they are more of
// the same each time.
func (a *application) schedule(t *attempt, all []schedulingAsk, now time.Time) (more bool) {
	if len(t.asks.tagged) == 0 && len(all) == 0 {
		return false
	}
	for _, x := range all {
		a.lastGroup++
		g := &askGroup{
			id: a.lastGroup, key: x.key, label: a.label, any: row{x.count, true}, hosts: map[string]*row{}, racks: map[string]*row{}, since: now, dirty: true,
			tag: &tagAsk{schedulingAsk: x, ruleKey: x.rule.key()},
		}
		t.asks.byID[g.id] = g
		t.asks.tagged = append(t.asks.tagged, g)
	}
	a.ask() // the cluster may have changed since the last call, too
	for _, g := range t.asks.tagged[len(t.asks.tagged)-len(all):] {
		more = more || g.tag.total > 0
	}
	return more
}

// narrowTo is where a rule holds.
type narrowTo struct {
	some     bool
	hosts    []string
	excluded []string
}

// narrow works out where the groups of scheduling requests may go now; what has changed is stated at the next update.
func (a *application) narrow(t *attempt) {
	a.retagged = false
	if len(t.asks.tagged) == 0 {
		return
	}
	s := a.m.cluster()
	found := map[string]*narrowTo{}
	stated := 0
	for _, g := range t.asks.tagged {
		k := g.tag
		total, to := uint32(0), &narrowTo{}
		switch {
		case g.any.count <= 0:
		case k.rule == nil:
			total = uint32(min(g.any.count, maxTagged))
		case stated == schedulingWindow:
		default:
			stated++
			if to = found[k.ruleKey]; to == nil {
				to = a.census.where(k.rule, s, g.label)
				found[k.ruleKey] = to
			}
			if to.some {
				total = 1
			}
		}
		if total != k.total || !slices.Equal(to.hosts, k.hosts) || !slices.Equal(to.excluded, k.excluded) {
			k.total, k.hosts, k.excluded = total, to.hosts, to.excluded
			g.dirty = true
		}
	}
}

// where finds the agents of a partition on which a rule holds. The fewer names say it: hosts to which alone it may go, or
// agents that are excluded.
func (x *tagCensus) where(r *rule, s *snapshot, label string) *narrowTo {
	to := &narrowTo{}
	hosts := map[string]bool{}
	var out []*node
	for _, n := range s.nodes {
		switch {
		case n.Label != label || n.State != wire.NodeStateProto_NS_RUNNING:
		case r.holds(x, n.agent, n.Rack):
			to.some, hosts[strings.ToLower(n.host)] = true, true
		default:
			out = append(out, n)
		}
	}
	few := len(hosts) < len(out)
	for _, n := range out {
		if !few || hosts[strings.ToLower(n.host)] {
			to.excluded = append(to.excluded, n.agent)
		}
	}
	if few {
		to.hosts = slices.Sorted(maps.Keys(hosts))
	}
	slices.Sort(to.excluded)
	return to
}

// restrict puts into a group's request where it may go.
func (k *tagAsk) restrict(r *v1.RequestGroup) {
	r.Total = k.total
	if k.total == 0 {
		return
	}
	if len(k.excluded) > 0 {
		r.ExcludedAgents = append(slices.Clone(r.ExcludedAgents), k.excluded...) // other groups share the list
	}
	for _, h := range k.hosts {
		r.Strict = true
		r.Hosts = append(r.Hosts, &v1.HostWant{Host: h, Count: 1})
	}
}

// fits tells whether an offer still suits the tags that are placed by now.
func (a *application) fits(g *askGroup, o *v1.Offer) bool {
	if g == nil || g.tag == nil || g.tag.rule.holds(&a.census, o.AgentId, rackName(o.Rack)) {
		return true
	}
	a.retagged, g.dirty = true, true
	return false
}

// recount follows a container that came (sign 1) or went in the counts of tags.
func (a *application) recount(c *container, sign int64) {
	if len(c.tags) == 0 {
		return
	}
	if sign > 0 {
		a.census.add(c.task, c.agent, c.rack, c.tags)
	} else {
		a.census.remove(c.task)
	}
	a.retagged = true
}

// followTags states requests again after tags were placed or went.
func (a *application) followTags() {
	if t := a.current(); a.retagged && t != nil && t.asks != nil && len(t.asks.tagged) > 0 && !a.closing && a.framework != "" && !a.restoring {
		a.ask()
	}
	a.retagged = false
}

// bear gives a container what its scheduling request says; the next one is asked for where the constraint holds then.
func (a *application) bear(g *askGroup, c *container) {
	if g.tag != nil {
		c.tags, g.tag.moved = g.tag.tags, true
		g.dirty, a.retagged = true, true
	}
}

// rejected are the requests that calls enough have passed by, at the end of one; and requests that have got all are
// forgotten.
func (a *application) rejected(t *attempt, now time.Time) (out []*wire.RejectedSchedulingRequestProto) {
	if len(t.asks.tagged) == 0 {
		return nil
	}
	if a.retagged {
		a.ask()
	}
	undelivered := a.undelivered(t)
	stated := 0
	t.asks.tagged = slices.DeleteFunc(t.asks.tagged, func(g *askGroup) bool {
		k := g.tag
		if g.any.count > 0 {
			switch {
			case k.rule == nil:
			case stated == schedulingWindow:
				return false // its turn has not come
			default:
				stated++
			}
			could := k.total > 0
			if k.moved || could && !k.could {
				k.moved, k.could, k.tries, k.tried = false, could, 0, now
				return false
			}
			if k.could = could; now.Sub(k.tried) < schedulingPace {
				return false
			}
			if k.tries, k.tried = k.tries+1, now; k.tries < schedulingTries {
				return false
			}
			why := wire.RejectionReasonProto_RRP_COULD_NOT_PLACE_ON_NODE
			if could {
				why = wire.RejectionReasonProto_RRP_COULD_NOT_SCHEDULE_ON_NODE
			}
			q := proto.Clone(k.request).(*wire.SchedulingRequestProto)
			q.ResourceSizing.NumAllocations = proto.Int32(int32(g.any.count))
			out = append(out, &wire.RejectedSchedulingRequestProto{Reason: why.Enum(), Request: q})
			g.any.count = 0
		}
		if waiting(undelivered, g.id, anywhere) > 0 {
			return false // one of them may yet come to nothing
		}
		g.dirty, a.retagged = true, true
		return true
	})
	if a.retagged {
		a.ask() // that they are over, and the next ones
	}
	return out
}

// tagRecords is what is kept of the tags of live containers.
func (a *application) tagRecords() (out []*record.Tagged) {
	sets := map[string]*record.Tagged{}
	for _, task := range slices.Sorted(maps.Keys(a.census.of)) {
		tags := a.census.of[task].tags
		k := strings.Join(tags, "\x00")
		r := sets[k]
		if r == nil {
			r = &record.Tagged{Tags: tags}
			sets[k], out = r, append(out, r)
		}
		r.Sequences = append(r.Sequences, task)
		requestID := int64(-1)
		if c := a.containers[task]; c != nil {
			requestID = c.requestID
		}
		r.RequestIds = append(r.RequestIds, requestID)
	}
	return out
}

// recall gives a container that was found again its tags.
func (a *application) recall(c *container) {
	for _, r := range a.wasTagged {
		if i, found := slices.BinarySearch(r.Sequences, c.task); found && i < len(r.RequestIds) {
			c.tags, c.requestID = r.Tags, r.RequestIds[i]
		}
	}
}
