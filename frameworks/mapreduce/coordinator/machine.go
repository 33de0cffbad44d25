package coordinator

import (
	"slices"
	"strconv"
	"time"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/locality"
	"fairway/frameworks/mapreduce/spec"
)

// Phases of the machine, in order.
type phase uint8

const (
	planning   phase = iota // no splits yet
	running                 // tasks run
	committing              // all tasks done: the shell commits the output
	stopping                // attempts are being ended, then the output is removed
	aborting                // the shell removes the output
	ended
)

// Machine decides the course of one job. It is used by one goroutine: Step, then Take.
type Machine struct {
	job     *spec.Job
	tuning  Tuning
	base    int // number of the first attempt of a task
	mapSize *v1.Resources
	redSize *v1.Resources

	now      int64 // never 0, which stands for "not yet" below
	phase    phase
	planned  bool
	ready    bool
	final    End    // what stopping leads to
	stopBy   int64  // stopping or committing goes on without the attempts that have not ended by then
	sequence uint64 // next task sequence; 0: not registered

	maps, reduces []*task
	attempts      map[uint64]*attempt // those whose container may live, by sequence
	agents        map[string]*agent

	data           *locality.Index // where the splits' data lies, for counting
	waitingMaps    *locality.Index // maps that wait for a place, without conditions
	waitingReduces intQueue
	solos          map[uint64]*solo // tasks that wait with conditions of their own, by group
	nextSolo       uint64
	dirty          map[uint64]bool // groups to be stated
	// stated is the fingerprint of what the broker knows of each group, 0 if an offer has changed that since.
	stated map[uint64]uint64

	mapsDone, reducesDone int
	shuffleFrom           int64 // since when all maps are done; 0: they are not
	lastPreempt           int64
	lastScan              int64
	times                 map[string]*mean // of successful attempts, by kind
	starts                mean             // of attempts, from the launch to the first word
	counts                jobCounts
	actions               []Action
	wake                  int64
}

// task is one map or reduce.
type task struct {
	kind     string
	index    int
	split    *spec.Split
	live     []*attempt // attempts whose result would count
	tried    int        // attempts so far
	failures int        // that count against the limit
	refusals int        // launches that the broker refused
	errors   []string   // of failed attempts, oldest first
	bad      []string   // agents where it failed
	waiting  bool       // wants a place: in waitingMaps, waitingReduces or a solo
	since    int64      // when it began to wait
	solo     uint64     // the group that it waits in, if it is one of its own
	copying  uint64     // the group that asks for a speculative copy
	done     bool
	grant    *attempt // may commit
	granted  int64
	output   *RecoveredMap             // of a finished map that has reduces
	lost     bool                      // its output's agent is gone or cut off
	counters map[spec.CounterKey]int64 // of the attempt that succeeded
}

// attempt is one container's try at a task.
type attempt struct {
	task        *task
	sequence    uint64
	number      int
	agent       string
	host        string
	dataAddress string
	level       v1.Locality
	copy        bool // a speculative one
	launched    int64
	assigned    int64 // when it was told what to do
	alive       int64 // when it last moved; 0: not running yet
	greeted     bool  // its stream is there
	cutOff      bool  // its agent is unreachable
	over        bool  // its work has ended, its container not yet
	overAt      int64
	succeeded   bool
	killed      bool // we asked for its end
	report      Report
	paceFrom    int64 // a reduce's pace counts from when all maps were done
	paceBase    float64
	blamed      map[string]bool // agents that a reduce could not fetch from
}

// agent is what the job knows of a host's agent.
type agent struct {
	host   string
	lost   bool
	faults map[*task]bool // tasks that failed there
}

// solo is a request group of one task.
type solo struct {
	id       uint64
	task     *task
	exclude  []string
	until    int64 // then the conditions are dropped
	copyOnly bool  // for a speculative copy
}

// Numbers of the request groups. Solos count from firstSolo.
const (
	mapGroup    = 1
	reduceGroup = 2
	firstSolo   = 16
	maxSolos    = 64
)

