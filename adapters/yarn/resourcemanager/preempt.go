package resourcemanager

import (
	"cmp"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/resourcemanager/record"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/spark"
)

// The broker asks an application for resources back when its queue is above its fair share and another waits below. The
// master is told what is wanted, and what would be taken, and may release what it can spare best. When the grace is over,
// containers are ended as YARN ends them, in an order of CapacityScheduler's kind (sparing); the master never.

// parts is amounts by kind, in the broker's units.
type parts map[string]int64

func partsOf(r *v1.Resources) parts {
	p := parts{}
	for name, n := range r.GetNamed() {
		p["named "+name] = n
	}
	p["cpu"], p["memory"], p["disk"], p["gpus"], p["ports"] = r.GetCpuMilli(), r.GetMemoryBytes(), r.GetDiskBytes(), r.GetGpus(), r.GetPorts()
	return p
}

func (p parts) add(q parts) {
	for kind, n := range q {
		p[kind] += n
	}
}

// times is how often a shape fits into the sum of some parts.
func times(shape parts, of ...parts) int64 {
	least := int64(math.MaxInt64)
	for kind, n := range shape {
		if n <= 0 {
			continue
		}
		sum := int64(0)
		for _, p := range of {
			sum += p[kind]
		}
		least = min(least, max(sum, 0)/n)
	}
	return least
}

// reclaim is what the broker wants back. With the application's mu held.
type reclaim struct {
	id     uint64
	asked  int64 // tasks that room was wanted for at first
	count  int64 // and is still
	shape  parts
	each   amount           // the shape in YARN's units
	most   parts            // the kinds that are in it are bounded
	agents map[string]bool  // only there; empty: anywhere
	from   *snapshot        // when it began
	free   map[string]parts // of it, by agents that were looked at
	gone   map[string]parts
	due    time.Time // when the grace is over
	struck bool
	told   *attempt // whose master knows of it as it is
}

// reclaimAsked takes the broker's word.
func (a *application) reclaimAsked(x *v1.Reclaim) {
	r := a.reclaim
	switch {
	case r != nil && r.id == x.Id && x.Count == 0:
		a.reclaim = nil
		return
	case x.Count == 0:
		return
	case r != nil && r.id == x.Id:
		r.count, r.told = int64(x.Count), nil
		return
	}
	now := time.Now()
	r = &reclaim{
		id: x.Id, asked: int64(x.Asked), count: int64(x.Count), shape: partsOf(x.Shape), each: amountOf(x.Shape), most: partsOf(x.Most), agents: map[string]bool{},
		from: a.m.cluster(), free: map[string]parts{}, gone: map[string]parts{}, due: now.Add(min(a.m.o.PreemptionGrace, time.Duration(x.DeadlineNanos))),
	}
	for kind, n := range r.most {
		if n == 0 {
			delete(r.most, kind)
		}
	}
	for _, agent := range x.Agents {
		r.agents[agent] = true
	}
	a.reclaim = r
	a.log.Info("resources are reclaimed from an application", zap.Stringer("application", a.id), zap.Int64("tasks", r.count), zap.Stringer("of", r.each),
		zap.String("why", x.Why))
}

// left notes for a reclaim that a container has ended.
func (r *reclaim) left(c *container) {
	if r == nil || c.isMaster || c.lost {
		return
	}
	if r.gone[c.agent] == nil {
		r.gone[c.agent] = parts{}
	}
	r.gone[c.agent].add(partsOf(c.amount.shape()))
}

// freeOn is what was free on an agent when the reclaim began; nothing of one that was not there.
func (r *reclaim) freeOn(agent string) parts {
	free, known := r.free[agent]
	if known {
		return free
	}
	if n := r.from.byAgent[agent]; n != nil {
		free = n.free()
	}
	r.free[agent] = free
	return free
}

// gain is for how many more tasks some parts of an agent, freed, would make room.
func (r *reclaim) gain(agent string, freed ...parts) int64 {
	free := r.freeOn(agent)
	return times(r.shape, append(freed, free)...) - times(r.shape, free)
}

// eligible tells whether a container may be taken.
func (c *container) eligible() bool {
	return !c.isMaster && c.state != offered && !c.released && !c.killing && !c.lost
}

// victims are the containers that would be taken now, in order, and for how many tasks they make room.
func (a *application) victims() (out []*container, tasks int64) {
	r := a.reclaim
	sum := parts{}                                       // of all that has gone, goes and would go
	going, all := map[string]parts{}, map[string]parts{} // by agent
	put := func(by map[string]parts, agent string, p parts) {
		if by[agent] == nil {
			by[agent] = parts{}
		}
		by[agent].add(p)
	}
	for agent, p := range r.gone {
		put(all, agent, p)
		sum.add(p)
	}
	var candidates []*container
	for _, c := range a.live() {
		switch {
		case c.eligible():
			if len(r.agents) == 0 || r.agents[c.agent] {
				candidates = append(candidates, c)
			}
		case !c.isMaster && (c.released || c.killing) && !c.lost:
			p := partsOf(c.amount.shape())
			put(going, c.agent, p)
			put(all, c.agent, p)
			sum.add(p)
		}
	}
	wanted, still := r.asked, r.count
	for agent, p := range all {
		wanted -= r.gain(agent, p)
	}
	for agent, p := range going {
		still -= r.gain(agent, p)
	}
	wanted = min(wanted, still)
	slices.SortStableFunc(candidates, a.sparing)
	taken := map[*container]bool{}
	for i, c := range candidates {
		if tasks >= wanted {
			break
		}
		if taken[c] {
			continue
		}
		// As many on its agent, in order, as make room for one more.
		bundle, freed := []*container(nil), parts{}
		before := r.gain(c.agent, all[c.agent])
		gained := int64(0)
		for _, o := range candidates[i:] {
			if o.agent != c.agent || taken[o] {
				continue
			}
			p := partsOf(o.amount.shape())
			if !r.within(sum, freed, p) {
				continue
			}
			freed.add(p)
			bundle = append(bundle, o)
			if gained = r.gain(c.agent, all[c.agent], freed) - before; gained > 0 {
				break
			}
		}
		if gained <= 0 {
			continue
		}
		for _, o := range bundle {
			taken[o] = true
		}
		out = append(out, bundle...)
		put(all, c.agent, freed)
		sum.add(freed)
		tasks += gained
	}
	return out, tasks
}

