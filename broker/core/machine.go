package core

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"fairway/broker/allocator"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core/launcher"
	"fairway/broker/resource"
	"fairway/broker/state"
	"fairway/broker/topology"
)

// machine is what the owner owns. Its methods run on one goroutine, never block, and change the durable half through
// fact and the allocator through event only; what the outside hears goes through act and is released by commit.
type machine struct {
	cfg      Config
	clock    Clock
	version  string
	log      *zap.Logger
	met      *metrics
	journal  Journal
	launcher *launcher.Launcher

	st     *state.State
	alloc  *allocator.Machine
	places topology.Map
	kinds  resource.Kinds

	cluster state.Cluster
	tag     string // of the cluster, in the ids it gives
	epoch   uint64
	started int64 // Unix ns
	now     int64 // ns, never goes back
	wall    int64 // Unix ns
	base    int64 // now when the clock said origin
	origin  int64
	wakeAt  int64 // when the allocator wants a turn, 0: not

	timers     timers
	agents     map[uint32]*agent
	frameworks map[uint32]*framework
	roles      map[uint32]*role
	jobs       map[uint32]*job
	offers     map[allocator.OfferID]*offer
	given      uint64 // ids of agents and frameworks given in this epoch
	versions   uint64 // of requests, as the allocator sees them
	hostAgents map[allocator.HostID][]*agent
	reclaims   map[uint64]*reclaiming
	unplaced   map[*group]*framework // groups that want hosts without agents

	admitted int64 // the turn of the agent that registered last; see queueAgent
	paused   bool  // offers pause after a restart
	awaited  int   // agents known from before the restart ...
	returned int   // ... and those of them that are back
	fits     map[resource.Vector]bool
	census   [4]int          // agents by status
	total    resource.Vector // of the agents that the allocator knows

	live      []string // ids of jobs that have not ended; nil: not gathered
	watchers  map[*watcher]struct{}
	onlookers map[onlooker]struct{}
	readers   map[*reader]struct{}
	dirty     []*job
	published int64 // when the watchers were last told of mere progress
	history   history
	changed   bool // some share may have

	// Of the turn.
	facts     []state.Fact
	events    []allocator.Event
	acts      []action
	touched   []*framework
	unsettled bool // an event waits that may take back anybody's offers
	offerTo   []*framework
	consider  bool // coordinators
	looking   bool // for room for them, later
	urgent    bool // watchers should hear now
	inFlight  []entry
	spareActs [][]action
	durable   chan error
}

// entry is what is to be done once the facts handed over with it are durable.
type entry struct{ acts []action }

// action is something that the outside hears.
type action struct {
	agent     *agentSession
	command   *v1.AgentCommand
	framework *frameworkSession
	event     *v1.FrameworkEvent
	do        func()
}

// brokenError is a broken invariant of our own. The owner's state is dropped and Run returns it; what is durable is
// not touched by it.
type brokenError struct{ err error }

func (e brokenError) Error() string { return "broken invariant: " + e.err.Error() }
func (e brokenError) Unwrap() error { return e.err }

func (m *machine) broken(format string, args ...any) {
	panic(brokenError{fmt.Errorf(format, args...)})
}

// fact decides something. The state shows it at once; nobody outside hears of it before it is durable.
func (m *machine) fact(f state.Fact) {
	if err := m.st.Apply(&f); err != nil {
		m.broken("fact %d: %w", f.Kind, err)
	}
	m.facts = append(m.facts, f)
}

// event queues an input of the allocator for the end of the turn.
func (m *machine) event(e allocator.Event) {
	if e.Kind == allocator.AgentUpdate || e.Kind == allocator.RoleSet {
		m.unsettled = true
	}
	m.events = append(m.events, e)
}

// tell queues a command for an agent's session; a session that has ended meanwhile drops it, and the agent's next
// registration settles what it missed.
func (m *machine) tell(a *agent, c *v1.AgentCommand) {
	if a.session == nil {
		return
	}
	c.Epoch = m.epoch
	m.acts = append(m.acts, action{agent: a.session, command: c})
}

// say queues an event for a framework.
func (m *machine) say(f *framework, e *v1.FrameworkEvent) {
	if f.session != nil {
		m.acts = append(m.acts, action{framework: f.session, event: e})
	}
}

// then queues anything else, such as an answer.
func (m *machine) then(do func()) { m.acts = append(m.acts, action{do: do}) }

// touch notes that an event of the framework waits that may take back its offers.
func (m *machine) touch(f *framework) {
	if !f.touched {
		f.touched = true
		m.touched = append(m.touched, f)
	}
}

// turn takes one turn.
func (m *machine) turn(messages []message) {
	m.now = max(m.now, m.base+m.clock.Now()-m.origin)
	m.wall = m.clock.Wall().UnixNano()
	if m.wakeAt != 0 && m.wakeAt <= m.now {
		m.step() // so that offers which expire now are gone before anybody accepts them
	}
	for run := m.timers.due(m.now); run != nil; run = m.timers.due(m.now) {
		run()
	}
	for i := range messages {
		m.handle(&messages[i])
	}
	if m.consider {
		m.placeCoordinators()
	}
	m.step()
	m.publish()
	m.sample()
	m.nudge()
	m.commit()
}

