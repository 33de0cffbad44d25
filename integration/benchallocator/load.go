package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"fairway/broker/allocator"
	"fairway/broker/resource"
)

const (
	jobs       = 1000
	shapeCount = 32
	perRack    = 40
	batchSize  = 64
	duration   = int64(60e9) // of a task, on average, in the machine's time
)

// load is the cluster and its frameworks, as far as the benchmark must know them.
type load struct {
	m       *allocator.Machine
	rng     *rand.Rand
	agents  int
	now     int64
	step    int64 // machine time between batches
	shapes  [shapeCount]resource.Vector
	jobs    []job
	running []task
	offered []allocator.Action // not yet answered, oldest first
	batch   []allocator.Event
	asks    []allocator.Request // one for each event of a batch
	placed  int
	local   int
	wishes  int
	asked   int64         // memory of the tasks that run or are asked for
	full    int64         // what asked is kept at
	spent   time.Duration // cpu time of this thread that Step and Ready took

	// Of the framework that asks for groups.
	version uint64
	newest  allocator.OfferID
}

type job struct {
	shapes [2]int
	groups []ask   // by group id - 1
	idle   []int32 // groups of which nothing is outstanding
	newest allocator.OfferID
}

type ask struct {
	version uint64
	shape   int
	wishes  bool
}

type task struct {
	agent allocator.AgentID
	fw    allocator.FrameworkID
	shape int32
}

// newLoad makes a cluster of empty agents, the roles and the jobs.
func newLoad(agents int) *load {
	l := &load{
		m:   allocator.New(allocator.Config{NodeWait: 3e9, RackWait: 1e9, OfferTimeout: 300e9}),
		rng: rand.New(rand.NewPCG(1, uint64(agents))), agents: agents,
		asks: make([]allocator.Request, batchSize),
	}
	for i := range l.asks {
		l.asks[i].Hosts = make([]allocator.HostCount, 3)
	}
	for i := range l.shapes {
		l.shapes[i][resource.CPU] = int64(1+i%4) * 400
		l.shapes[i][resource.Memory] = int64(1+i/4) << 30
		l.shapes[i][resource.Disk] = int64(1+i%3) << 30
	}
	var events []allocator.Event
	none := resource.None()
	id := allocator.RoleID(0)
	role := func(parent allocator.RoleID) allocator.RoleID {
		id++
		events = append(events, allocator.Event{Kind: allocator.RoleSet, Role: id, Parent: parent, Weight: int64(1+id%4) * 1000, Limit: none})
		return id
	}
	var leaves []allocator.RoleID
	for range 4 {
		a := role(0)
		for range 5 {
			b := role(a)
			for range 5 {
				leaves = append(leaves, role(b))
			}
		}
	}
	l.jobs = make([]job, jobs)
	for i := range l.jobs {
		l.jobs[i].shapes = [2]int{l.rng.IntN(shapeCount), l.rng.IntN(shapeCount)}
		events = append(events, allocator.Event{Kind: allocator.FrameworkAdd, Framework: allocator.FrameworkID(i), Role: leaves[i%len(leaves)]})
	}
	for i := range agents {
		var total resource.Vector
		total[resource.CPU], total[resource.Memory], total[resource.Disk] = 32000, 128<<30, 1<<40
		events = append(events, allocator.Event{
			Kind: allocator.AgentAdd, Agent: allocator.AgentID(i), Host: allocator.HostID(i + 1), Rack: allocator.RackID(i/perRack + 1), Resources: total,
		})
	}
	l.do(events)
	return l
}

// do steps the machine and takes its offers.
func (l *load) do(events []allocator.Event) {
	start := threadCPU()
	refused := l.m.Step(l.now, events)
	b := l.m.Ready()
	l.spent += threadCPU() - start
	if len(refused) > 0 {
		panic(fmt.Sprintf("event %d: %v", refused[0].Index, refused[0].Err))
	}
	for i := range b.Actions {
		a := &b.Actions[i]
		if a.Kind != allocator.MakeOffer {
			panic("an offer was taken back")
		}
		l.offered = append(l.offered, *a)
	}
}

