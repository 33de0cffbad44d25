package coordinator

import (
	"fmt"
	"slices"
	"strings"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/sdk"
)

// pushBatch bounds the outputs in one Push.
const pushBatch = 1024

// hello greets an attempt: it is told what to do, or that it is no longer wanted.
func (m *Machine) hello(e Hello) {
	a := m.attempts[e.Sequence]
	if a == nil || a.over || m.phase == stopping || m.phase == aborting {
		m.act(Stop{Sequence: e.Sequence, Reason: "this attempt is not wanted any more"})
		return
	}
	if e.DataAddress != "" {
		a.dataAddress = e.DataAddress
	}
	if !a.greeted {
		m.starts.add(m.now - a.launched)
	}
	a.greeted, a.alive = true, m.now
	if e.Resumed {
		if a.assigned != 0 {
			m.pushAll(a)
		} else { // told by a coordinator that is no more
			m.act(Stop{Sequence: e.Sequence, Reason: "this attempt was started by an earlier coordinator"})
		}
		return
	}
	if m.ready {
		m.assign(a)
	}
}

// assign tells an attempt what to do.
func (m *Machine) assign(a *attempt) {
	if a.over {
		return
	}
	if a.assigned == 0 {
		a.assigned = m.now
	}
	a.alive = m.now
	m.act(Assign{Sequence: a.sequence, Kind: a.task.kind, Index: a.task.index, Attempt: a.number, Maps: len(m.maps), Split: a.task.split})
	m.pushAll(a)
}

// pushAll sends a reduce what maps have finished so far.
func (m *Machine) pushAll(a *attempt) {
	if a.task.kind != spec.Reduce {
		return
	}
	var outs []spec.MapOutput
	for _, t := range m.maps {
		if t.done && t.output != nil {
			outs = append(outs, t.output.partition(a.task.index))
		}
	}
	for len(outs) > 0 {
		n := min(len(outs), pushBatch)
		m.act(Push{Sequence: a.sequence, Outputs: outs[:n:n]})
		outs = outs[n:]
	}
}

func (r *RecoveredMap) partition(i int) spec.MapOutput {
	p := r.Partitions[i]
	return spec.MapOutput{Map: r.Map, Attempt: r.Attempt, Address: r.Address, File: r.File,
		Offset: p.Offset, Length: p.Length, Records: p.Records}
}

// report takes an attempt's account of itself.
func (m *Machine) report(a *attempt, r Report) {
	if a.over {
		return
	}
	if r.Alive || r.Fraction > a.report.Fraction {
		a.alive = m.now
	}
	if r.Counters == nil {
		r.Counters = a.report.Counters
	}
	if r.Status == "" {
		r.Status = a.report.Status
	}
	r.Shuffled = r.Shuffled || a.report.Shuffled
	a.report = r
}

// mapDone takes the output of a map that has reduces.
func (m *Machine) mapDone(e MapDone) {
	a := m.attempts[e.Sequence]
	if a == nil || a.over || a.task.kind != spec.Map || m.phase != running {
		m.act(Finish{Sequence: e.Sequence})
		return
	}
	if len(e.Partitions) != m.job.Reduces || m.job.Reduces == 0 {
		m.attemptFailed(Failed{Sequence: e.Sequence, Report: e.Report,
			Message: fmt.Sprintf("the map wrote %d partitions, the job has %d reduces", len(e.Partitions), m.job.Reduces)})
		return
	}
	m.report(a, e.Report)
	t := a.task
	t.output = &RecoveredMap{Map: t.index, Attempt: a.number, Agent: a.agent, Address: a.dataAddress, File: e.File,
		Partitions: e.Partitions, Counters: a.report.Counters}
	m.succeed(a)
	m.act(Journal{Map: *t.output})
}

// commitAsked grants the commit to one attempt of each task.
func (m *Machine) commitAsked(e CommitAsked) {
	a := m.attempts[e.Sequence]
	switch {
	case a == nil || a.over || m.phase != running || !m.writes(a.task):
		m.act(Answer{Sequence: e.Sequence, Reason: "this attempt is not wanted any more"})
	case a.task.grant != nil && a.task.grant != a && !m.lapsed(a.task):
		m.act(Answer{Sequence: e.Sequence, Reason: fmt.Sprintf("attempt %d commits", a.task.grant.number)})
	default:
		a.task.grant, a.task.granted = a, m.now
		a.alive = m.now
		m.act(Answer{Sequence: e.Sequence, Granted: true})
	}
}

