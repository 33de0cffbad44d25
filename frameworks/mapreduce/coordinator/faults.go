package coordinator

import (
	"fmt"
	"slices"
	"time"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
)

// agentLost marks an agent that is cut off or gone: what runs there is started elsewhere, and what lies there is made
// again if reduces still need it.
func (m *Machine) agentLost(id string, gone bool) {
	m.agent(id, "").lost = true
	for _, a := range m.sorted() {
		if a.agent != id || a.over {
			continue
		}
		if gone {
			m.loseAttempt(a)
			continue
		}
		a.cutOff = true
		if m.phase == running {
			m.replace(a.task)
		}
	}
	for _, t := range m.maps {
		if t.done && t.output != nil && t.output.Agent == id {
			t.lost = true
		}
	}
	m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
	m.ensureOutputs()
}

// agentBack undoes agentLost.
func (m *Machine) agentBack(id string) {
	a := m.agents[id]
	if a == nil || !a.lost {
		return
	}
	a.lost = false
	m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
	for _, t := range m.maps {
		if t.done && t.output != nil && t.output.Agent == id {
			t.lost = false
		}
	}
}

// ensureOutputs runs maps again whose output is out of reach, if a reduce still has to fetch it.
func (m *Machine) ensureOutputs() {
	if m.phase != running || !m.needsOutputs() {
		return
	}
	for _, t := range m.maps {
		if t.done && t.lost {
			m.redo(t)
		}
	}
}

// needsOutputs reports whether some reduce may still fetch from maps.
func (m *Machine) needsOutputs() bool {
	for _, r := range m.reduces {
		if r.done {
			continue
		}
		if !slices.ContainsFunc(r.live, func(a *attempt) bool { return a.report.Shuffled && !a.cutOff }) {
			return true
		}
	}
	return false
}

// fetchFailed runs a map again whose output a reduce could not get. A reduce that cannot fetch from several agents is
// itself to blame.
func (m *Machine) fetchFailed(e FetchFailed) {
	a := m.attempts[e.Sequence]
	if a == nil || a.over || a.task.kind != spec.Reduce || e.Map < 0 || e.Map >= len(m.maps) || m.phase != running {
		return
	}
	a.alive = m.now
	m.counts.fetchFailures++
	t := m.maps[e.Map]
	if !t.done || t.output == nil {
		return // it runs again already
	}
	if t.output.Attempt != e.Attempt { // there is a newer one
		m.act(Push{Sequence: a.sequence, Outputs: []spec.MapOutput{t.output.partition(a.task.index)}})
		return
	}
	from := t.output.Agent
	if ag := m.agents[from]; !t.lost && (ag == nil || !ag.lost) {
		if a.blamed == nil {
			a.blamed = make(map[string]bool)
		}
		a.blamed[from] = true
		if len(a.blamed) >= 2 && !a.blamed[a.agent] {
			m.act(Stop{Sequence: a.sequence, Reason: "it cannot fetch from other agents"})
			m.kill(a, "cannot fetch map outputs from several agents; the last: "+e.Message)
			return
		}
		host := from
		if ag != nil {
			host = ag.host
		}
		m.blame(t, from, host, e.Attempt, "its output could not be fetched: "+e.Message)
		if t.failures >= m.limit(t) {
			m.fail(m.describe(t))
			return
		}
	}
	m.redo(t)
}

// kill ends an attempt and counts it as failed.
func (m *Machine) kill(a *attempt, message string) {
	if a.over {
		return
	}
	if !a.killed {
		a.killed = true
		m.act(Kill{Sequence: a.sequence, Reason: firstLine(message)})
	}
	m.failAttempt(a, message, false)
}

