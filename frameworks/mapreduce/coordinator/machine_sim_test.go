package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// world is everything around the machine: a broker, agents and attempts that do what they are told, and faults.
type world struct {
	fail   func(format string, args ...any)
	m      *Machine
	job    *spec.Job
	now    int64
	agents []*simAgent
	groups map[uint64]*v1.RequestGroup
	tries  []*try
	offers uint64
	log    []string
	steps  int

	commits  map[string]*try // whose output is committed, by task
	granted  map[string][]*try
	ended    *End
	commitAs *CommitJob
	aborts   bool
}

type simAgent struct {
	id          string
	slots, used int
	cut, gone   bool
	unheard     []*v1.TaskStatus // while it is cut off
}

// try is one attempt's container.
type try struct {
	Launched
	agent   *simAgent
	running bool // its status was told
	greeted bool
	told    bool // it has its assignment
	asked   bool
	granted int64 // when; 0: not
	refused bool
	done    bool // it has said its last word
	ended   bool // its container is no more
	killed  bool
	hangs   bool // does nothing any more until it is killed
	fetched map[int]spec.MapOutput
	blamed  map[[2]int]bool
	known   map[int]spec.MapOutput
	gaveUp  bool // its end is known to the machine: a status, or its own word
}

func (t *try) task() string { return fmt.Sprintf("%s %d", t.Kind, t.Index) }

func newWorld(job *spec.Job, agents, slots int, fail func(string, ...any)) *world {
	w := &world{fail: fail, job: job, groups: map[uint64]*v1.RequestGroup{}, commits: map[string]*try{}, granted: map[string][]*try{}}
	w.m = NewMachine(job, 1, Tuning{})
	for i := range agents {
		w.agents = append(w.agents, &simAgent{id: fmt.Sprintf("a%d", i), slots: slots})
	}
	return w
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%6.1fs ", float64(w.now)/1e9)+fmt.Sprintf(format, args...))
}