// lapsed reports whether a task's grant may go to another: its holder cannot be reached, and must have given up.
func (m *Machine) lapsed(t *task) bool {
	return t.grant.cutOff && m.now-t.granted >= commitLease
}

// attemptDone takes the word that an attempt's output is committed.
func (m *Machine) attemptDone(e Done) {
	a := m.attempts[e.Sequence]
	if a == nil || a.over || m.phase != running || !m.writes(a.task) {
		m.act(Finish{Sequence: e.Sequence})
		return
	}
	m.report(a, e.Report)
	if g := a.task.grant; g != nil && g != a { // without the grant nothing counts
		m.endAttempt(a, "another attempt commits")
		m.act(Finish{Sequence: e.Sequence})
		return
	}
	m.succeed(a)
}

// succeed makes an attempt its task's result and ends the others.
func (m *Machine) succeed(a *attempt) {
	t := a.task
	a.succeeded = true
	m.detach(a)
	m.counts.succeeded(a, m.now)
	m.times[t.kind].add(m.now - a.assigned)
	m.act(Finish{Sequence: a.sequence})
	m.finishTask(t, a.report.Counters)
	for _, b := range slices.Clone(t.live) {
		m.endAttempt(b, "another attempt was faster")
	}
}

// finishTask marks a task done.
func (m *Machine) finishTask(t *task, counters map[spec.CounterKey]int64) {
	m.unwant(t)
	m.cancelCopy(t)
	t.done, t.lost, t.counters = true, false, counters
	m.counts.add(counters, 1)
	if t.kind == spec.Reduce {
		m.reducesDone++
		return
	}
	m.mapsDone++
	m.dirty[reduceGroup] = true
	if m.mapsDone == len(m.maps) {
		m.shuffleFrom = m.now
	}
	if t.output == nil {
		return
	}
	for _, r := range m.reduces {
		for _, a := range r.live {
			if a.assigned != 0 {
				m.act(Push{Sequence: a.sequence, Outputs: []spec.MapOutput{t.output.partition(r.index)}})
			}
		}
	}
}

// redo makes a finished map run again, as its output cannot be had.
func (m *Machine) redo(t *task) {
	if !t.done || t.kind != spec.Map {
		return
	}
	t.done, t.lost, t.output = false, false, nil
	m.counts.add(t.counters, -1)
	t.counters = nil
	m.mapsDone--
	m.shuffleFrom = 0
	for _, r := range m.reduces {
		for _, a := range r.live {
			a.paceFrom = 0
		}
	}
	m.want(t)
}

// detach ends an attempt's part in its task; its container may still live.
func (m *Machine) detach(a *attempt) {
	a.over, a.overAt = true, m.now
	t := a.task
	t.live = slices.DeleteFunc(t.live, func(b *attempt) bool { return b == a })
	if t.grant == a && !a.succeeded {
		t.grant = nil
	}
}

// endAttempt stops an attempt that is not wanted any more; no failure of it.
func (m *Machine) endAttempt(a *attempt, why string) {
	if !a.over {
		m.detach(a)
		m.counts.killed(a, m.now)
	}
	if !a.killed {
		a.killed = true
		m.act(Kill{Sequence: a.sequence, Reason: why})
	}
}

// attemptFailed takes an attempt's own word that it failed.
func (m *Machine) attemptFailed(e Failed) {
	m.act(Finish{Sequence: e.Sequence})
	a := m.attempts[e.Sequence]
	if a == nil || a.over {
		return
	}
	m.report(a, e.Report)
	if e.Killed {
		m.loseAttempt(a)
		return
	}
	m.failAttempt(a, e.Message, e.Fatal)
}

// failAttempt counts a failure against the task and tries again, or fails the job.
func (m *Machine) failAttempt(a *attempt, message string, fatal bool) {
	if a.over {
		return
	}
	m.detach(a)
	m.counts.failed(a, m.now)
	if m.phase != running {
		return
	}
	m.blame(a.task, a.agent, a.host, a.number, message)
	m.afterFailure(a.task, fatal)
	if a.task.kind == spec.Reduce {
		m.ensureOutputs()
	}
}