// Priorities of the groups within the framework.
const (
	repeatPriority = 20 // a map that is made again holds up reduces
	mapPriority    = 10
	reducePriority = 5
	copyPriority   = 1
)

const (
	scanEvery   = int64(time.Second)
	exitGrace   = int64(10 * time.Second) // for a container to end after its attempt's work
	stopGrace   = int64(3 * time.Second)  // for attempts to end before the output is removed
	commitLease = int64(30 * time.Second) // a grant of an attempt that is cut off lapses then; well over umbilical.CommitLimit
)

// NewMachine returns a machine for job, whose ID need not be known yet; coordinator counts the coordinator's attempts
// from 1.
func NewMachine(job *spec.Job, coordinator int, t Tuning) *Machine {
	t = t.withDefaults(job)
	m := &Machine{now: 1, job: job, tuning: t, base: max(coordinator-1, 0) * 1000,
		attempts: make(map[uint64]*attempt), agents: make(map[string]*agent),
		waitingMaps: locality.New(), solos: make(map[uint64]*solo), nextSolo: firstSolo,
		dirty: make(map[uint64]bool), stated: make(map[uint64]uint64),
		times: map[string]*mean{spec.Map: {}, spec.Reduce: {}}}
	m.data = m.waitingMaps
	if job.NoLocality {
		m.data = locality.New()
	}
	m.mapSize, m.redSize = Shapes(job)
	return m
}

func (t Tuning) withDefaults(job *spec.Job) Tuning {
	if job.MaxAttempts > 0 {
		t.MaxAttempts = job.MaxAttempts
	}
	if t.MaxAttempts <= 0 {
		t.MaxAttempts = 4
	}
	if job.TaskTimeout != 0 {
		t.TaskTimeout = time.Duration(job.TaskTimeout)
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&t.TaskTimeout, 10*time.Minute)
	set(&t.Preempt, 3*time.Second)
	set(&t.Relax, 3*time.Second)
	set(&t.MinStraggler, 10*time.Second)
	set(&t.JournalEvery, 5*time.Second)
	if v, err := strconv.ParseFloat(job.Conf[slowStartProperty], 64); err == nil {
		t.SlowStart = min(max(v, 0), 1)
	}
	if t.AgentFaults == 0 {
		t.AgentFaults = 3
	}
	return t
}

// Step takes one event. now is in nanoseconds and never goes back.
func (m *Machine) Step(now int64, e Event) {
	m.now = max(m.now, now)
	if m.phase == ended {
		m.refuse(e)
		return
	}
	switch e := e.(type) {
	case Registered:
		m.sequence = max(m.sequence, e.NextSequence, 1)
		m.stateAll() // requests did not survive the session
	case Offered:
		for _, o := range e.Offers {
			m.offer(o)
		}
	case StatusChanged:
		m.status(e.Status)
	case AgentLost:
		m.agentLost(e.Agent, e.Gone)
	case RequestRefused:
		m.requestRefused(e)
	case KillAsked:
		m.stop(v1.JobPhase_JOB_PHASE_KILLED, orElse(e.Reason, "killed on request"))
	case Planned:
		m.plan(e)
	case Ready:
		m.ready = true
		for _, a := range m.sorted() {
			if a.greeted {
				m.assign(a)
			}
		}
	case AlreadyDone:
		if m.phase == planning {
			m.final = End{Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED}
			m.end()
		}
	case Broken:
		m.fail(e.Message)
	case JobCommitted:
		m.jobCommitted(e.Err)
	case JobAborted:
		if m.phase == aborting {
			m.end()
		}
	case Hello:
		m.hello(e)
	case Reported:
		if a := m.attempts[e.Sequence]; a != nil {
			m.report(a, e.Report)
		}
	case MapDone:
		m.mapDone(e)
	case FetchFailed:
		m.fetchFailed(e)
	case CommitAsked:
		m.commitAsked(e)
	case Done:
		m.attemptDone(e)
	case Failed:
		m.attemptFailed(e)
	}
	m.settle()
}