// scan does what only time brings about.
func (m *Machine) scan() {
	m.relax()
	if m.now-m.lastScan < scanEvery {
		return
	}
	m.lastScan = m.now
	for _, a := range m.sorted() {
		switch {
		case a.over:
			if !a.killed && m.now-a.overAt >= exitGrace {
				a.killed = true
				m.act(Kill{Sequence: a.sequence, Reason: "its work has ended"})
			}
		case a.alive == 0 || a.cutOff:
		case a.task.kind == spec.Reduce && m.mapsDone < len(m.maps):
			a.alive = m.now // it waits for maps
		case m.tuning.TaskTimeout > 0 && m.now-a.alive > timeoutOf(m.tuning.TaskTimeout):
			m.kill(a, fmt.Sprintf("no progress for %s; raise mapreduce.task.timeout if that is no fault", m.tuning.TaskTimeout))
		}
		if m.phase != running {
			return
		}
	}
	m.preempt()
	m.speculate()
}

// timeoutOf leaves the attempt a moment to find its own timeout, as its error says more.
func timeoutOf(t time.Duration) int64 { return int64(t + min(t/4, 10*time.Second)) }

// preempt ends a reduce that waits for maps when maps find no place, lest both wait for ever.
func (m *Machine) preempt() {
	oldest, live := m.now, false
	for _, t := range m.maps {
		if t.waiting {
			oldest = min(oldest, t.since)
		}
		if slices.ContainsFunc(t.live, func(a *attempt) bool { return !a.cutOff }) {
			live = true
		}
	}
	wait := int64(m.tuning.Preempt)
	if live {
		wait *= 10
	}
	if oldest == m.now || m.now-max(oldest, m.lastPreempt) < wait {
		return
	}
	var least *attempt
	for _, t := range m.reduces {
		for _, a := range t.live {
			if !a.cutOff && !a.report.Shuffled && t.grant != a &&
				(least == nil || a.report.Fraction < least.report.Fraction) {
				least = a
			}
		}
	}
	if least == nil {
		return
	}
	m.lastPreempt = m.now
	t := least.task
	m.endAttempt(least, "a map needs its place")
	m.replace(t)
}

// speculate asks for a copy of the attempt that will take longest, if a fresh one would likely overtake it: the idea of
// LATE (Zaharia et al., OSDI 2008).
func (m *Machine) speculate() {
	if !m.job.Speculative {
		return
	}
	for _, kind := range []string{spec.Map, spec.Reduce} {
		if m.job.Conf["mapreduce."+kind+".speculative"] == "false" {
			continue
		}
		tasks := m.maps
		if kind == spec.Reduce {
			tasks = m.reduces
			if m.mapsDone < len(m.maps) {
				continue
			}
		}
		if t := m.straggler(tasks); t != nil {
			var at []string
			for _, a := range t.live {
				at = append(at, a.agent)
			}
			if len(m.solos) < maxSolos {
				t.copying = m.addSolo(t, at, true)
			}
		}
	}
}

// straggler is the task to copy next, nil for none.
func (m *Machine) straggler(tasks []*task) *task {
	live, copies := 0, 0
	var worst *task
	var worstLeft int64
	for _, t := range tasks {
		if t.waiting {
			return nil // first things first
		}
		live += len(t.live)
		if t.copying != 0 {
			copies++
		}
		if len(t.live) > 1 {
			copies += len(t.live) - 1
		}
		if len(t.live) != 1 || t.copying != 0 || t.grant != nil {
			continue
		}
		if left := m.behind(t.live[0]); left > worstLeft {
			worst, worstLeft = t, left
		}
	}
	if copies >= max(1, live/10) {
		return nil
	}
	return worst
}

// never is the time that an attempt needs which does not move.
const never = 1 << 62