func (w *world) broken(format string, args ...any) {
	n := max(0, len(w.log)-80)
	w.fail("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.log[n:], "\n"))
}

func (w *world) step(e Event) {
	w.steps++
	if w.steps > 200_000 {
		w.broken("no end in sight")
		return
	}
	if _, tick := e.(Tick); !tick {
		w.logf("> %T %+v", e, e)
	}
	w.m.Step(w.now, e)
	for _, a := range w.m.Take() {
		if w.ended != nil {
			switch a.(type) {
			case Decline, Stop, Answer, Finish:
			default:
				w.broken("%T after the end", a)
			}
		}
		w.act(a)
	}
}

func (w *world) act(a Action) {
	w.logf("  < %T %+v", a, a)
	switch a := a.(type) {
	case Request:
		w.groups[a.Group.Id] = a.Group
	case Launch, Decline: // answered by offer
	case Kill:
		if t := w.try(a.Sequence); t != nil {
			t.killed = true
		}
	case Assign:
		t := w.try(a.Sequence)
		if t.Kind != a.Kind || t.Index != a.Index || t.Attempt != a.Attempt || a.Maps != len(w.m.maps) {
			w.broken("task %d was launched as %v and told %v", a.Sequence, t.Launched, a)
		}
		t.told = true
	case Push:
		t := w.try(a.Sequence)
		for _, o := range a.Outputs {
			if t.known[o.Map].Attempt <= o.Attempt {
				t.known[o.Map] = o
			}
		}
	case Answer:
		t := w.try(a.Sequence)
		if !a.Granted {
			t.refused = true
			return
		}
		for _, b := range w.granted[t.task()] {
			if b != t && !b.gaveUp && !b.agent.cut {
				w.broken("attempts %d and %d of %s may both commit", b.Attempt, t.Attempt, t.task())
			}
			if b != t && !b.gaveUp && b.agent.cut && w.now-b.granted < commitLease {
				w.broken("grant of %s passed from an attempt that is cut off before it lapsed", t.task())
			}
		}
		t.granted = max(w.now, 1)
		w.granted[t.task()] = append(w.granted[t.task()], t)
	case Stop:
		if t := w.try(a.Sequence); t != nil {
			t.killed = true
		}
	case CommitJob:
		for i := range a.Parts {
			if w.commits[fmt.Sprintf("%s %d", a.Kind, i)] == nil {
				w.broken("job committed without %s %d", a.Kind, i)
			}
		}
		w.commitAs = &a
	case AbortJob:
		w.aborts = true
	case End:
		w.ended = &a
	}
}

func (w *world) try(seq uint64) *try {
	for _, t := range w.tries {
		if t.Sequence == seq {
			return t
		}
	}
	return nil
}

// offer makes an offer of a group on an agent, and takes the answer.
func (w *world) offer(g *v1.RequestGroup, a *simAgent) {
	w.offers++
	a.used++
	g.Total--
	w.steps++
	w.m.Step(w.now, Offered{Offers: []*v1.Offer{{Id: w.offers, Group: g.Id, AgentId: a.id, Host: "h-" + a.id, Count: 1, DataAddress: a.id}}})
	w.logf("> offer %d of group %d on %s", w.offers, g.Id, a.id)
	for _, x := range w.m.Take() {
		switch x := x.(type) {
		case Launch:
			for _, l := range x.Attempts {
				for _, t := range w.tries {
					if t.Sequence >= l.Sequence {
						w.broken("task id %d repeats", l.Sequence)
					}
				}
				w.logf("  < launch %+v", l)
				w.tries = append(w.tries, &try{Launched: l, agent: a, known: map[int]spec.MapOutput{}, fetched: map[int]spec.MapOutput{}, blamed: map[[2]int]bool{}})
			}
		case Decline:
			a.used--
			if w.groups[g.Id] == g {
				g.Total++
			}
			w.logf("  < decline")
		default:
			w.act(x)
		}
	}
}

// wanting lists pairs of a group and an agent that could serve it.
func (w *world) wanting() (gs []*v1.RequestGroup, as []*simAgent) {
	var best int32 = -1 << 30
	for _, id := range sortedGroups(w.groups) {
		g := w.groups[id]
		if g.Total == 0 {
			continue
		}
		for _, a := range w.agents {
			if a.gone || a.cut || a.used >= a.slots || slices.Contains(g.ExcludedAgents, a.id) {
				continue
			}
			if g.Priority > best { // higher ones first, within a framework
				best, gs, as = g.Priority, nil, nil
			}
			if g.Priority == best {
				gs, as = append(gs, g), append(as, a)
			}
		}
	}
	return gs, as
}

func sortedGroups(m map[uint64]*v1.RequestGroup) []uint64 {
	var ids []uint64
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// tell sends a status, or keeps it while the agent is cut off.
func (w *world) tell(t *try, state v1.TaskState, reason v1.TaskReason) {
	s := &v1.TaskStatus{Task: &v1.TaskID{Framework: "f", Sequence: t.Sequence}, State: state, Reason: reason, Message: "for a test"}
	if t.agent.cut {
		t.agent.unheard = append(t.agent.unheard, s)
		return
	}
	w.hear(t, s)
}

func (w *world) hear(t *try, s *v1.TaskStatus) {
	if s.State != v1.TaskState_TASK_STATE_RUNNING {
		t.gaveUp = true
	}
	w.step(StatusChanged{Status: s})
}

// exit ends a container.
func (w *world) exit(t *try, state v1.TaskState, reason v1.TaskReason) {
	t.ended = true
	t.agent.used--
	w.tell(t, state, reason)
}

// advance lets one attempt do the next thing that it can do; false if it waits.
func (w *world) advance(t *try) bool {
	switch {
	case t.ended || t.agent.gone:
		return false
	case t.killed:
		w.exit(t, v1.TaskState_TASK_STATE_KILLED, v1.TaskReason_TASK_REASON_KILL_ASKED)
	case t.hangs:
		return false
	case !t.running:
		t.running = true
		w.tell(t, v1.TaskState_TASK_STATE_RUNNING, 0)
	case !t.greeted:
		t.greeted = true
		w.step(Hello{Sequence: t.Sequence, DataAddress: t.agent.id})
	case !t.told:
		return false
	case t.done:
		w.exit(t, v1.TaskState_TASK_STATE_FINISHED, 0)
	case t.refused:
		t.done, t.gaveUp = true, true
		w.step(Failed{Sequence: t.Sequence, Killed: true})
	case t.Kind == spec.Map && w.job.Reduces > 0:
		t.done = true
		w.step(MapDone{Sequence: t.Sequence, File: fmt.Sprint("m", t.Sequence), Partitions: make([]Range, w.job.Reduces)})
	case t.Kind == spec.Reduce && len(t.fetched) < len(w.m.maps):
		return w.fetch(t)
	case !t.asked:
		t.asked = true
		w.step(CommitAsked{Sequence: t.Sequence})
	case t.granted != 0 && !t.done:
		if t.granted > 0 && w.now-t.granted < int64(15*time.Second) { // later it would have given up
			w.commits[t.task()] = t
			t.done, t.gaveUp = true, true
			w.step(Done{Sequence: t.Sequence})
		} else {
			t.done, t.gaveUp = true, true
			w.step(Failed{Sequence: t.Sequence, Message: "commit took too long"})
		}
	default:
		return false
	}
	return true
}

// fetch gets the next map output that the reduce knows of.
func (w *world) fetch(t *try) bool {
	for i := range w.m.maps {
		o, ok := t.known[i]
		if _, has := t.fetched[i]; has || !ok || t.blamed[[2]int{i, o.Attempt}] {
			continue
		}
		from := w.agent(o.Address)
		if from.gone || from.cut {
			t.blamed[[2]int{i, o.Attempt}] = true
			w.step(FetchFailed{Sequence: t.Sequence, Map: i, Attempt: o.Attempt, Message: "unreachable"})
			return true
		}
		t.fetched[i] = o
		w.step(Reported{Sequence: t.Sequence, Report: Report{Fraction: float64(len(t.fetched)) / float64(3*len(w.m.maps)), Alive: true,
			Shuffled: len(t.fetched) == len(w.m.maps)}})
		return true
	}
	return false
}

func (w *world) agent(id string) *simAgent {
	for _, a := range w.agents {
		if a.id == id {
			return a
		}
	}
	return nil
}

func (w *world) cut(a *simAgent) {
	if !a.cut && !a.gone {
		a.cut = true
		w.step(AgentLost{Agent: a.id})
	}
}

func (w *world) heal(a *simAgent) {
	if !a.cut || a.gone {
		return
	}
	a.cut = false
	unheard := a.unheard
	a.unheard = nil
	for _, t := range w.tries {
		if t.agent == a && !t.ended && t.running {
			w.tell(t, v1.TaskState_TASK_STATE_RUNNING, 0)
		}
	}
	for _, s := range unheard {
		w.hear(w.try(s.Task.Sequence), s)
	}
}

// lose takes an agent away for good, unless it is the last.
func (w *world) lose(a *simAgent) {
	left := 0
	for _, b := range w.agents {
		if !b.gone {
			left++
		}
	}
	if a.gone || left == 1 {
		return
	}
	a.gone = true
	w.step(AgentLost{Agent: a.id, Gone: true})
	for _, t := range w.tries {
		if t.agent == a && !t.gaveUp {
			w.hear(t, &v1.TaskStatus{Task: &v1.TaskID{Sequence: t.Sequence}, State: v1.TaskState_TASK_STATE_LOST, Reason: v1.TaskReason_TASK_REASON_AGENT_GONE})
		}
	}
}

// shell answers what the machine asked of storage.
func (w *world) shell() bool {
	switch {
	case w.commitAs != nil:
		w.commitAs = nil
		w.step(JobCommitted{})
	case w.aborts:
		w.aborts = false
		w.step(JobAborted{})
	default:
		return false
	}
	return true
}

// pass lets time go on to the machine's next deadline.
func (w *world) pass(d time.Duration) {
	w.now += int64(d)
	w.step(Tick{})
}

// finish runs the world without further faults; the job must end.
func (w *world) finish() {
	for _, a := range w.agents {
		w.heal(a)
	}
	for idle := 0; w.ended == nil; {
		moved := w.shell()
		for gs, as := w.wanting(); len(gs) > 0; gs, as = w.wanting() {
			before := w.offers
			w.offer(gs[0], as[0])
			moved = moved || w.offers > before
			if as[0].used == 0 || w.groups[gs[0].Id].GetTotal() > 0 && as[0].used < as[0].slots {
				break
			}
		}
		for _, t := range slices.Clone(w.tries) {
			for range 3 {
				moved = w.advance(t) || moved
			}
		}
		if moved {
			idle = 0
		} else if idle++; idle > 300 {
			w.broken("the job stands still")
			return
		}
		w.pass(time.Second)
	}
}

func splits(n int) []spec.Split {
	s := make([]spec.Split, n)
	for i := range s {
		s[i] = spec.Split{Index: i, URL: "/in", Offset: int64(i), Length: 1,
			Replicas: []storage.Replica{{Host: fmt.Sprintf("h-a%d", i%3), Rack: "/r"}}}
	}
	return s
}

func TestMachineUnderRandomFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		job := &spec.Job{Reduces: rapid.IntRange(0, 3).Draw(rt, "reduces"), Speculative: rapid.Bool().Draw(rt, "speculative"),
			TaskTimeout: int64(200 * time.Second)} // finish waits longer
		maps := rapid.IntRange(0, 5).Draw(rt, "maps")
		w := newWorld(job, rapid.IntRange(1, 3).Draw(rt, "agents"), rapid.IntRange(1, 3).Draw(rt, "slots"), rt.Fatalf)
		w.step(Registered{NextSequence: 1})
		w.step(Planned{Splits: splits(maps)})
		ready := false
		n := rapid.IntRange(0, 150).Draw(rt, "moves")
		for range n {
			if w.ended != nil {
				break
			}
			switch rapid.IntRange(0, 20).Draw(rt, "move") {
			case 0, 1, 2, 3, 4, 5:
				if gs, as := w.wanting(); len(gs) > 0 {
					i := rapid.IntRange(0, len(gs)-1).Draw(rt, "which")
					w.offer(gs[i], as[i])
				}
			case 6, 7, 8, 9, 10, 11, 12:
				if len(w.tries) > 0 {
					w.advance(w.tries[rapid.IntRange(0, len(w.tries)-1).Draw(rt, "try")])
				}
			case 13: // a process dies, takes too much memory or disk, or its work fails
				if len(w.tries) > 0 {
					x := w.tries[rapid.IntRange(0, len(w.tries)-1).Draw(rt, "try")]
					if x.ended || x.agent.gone || !x.running {
						break
					}
					if x.told && rapid.Bool().Draw(rt, "says so") {
						if !x.done {
							x.done, x.gaveUp = true, true
							w.step(Failed{Sequence: x.Sequence, Message: "bad luck"})
						}
					} else {
						w.exit(x, v1.TaskState_TASK_STATE_FAILED, rapid.SampledFrom([]v1.TaskReason{v1.TaskReason_TASK_REASON_SIGNALLED,
							v1.TaskReason_TASK_REASON_MEMORY_LIMIT, v1.TaskReason_TASK_REASON_DISK_LIMIT}).Draw(rt, "reason"))
					}
				}
			case 14:
				a := w.agents[rapid.IntRange(0, len(w.agents)-1).Draw(rt, "agent")]
				w.cut(a)
			case 15:
				a := w.agents[rapid.IntRange(0, len(w.agents)-1).Draw(rt, "agent")]
				w.heal(a)
			case 16:
				if rapid.IntRange(0, 3).Draw(rt, "gone") == 0 {
					w.lose(w.agents[rapid.IntRange(0, len(w.agents)-1).Draw(rt, "agent")])
				}
			case 17:
				w.pass(time.Duration(rapid.IntRange(1, 40_000).Draw(rt, "ms")) * time.Millisecond)
			case 18:
				if !ready {
					ready = true
					w.step(Ready{})
				} else {
					w.groups = map[uint64]*v1.RequestGroup{}
					w.step(Registered{NextSequence: 1}) // the broker came back
				}
			case 19:
				w.shell()
			case 20:
				if len(w.tries) > 0 {
					x := w.tries[rapid.IntRange(0, len(w.tries)-1).Draw(rt, "hangs")]
					x.hangs = x.running
				}
			}
		}
		if !ready && w.ended == nil {
			w.step(Ready{})
		}
		w.finish()
		if w.ended.Phase == v1.JobPhase_JOB_PHASE_SUCCEEDED {
			kind, parts := spec.Reduce, job.Reduces
			if parts == 0 {
				kind, parts = spec.Map, maps
			}
			for i := range parts {
				if w.commits[fmt.Sprintf("%s %d", kind, i)] == nil {
					w.broken("succeeded without %s %d", kind, i)
				}
			}
		} else if w.ended.Message == "" {
			w.broken("failed without a word")
		}
	})
}