func (m *machine) handle(x *message) {
	switch {
	case x.do != nil:
		x.do(m)
	case x.framework != nil:
		if x.call == nil {
			m.frameworkGone(x.framework)
			return
		}
		x.framework.untaken.Add(-1)
		m.frameworkCall(x.framework, x.call)
	case x.agent != nil:
		if x.note == nil {
			m.agentGone(x.agent)
			return
		}
		x.agent.untaken.Add(-1)
		m.agentMessage(x.agent, x.note)
	}
}

// step gives the allocator what has gathered and acts on what it decides.
func (m *machine) step() {
	if len(m.events) == 0 && !(m.wakeAt != 0 && m.wakeAt <= m.now) {
		return
	}
	rejections := m.alloc.Step(m.now, m.events)
	for _, r := range rejections {
		m.rejected(&m.events[r.Index], r.Err)
	}
	clear(m.events)
	m.events = m.events[:0]
	for _, f := range m.touched {
		f.touched = false
	}
	m.touched, m.unsettled = m.touched[:0], false
	batch := m.alloc.Ready()
	m.wakeAt = batch.WakeAt
	for i := range batch.Actions {
		a := &batch.Actions[i]
		switch a.Kind {
		case allocator.MakeOffer:
			m.offerMade(a)
		case allocator.RescindOffer:
			m.offerTaken(a)
		}
	}
	m.sendOffers()
	for i := range batch.Reclaims {
		m.reclaimed(&batch.Reclaims[i])
	}
	m.changed = m.changed || len(rejections) > 0 || len(batch.Actions) > 0
}

// rejected handles an event that the allocator refused. What the machine has checked itself is never refused; what
// only the allocator can judge goes back to the framework.
func (m *machine) rejected(e *allocator.Event, err error) {
	if e.Kind == allocator.RequestSet || e.Kind == allocator.RequestRemove {
		if f := m.frameworks[uint32(e.Framework)]; f != nil {
			m.refuse(f, &v1.Refused{Call: "requests", Message: err.Error(), Group: uint64(e.Group)})
			return
		}
	}
	if e.Kind == allocator.Rescind {
		return // something else has ended the offer in the same step
	}
	m.broken("the allocator refused event %d: %w", e.Kind, err)
}

// commit hands the turn's facts to the journal and keeps its actions until they are durable.
func (m *machine) commit() {
	last := len(m.inFlight) - 1
	switch {
	case len(m.facts) > 0:
		m.met.facts.Add(float64(len(m.facts)))
		m.met.entries.Inc()
		m.inFlight = append(m.inFlight, entry{m.acts})
		m.acts = m.spare()
		m.journal.Append(m.facts, func(err error) { m.durable <- err })
		clear(m.facts)
		m.facts = m.facts[:0]
	case last >= 0:
		m.inFlight[last].acts = append(m.inFlight[last].acts, m.acts...)
		clear(m.acts)
		m.acts = m.acts[:0]
	default:
		acts := m.acts
		m.acts = m.spare()
		m.release(acts)
	}
	m.met.inFlight.Set(float64(len(m.inFlight)))
	m.met.running.Set(float64(m.st.LiveTasks()))
}

func (m *machine) spare() []action {
	if n := len(m.spareActs); n > 0 {
		s := m.spareActs[n-1]
		m.spareActs = m.spareActs[:n-1]
		return s
	}
	return nil
}

// settled takes the journal's word on the oldest entry in flight.
func (m *machine) settled(err error) error {
	if err != nil {
		return fmt.Errorf("make facts durable: %w", errors.Join(errLost, err))
	}
	e := m.inFlight[0]
	m.inFlight = append(m.inFlight[:0], m.inFlight[1:]...)
	m.met.inFlight.Set(float64(len(m.inFlight)))
	m.release(e.acts)
	return nil
}

// release lets the outside hear.
func (m *machine) release(acts []action) {
	for i := range acts {
		switch a := &acts[i]; {
		case a.command != nil:
			a.agent.push(a.command)
		case a.event != nil:
			a.framework.push(a.event)
		default:
			a.do()
		}
	}
	clear(acts)
	m.spareActs = append(m.spareActs, acts[:0])
}

// wake is how long the owner may sleep if nothing arrives; false: for ever.
func (m *machine) wake() (time.Duration, bool) {
	at, ok := m.timers.next()
	if m.wakeAt != 0 && (!ok || m.wakeAt < at) {
		at, ok = m.wakeAt, true
	}
	if len(m.dirty) > 0 {
		if p := m.published + progressEvery; !ok || p < at {
			at, ok = p, true
		}
	}
	if p, pending := m.history.due(); pending && (!ok || p < at) {
		at, ok = p, true
	}
	if !ok {
		return 0, false
	}
	return time.Duration(max(at-(m.base+m.clock.Now()-m.origin), 0)), true
}

// newID is an id for an agent or a framework that no other has had in this or any cluster.
func (m *machine) newID(kind string) string {
	m.given++
	return fmt.Sprintf("%s-%s-%d-%d", kind, m.tag, m.epoch, m.given)
}