// within tells whether the sum of some parts is not more than may be given back.
func (r *reclaim) within(sum ...parts) bool {
	for kind, most := range r.most {
		n := int64(0)
		for _, p := range sum {
			n += p[kind]
		}
		if n > most {
			return false
		}
	}
	return true
}

// sparing compares containers by who is taken first: those that have not begun, since nothing is lost with them, and then as
// CapacityScheduler's PreemptionCandidatesSelector.sortContainers has it, by the reverse of SchedulerRequestKey and of the id:
// of the lowest priority, which is the highest number; of the newest allocation request; the newest. Begun or not makes no
// difference there, and masters come last, down to what a queue may spend on them; here they are not asked for at all.
// Of the executors of Spark frameworks/spark knows more.
func (a *application) sparing(x, y *container) int {
	if a.kind == sparkType {
		return spark.Sooner(x.executor(), y.executor())
	}
	idle := func(c *container) int {
		switch {
		case c.state == granted:
			return 0 // its master does not know of it
		case !c.running:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(idle(x), idle(y)), cmp.Compare(y.priority, x.priority), cmp.Compare(y.requestID, x.requestID), cmp.Compare(y.task, x.task))
}

// executor is what Spark's policy knows of a container.
func (c *container) executor() spark.Executor {
	return spark.Executor{Known: c.state == delivered, Begun: c.running, Number: c.task}
}

// warn adds to an answer what is reclaimed, once for each time that it changes.
func (a *application) warn(t *attempt, answer *wire.AllocateResponseProto) {
	r := a.reclaim
	if r == nil || r.struck || r.told == t {
		return
	}
	r.told = t
	taken, tasks := a.victims()
	if tasks == 0 {
		return
	}
	x := &wire.PreemptionContractProto{Resource: []*wire.PreemptionResourceRequestProto{{Resource: &wire.ResourceRequestProto{
		Priority: &wire.PriorityProto{Priority: proto.Int32(-1)}, ResourceName: proto.String(anywhere), Capability: r.each.proto(), NumContainers: proto.Int32(int32(min(tasks, math.MaxInt32))),
		RelaxLocality: proto.Bool(true),
	}}}}
	for _, c := range taken {
		if c.state == delivered {
			x.Container = append(x.Container, &wire.PreemptionContainerProto{Id: c.id.Proto()})
		}
	}
	answer.Preempt = &wire.PreemptionMessageProto{Contract: x}
}

// preempt ends what its master has not given back by itself.
func (a *application) preempt() {
	r, t := a.reclaim, a.current()
	r.struck = true
	if t == nil || t.unregistered || a.isFinal() {
		return
	}
	taken, tasks := a.victims()
	again := false
	for _, c := range taken {
		c.killing, c.preempted = true, true
		a.ending++
		if i := slices.Index(t.ready, c); i >= 0 {
			// Its master never hears of it, and still wants one.
			t.ready = slices.Delete(t.ready, i, i+1)
			if g := t.asks.byID[c.group]; g != nil {
				g.restore(c.placed)
				again = true
			}
		}
		a.killTask(c.task, saidPreempted)
	}
	if again {
		a.ask()
	}
	a.m.met.preempted.Add(float64(len(taken)))
	a.log.Info("containers are preempted", zap.Stringer("application", a.id), zap.Int("containers", len(taken)), zap.Int64("tasks", tasks))
	a.signal()
}

// taken counts a container that has ended, if it was for other queues. What was taken at one time is kept once the last of it
// has ended. As YARN does, age in milliseconds times what it has at its end is what it had used.
func (a *application) taken(c *container, exit int32, age int64) {
	if exit == exitPreempted {
		if a.preempted == nil {
			a.preempted = &record.Preempted{}
		}
		x := a.preempted
		if c.isMaster {
			x.Masters++
		} else {
			x.Containers++
		}
		memory, vcores := c.amount.memory, int64(c.amount.vcores)
		x.MemoryMb += memory
		x.Vcores += vcores
		x.MemoryMbMillis += memory * age
		x.VcoreMillis += vcores * age
	}
	if c.preempted {
		if a.ending--; a.ending == 0 && !a.closing {
			a.save(nil)
		}
	}
}

func preemptedOf(x *record.Preempted) Preempted {
	return Preempted{
		Memory: x.GetMemoryMb(), VCores: x.GetVcores(), Containers: int(x.GetContainers()), Masters: int(x.GetMasters()), MemorySecs: x.GetMemoryMbMillis() / 1000,
		VCoreSecs: x.GetVcoreMillis() / 1000,
	}
}