// request adds an event that asks for one task of some job.
func (l *load) request() {
	f := l.rng.IntN(jobs)
	j := &l.jobs[f]
	if len(j.idle) == 0 {
		j.groups = append(j.groups, ask{shape: j.shapes[len(j.groups)%2]})
		j.idle = append(j.idle, int32(len(j.groups)-1))
	}
	g := j.idle[len(j.idle)-1]
	j.idle = j.idle[:len(j.idle)-1]
	q := &j.groups[g]
	q.version++
	l.asked += l.shapes[q.shape][resource.Memory]
	r := &l.asks[len(l.batch)]
	hosts := r.Hosts[:3]
	*r = allocator.Request{Group: allocator.GroupID(g + 1), Version: q.version, LastOffer: j.newest, Shape: l.shapes[q.shape], Total: 1}
	q.wishes = l.rng.IntN(2) == 0
	if q.wishes {
		// As HDFS places blocks: one host anywhere, two in another rack.
		a, b := l.rng.IntN(l.agents), l.rng.IntN(l.agents)
		c := min(b-b%perRack+(b+1+l.rng.IntN(perRack-1))%perRack, l.agents-1)
		for i, h := range [3]int{a, b, c} {
			hosts[i] = allocator.HostCount{Host: allocator.HostID(h + 1), Rack: allocator.RackID(h/perRack + 1), Count: 1}
		}
		r.Hosts = hosts
	} else {
		r.Hosts = hosts[:0]
	}
	l.batch = append(l.batch, allocator.Event{Kind: allocator.RequestSet, Framework: allocator.FrameworkID(f), Request: r})
}

// accept adds an event that takes the oldest open offer.
func (l *load) accept(a *allocator.Action) {
	l.batch = append(l.batch, allocator.Event{Kind: allocator.Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count})
	j := &l.jobs[a.Framework]
	j.newest = a.Offer
	q := &j.groups[a.Group-1]
	j.idle = append(j.idle, int32(a.Group-1))
	l.running = append(l.running, task{a.Agent, a.Framework, int32(q.shape)})
	l.placed++
	if q.wishes {
		l.wishes++
		if a.Locality == allocator.Node {
			l.local++
		}
	}
}

// end adds an event that ends a task at random.
func (l *load) end() {
	i := l.rng.IntN(len(l.running))
	t := l.running[i]
	last := len(l.running) - 1
	l.running[i] = l.running[last]
	l.running = l.running[:last]
	l.asked -= l.shapes[t.shape][resource.Memory]
	l.batch = append(l.batch, allocator.Event{Kind: allocator.TaskEnd, Agent: t.agent, Framework: t.fw, Resources: l.shapes[t.shape]})
}

func (l *load) flush() {
	if len(l.batch) == 0 {
		return
	}
	l.now += l.step
	l.do(l.batch)
	l.batch = l.batch[:0]
}

// answer accepts open offers, oldest first, while the batch has room.
func (l *load) answer() {
	n := min(len(l.offered), batchSize-len(l.batch))
	for i := range n {
		l.accept(&l.offered[i])
	}
	l.offered = l.offered[:copy(l.offered, l.offered[n:])]
}

// fill starts tasks until the cluster is 95 % full of its scarcest kind, memory.
func (l *load) fill() {
	l.step = 1e6
	l.full = int64(l.agents) * (128 << 30) / 100 * 95
	for l.asked < l.full {
		for len(l.batch) < batchSize-1 && l.asked < l.full {
			l.request()
		}
		for l.flush(); len(l.offered) > 0; l.flush() {
			l.answer()
		}
	}
	l.step = duration * batchSize / 3 / int64(len(l.running))
}

// saturate asks for more than there is: a standing backlog of about three tasks for each agent.
func (l *load) saturate() {
	var sum int64
	for _, s := range l.shapes {
		sum += s[resource.Memory]
	}
	l.full = int64(l.agents) * (128<<30 + 3*sum/shapeCount)
	for l.asked < l.full {
		l.answer()
		for len(l.batch) < batchSize && l.asked < l.full {
			l.request()
		}
		l.flush()
	}
}

// churn makes n placements at the level of fill: each has its request, acceptance and end of another task. What runs and
// what is asked for together stay at what fill or saturate made them.
func (l *load) churn(n int) {
	for goal := l.placed + n; l.placed < goal; l.flush() {
		l.answer()
		for len(l.batch) < batchSize {
			if l.asked >= l.full {
				l.end()
			} else {
				l.request()
			}
		}
	}
}