// settle does what is due after every event: deadlines, the end of the job, requests.
func (m *Machine) settle() {
	switch m.phase {
	case running:
		m.scan()
		if m.phase == running && m.ready && m.tasksDone() {
			m.phase, m.stopBy = committing, m.now+stopGrace
			m.dropWaits()
			m.endLeftovers("the job is done")
		}
	}
	switch m.phase {
	case committing:
		if m.stopBy != 0 && (m.writersEnded() || m.now >= m.stopBy) {
			m.stopBy = 0
			kind, parts := m.outputs()
			m.act(CommitJob{Kind: kind, Parts: parts})
		}
	case stopping:
		if m.allEnded() || m.now >= m.stopBy {
			m.phase = aborting
			m.act(AbortJob{})
		}
	}
	m.state()
	m.setWake()
}

// Take returns the actions decided since the last call; the slice is the caller's.
func (m *Machine) Take() []Action {
	a := m.actions
	m.actions = nil
	return a
}

// WakeAt is when the machine wants a Tick if nothing else happens; 0: not at all.
func (m *Machine) WakeAt() int64 { return m.wake }

// Ended reports whether End was decided.
func (m *Machine) Ended() bool { return m.phase == ended }

func (m *Machine) act(a Action) { m.actions = append(m.actions, a) }

// plan learns of the splits.
func (m *Machine) plan(p Planned) {
	if m.planned || m.phase != planning {
		return
	}
	m.planned, m.phase = true, running
	for i := range p.Splits {
		t := &task{kind: spec.Map, index: i, split: &p.Splits[i]}
		m.maps = append(m.maps, t)
		m.data.Add(locality.Item{ID: i, Places: places(t.split)})
		m.data.Remove(i)
	}
	for i := range m.job.Reduces {
		m.reduces = append(m.reduces, &task{kind: spec.Reduce, index: i})
	}
	committed := m.reduces
	if m.job.Reduces == 0 {
		committed = m.maps
	}
	for _, i := range p.Committed {
		if i >= 0 && i < len(committed) && !committed[i].done {
			m.finishTask(committed[i], nil)
		}
	}
	if m.job.Reduces > 0 {
		for i := range p.Maps {
			r := &p.Maps[i]
			if r.Map >= 0 && r.Map < len(m.maps) && !m.maps[r.Map].done && len(r.Partitions) == m.job.Reduces {
				t := m.maps[r.Map]
				t.output = r
				m.finishTask(t, r.Counters)
			}
		}
	}
	for _, t := range slices.Concat(m.maps, m.reduces) {
		if !t.done && !(t.kind == spec.Map && m.reducesDone == len(m.reduces) && len(m.reduces) > 0) {
			m.want(t)
		}
	}
}

// tasksDone reports whether nothing is left to run.
func (m *Machine) tasksDone() bool {
	if m.job.Reduces > 0 {
		return m.reducesDone == len(m.reduces)
	}
	return m.mapsDone == len(m.maps)
}

// outputs is the kind and number of the parts of the output.
func (m *Machine) outputs() (kind string, parts int) {
	if m.job.Reduces > 0 {
		return spec.Reduce, len(m.reduces)
	}
	return spec.Map, len(m.maps)
}

// writes reports whether attempts of a task write to the output.
func (m *Machine) writes(t *task) bool { return t.kind == spec.Reduce || m.job.Reduces == 0 }

// sorted returns the attempts by sequence.
func (m *Machine) sorted() []*attempt {
	s := make([]*attempt, 0, len(m.attempts))
	for _, a := range m.attempts {
		s = append(s, a)
	}
	slices.SortFunc(s, func(a, b *attempt) int {
		if a.sequence < b.sequence {
			return -1
		}
		return 1
	})
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// limit is how many attempts of a task may fail.
func (m *Machine) limit(t *task) int {
	if n := number(m.job, "mapreduce."+t.kind+".maxattempts"); n > 0 {
		return int(min(n, 1000))
	}
	return m.tuning.MaxAttempts
}