// behind is how long an attempt still needs that a fresh one would likely overtake; 0: it is none.
func (m *Machine) behind(a *attempt) int64 {
	if a.cutOff {
		return 0
	}
	if !a.greeted { // its host may be stuck; where others began soon, a copy does too
		if m.starts.n > 0 && m.now-a.launched > max(int64(m.tuning.MinStraggler), 3*m.starts.value()) {
			return never
		}
		return 0
	}
	typical := m.times[a.task.kind]
	if typical.n == 0 || a.assigned == 0 {
		return 0
	}
	left := m.remaining(a)
	if left <= 2*typical.value() || m.now-a.assigned <= max(int64(m.tuning.MinStraggler), 3*typical.value()/2) {
		return 0
	}
	return left
}

// remaining estimates how long an attempt still needs, by its pace so far.
func (m *Machine) remaining(a *attempt) int64 {
	from, base := a.assigned, 0.0
	if a.task.kind == spec.Reduce {
		if a.paceFrom == 0 {
			a.paceFrom, a.paceBase = max(m.shuffleFrom, a.assigned), a.report.Fraction
		}
		from, base = a.paceFrom, a.paceBase
	}
	did := a.report.Fraction - base
	if did <= 0 {
		return never
	}
	return int64((1 - a.report.Fraction) / did * float64(m.now-from))
}

// stop ends the job without success.
func (m *Machine) stop(p v1.JobPhase, message string) {
	if m.phase > running {
		return
	}
	m.dropWaits()
	m.phase, m.final, m.stopBy = stopping, End{Phase: p, Message: message}, m.now+stopGrace
	m.endLeftovers("the job is stopped")
}

func (m *Machine) fail(message string) { m.stop(v1.JobPhase_JOB_PHASE_FAILED, message) }

// endLeftovers ends all attempts that still work.
func (m *Machine) endLeftovers(why string) {
	for _, a := range m.sorted() {
		if !a.over {
			m.endAttempt(a, why)
		}
	}
}

// allEnded reports whether no container of a stopped attempt is left.
func (m *Machine) allEnded() bool {
	for _, a := range m.attempts {
		if a.assigned != 0 && !a.succeeded {
			return false
		}
	}
	return true
}

// writersEnded reports whether no attempt that lost its race may still write to the output.
func (m *Machine) writersEnded() bool {
	for _, a := range m.attempts {
		if m.writes(a.task) && !a.succeeded && a.assigned != 0 {
			return false
		}
	}
	return true
}

// jobCommitted ends the job after the shell's commit.
func (m *Machine) jobCommitted(err error) {
	if m.phase != committing {
		return
	}
	if err != nil {
		m.final = End{Phase: v1.JobPhase_JOB_PHASE_FAILED, Message: "commit of the output: " + err.Error()}
		m.phase = aborting
		m.act(AbortJob{})
		return
	}
	m.final = End{Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED}
	m.end()
}

func (m *Machine) end() {
	m.phase = ended
	m.act(m.final)
}

// refuse answers events that come after the end.
func (m *Machine) refuse(e Event) {
	switch e := e.(type) {
	case Offered:
		for _, o := range e.Offers {
			m.act(Decline{Offer: o.Id})
		}
	case Hello:
		m.act(Stop{Sequence: e.Sequence, Reason: "the job has ended"})
	case CommitAsked:
		m.act(Answer{Sequence: e.Sequence, Reason: "the job has ended"})
	case MapDone:
		m.act(Finish{Sequence: e.Sequence})
	case Done:
		m.act(Finish{Sequence: e.Sequence})
	case Failed:
		m.act(Finish{Sequence: e.Sequence})
	}
}

// setWake says when time alone will change something.
func (m *Machine) setWake() {
	m.wake = 0
	sooner := func(at int64) {
		if m.wake == 0 || at < m.wake {
			m.wake = at
		}
	}
	switch m.phase {
	case running:
		if len(m.attempts) > 0 || m.waitingMaps.Waiting() > 0 {
			sooner(m.lastScan + scanEvery)
		}
		for _, s := range m.solos {
			if !s.copyOnly {
				sooner(s.until)
			}
		}
	case committing, stopping:
		if m.stopBy != 0 {
			sooner(m.stopBy)
		}
	}
}