// blame notes a failure of a task on an agent.
func (m *Machine) blame(t *task, agentID, host string, number int, message string) {
	t.failures++
	t.errors = append(t.errors, fmt.Sprintf("attempt %d on %s: %s", number, orElse(host, "an unknown host"), clipMessage(message)))
	if !slices.Contains(t.bad, agentID) {
		t.bad = append(t.bad, agentID)
	}
	ag := m.agent(agentID, host)
	ag.faults[t] = true
	m.dirty[mapGroup], m.dirty[reduceGroup] = true, true
}

// afterFailure tries a task again, or fails the job.
func (m *Machine) afterFailure(t *task, fatal bool) {
	if t.done {
		return
	}
	if fatal || t.failures >= m.limit(t) {
		m.fail(m.describe(t))
		return
	}
	m.replace(t)
}

// replace makes a task wait unless an attempt that can be reached works at it.
func (m *Machine) replace(t *task) {
	if t.done {
		return
	}
	for _, b := range t.live {
		if !b.cutOff {
			return
		}
	}
	m.cancelCopy(t)
	m.want(t)
}

// loseAttempt ends an attempt that failed through no fault of its task.
func (m *Machine) loseAttempt(a *attempt) {
	if a.over {
		return
	}
	m.detach(a)
	m.counts.killed(a, m.now)
	if m.phase != running {
		return
	}
	m.replace(a.task)
	if a.task.kind == spec.Reduce {
		m.ensureOutputs()
	}
}

// maxRefusals bounds how often the launch of one task may be refused in a row before it counts as a failure.
const maxRefusals = 10

// status takes what the broker says of a container.
func (m *Machine) status(s *v1.TaskStatus) {
	a := m.attempts[s.GetTask().GetSequence()]
	if a == nil {
		return
	}
	switch {
	case s.State == v1.TaskState_TASK_STATE_RUNNING:
		if a.alive == 0 {
			a.alive = m.now
		}
		a.cutOff, a.task.refusals = false, 0
		m.agentBack(a.agent)
	case s.State == v1.TaskState_TASK_STATE_UNREACHABLE:
		if !a.over {
			a.cutOff = true
			if m.phase == running {
				m.replace(a.task)
			}
		}
	case sdk.Terminal(s.State):
		delete(m.attempts, a.sequence)
		m.ended(a, s)
		if !a.succeeded && m.writes(a.task) && a.assigned != 0 && m.phase == running {
			m.act(AbortTask{Kind: a.task.kind, Index: a.task.index, Attempt: a.number})
		}
	}
}

// ended takes the end of a container.
func (m *Machine) ended(a *attempt, s *v1.TaskStatus) {
	if a.over {
		return
	}
	switch s.State {
	case v1.TaskState_TASK_STATE_FINISHED:
		m.failAttempt(a, "the task's process ended without a report", false)
	case v1.TaskState_TASK_STATE_FAILED:
		m.failAttempt(a, statusMessage(a.task.kind, s), false)
	case v1.TaskState_TASK_STATE_LOST:
		if s.Reason == v1.TaskReason_TASK_REASON_LAUNCH_FAILED {
			if a.task.refusals++; a.task.refusals >= maxRefusals {
				m.failAttempt(a, statusMessage(a.task.kind, s), false)
				return
			}
		}
		m.loseAttempt(a)
	default:
		m.loseAttempt(a)
	}
}

// statusMessage is what a container's end means for a person.
func statusMessage(kind string, s *v1.TaskStatus) string {
	msg := s.Message
	switch s.Reason {
	case v1.TaskReason_TASK_REASON_MEMORY_LIMIT:
		if msg == "" {
			msg = fmt.Sprintf("over its memory limit of %d MiB", s.MemoryLimitBytes>>20)
		}
		msg += "; raise mapreduce." + kind + ".memory.mb"
	case v1.TaskReason_TASK_REASON_EXITED:
		if msg == "" {
			msg = fmt.Sprintf("the task's process exited with code %d", s.ExitCode)
		}
	case v1.TaskReason_TASK_REASON_SIGNALLED:
		if msg == "" {
			msg = fmt.Sprintf("the task's process was ended by signal %d", s.Signal)
		}
	}
	return orElse(msg, strings.ToLower(strings.TrimPrefix(s.Reason.String(), "TASK_REASON_")))
}
