package resourcemanager

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

const maxRecent = 200 // containers that have ended and are still shown, of one application

// live are the containers that live, in order.
func (a *application) live() []*container {
	out := make([]*container, 0, len(a.containers))
	for _, c := range a.containers {
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y *container) int {
		if x.task < y.task {
			return -1
		}
		return 1
	})
	return out
}

// status takes what an agent or the broker says of a task.
func (a *application) status(s *v1.TaskStatus) {
	c := a.containers[s.GetTask().GetSequence()]
	if c == nil {
		a.stranger(s)
		return
	}
	switch s.State {
	case v1.TaskState_TASK_STATE_RUNNING:
		if !c.running {
			c.running = true
			if t := a.current(); c.isMaster && t != nil && t.master == c && t.state == wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_ALLOCATED {
				t.state = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_LAUNCHED
			} else if t != nil && t.gathers && !c.isMaster && c.state == delivered {
				a.begun(t) // of before a restart
			}
		}
		a.acknowledge(s)
	case v1.TaskState_TASK_STATE_STAGING, v1.TaskState_TASK_STATE_UNREACHABLE:
		a.acknowledge(s)
	case v1.TaskState_TASK_STATE_FINISHED, v1.TaskState_TASK_STATE_FAILED, v1.TaskState_TASK_STATE_KILLED, v1.TaskState_TASK_STATE_LOST:
		exit, diagnostics := c.outcome(s)
		a.complete(c, exit, diagnostics, s)
	}
}

// stranger takes what is said of a task that is not among the live ones: one that was given up as lost, one whose end its
// master has yet to read, or one that ended before a restart and whose master may not have heard.
func (a *application) stranger(s *v1.TaskStatus) {
	seq := s.GetTask().GetSequence()
	if s.State < v1.TaskState_TASK_STATE_FINISHED || s.State > v1.TaskState_TASK_STATE_LOST || s.Sequence == 0 {
		a.acknowledge(s)
		return
	}
	t := a.current()
	if t != nil {
		for _, all := range [][]*container{t.told, t.done} {
			for _, c := range all {
				if c.task == seq {
					c.terminal = s
					return
				}
			}
		}
	}
	var of *attempt
	for _, o := range a.attempts {
		if o.first <= seq {
			of = o
		}
	}
	if t == nil || of == nil || a.closing || seq >= a.adopted || a.settled[seq] || seq == of.first && !a.isUnmanaged || of != t && !a.keep || t.unregistered {
		delete(a.settled, seq)
		a.acknowledge(s)
		return
	}
	c := &container{id: id.NewContainer(of.id, 0, int64(seq-of.first+1)), task: seq, agent: s.AgentId, requestID: -1, state: delivered, created: time.Now()}
	exit, diagnostics := c.outcome(s)
	a.charge(c, 1)
	a.complete(c, exit, diagnostics, s)
}

// complete takes the end of a container. s is acknowledged once its master knows; nil: nothing is to be.
func (a *application) complete(c *container, exit int32, diagnostics string, s *v1.TaskStatus) {
	now := time.Now()
	delete(a.containers, c.task)
	if c.task < a.adopted {
		a.settled[c.task] = true
	}
	a.charge(c, -1)
	a.reclaim.left(c)
	age := now.Sub(c.created).Milliseconds()
	a.memoryMillis += c.amount.memory * age
	a.vcoreMillis += int64(c.amount.vcores) * age
	a.taken(c, exit, age)
	c.finished, c.status, c.terminal = now, c.statusProto(exit, diagnostics), s
	if a.recent = append(a.recent, c); len(a.recent) > maxRecent {
		a.recent = a.recent[1:]
	}
	t := a.current()
	switch {
	case t == nil || a.closing:
		a.acknowledge(s)
	case c.isMaster && t.master == c && neverBegun(s) && !t.registered && t.host == "":
		a.placeAgain(t)
	case c.isMaster && t.master == c:
		a.masterEnded(t, exit, diagnostics)
	case c.isMaster:
		a.acknowledge(s)
	case c.state == delivered && !isOver(t.state) && (c.id.Attempt == t.id || a.keep):
		t.done = append(t.done, c)
		a.signal()
	default:
		if i := slices.Index(t.ready, c); i >= 0 {
			// Its master never heard of it, so it still wants one.
			t.ready = slices.Delete(t.ready, i, i+1)
			if g := t.asks.byID[c.group]; g != nil {
				g.restore(c.placed)
				a.ask()
			}
		}
		a.acknowledge(s)
	}
}

// acknowledgeAll acknowledges the ends of containers that nobody needs to hear of any more.
func (a *application) acknowledgeAll(all []*container) {
	for _, c := range all {
		if c.terminal != nil {
			a.acknowledge(c.terminal)
			c.terminal = nil
		}
	}
}

// neverBegun tells that the broker launched a container of which its agent knows nothing: it died in between.
func neverBegun(s *v1.TaskStatus) bool {
	return s.GetState() == v1.TaskState_TASK_STATE_LOST && s.GetReason() == v1.TaskReason_TASK_REASON_LAUNCH_FAILED
}

// placeAgain asks for another place for an attempt's master, which has not begun: the attempt stays the same.
func (a *application) placeAgain(t *attempt) {
	t.master, t.masterID, t.node, t.nodeHTTP, t.masterAsk = nil, id.ContainerID{}, id.NodeID{}, "", 0
	t.state, t.contact = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_SCHEDULED, time.Time{}
	a.askMaster()
}

// masterEnded takes the end of the current attempt's master.
func (a *application) masterEnded(t *attempt, exit int32, diagnostics string) {
	c := t.master
	switch {
	case t.unregistered:
		t.state, t.finished = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FINISHED, time.Now()
		a.close()
		return
	case a.isFinal():
		return
	}
	text := fmt.Sprintf("AM Container for %s exited with  exitCode: %d\nFailing this attempt.Diagnostics: %sFor more detailed output, check the application tracking page: http://%s/cluster/app/%s Then click on links to logs of each attempt.\n",
		t.id, exit, bounded(diagnostics), a.m.o.WebAddress, a.id)
	counted := exit != exitAborted && exit != exitDisks && exit != exitPreempted && exit != exitByRM
	a.failAttempt(t, text, counted)
	// The end is acknowledged when what follows from it is durable.
	if c.terminal != nil {
		s := c.terminal
		c.terminal = nil
		a.onDurable = append(a.onDurable, func() { a.acknowledge(s) })
	}
}

// failAttempt ends the current attempt without success; the next one begins, or the application has failed.
func (a *application) failAttempt(t *attempt, why string, counted bool) {
	now := time.Now()
	a.log.Info("an attempt has failed", zap.Stringer("attempt", t.id), zap.Bool("counted", counted), zap.String("why", cut(why, 500)))
	t.state, t.finished, t.diagnostic, t.counted, t.contact = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FAILED, now, why, counted, time.Time{}
	a.dropAsks(t)
	for _, c := range a.live() {
		if c.isMaster || !a.keep || c.state != delivered {
			c.killing = true
			if c.state != offered {
				a.killTask(c.task, "attempt "+t.id.String()+" has ended")
			}
		}
	}
	t.master, t.ready = nil, nil
	a.m.masters.release(a.m, a)
	failures := 0
	for _, o := range a.attempts {
		if o.counted && (a.validity <= 0 || now.Sub(o.finished) < a.validity) {
			failures++
		}
	}
	if failures >= a.limit || int(t.id.Number) >= maxAttempts {
		times := fmt.Sprintf("%d times", a.limit)
		if a.validity > 0 {
			times += fmt.Sprintf(" in previous %d milliseconds", a.validity.Milliseconds())
		}
		if a.limit != a.m.o.MaxAttempts {
			times += fmt.Sprintf(" (global limit =%d; local limit is =%d)", a.m.o.MaxAttempts, a.limit)
		}
		kind := "Application "
		if a.isUnmanaged {
			kind, times = "Unmanaged application ", ""
			a.end(wire.YarnApplicationStateProto_FAILED, wire.FinalApplicationStatusProto_APP_FAILED, kind+a.id.String()+" failed due to "+why+". Failing the application.")
			return
		}
		a.end(wire.YarnApplicationStateProto_FAILED, wire.FinalApplicationStatusProto_APP_FAILED,
			fmt.Sprintf("%s%s failed %s due to %s. Failing the application.", kind, a.id, times, why))
		return
	}
	done := slices.Concat(t.told, t.done)
	t.told, t.done = nil, nil
	next := a.startAttempt()
	if a.keep {
		next.done = done
		for _, c := range a.live() {
			if !c.isMaster && c.state == delivered && !c.killing {
				next.previous = append(next.previous, c)
			}
		}
	} else {
		a.acknowledgeAll(done)
	}
	if !counted {
		next.notBefore = now.Add(restartPause)
	}
	a.save(nil)
	if next.notBefore.IsZero() {
		a.askMaster()
	}
	a.signal()
}

// dropAsks takes all requests of an attempt back.
func (a *application) dropAsks(t *attempt) {
	var ids []uint64
	if t.masterAsk != 0 {
		ids = append(ids, t.masterAsk)
		t.masterAsk = 0
	}
	for g := range t.asks.byID {
		ids = append(ids, g)
	}
	t.asks = newAskTable()
	if len(ids) > 0 {
		slices.Sort(ids)
		a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Removed: ids, LastOffer: a.lastOffer}}})
	}
}

// terminate ends the application by force.
func (a *application) terminate(why string) {
	if a.isFinal() || a.closing {
		return
	}
	if t := a.current(); t != nil && !isOver(t.state) {
		t.state, t.finished, t.diagnostic = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_KILLED, time.Now(), why
	}
	a.end(wire.YarnApplicationStateProto_KILLED, wire.FinalApplicationStatusProto_APP_KILLED, why)
}

// end ends an application that did not finish by itself.
func (a *application) end(s wire.YarnApplicationStateProto, final wire.FinalApplicationStatusProto, why string) {
	a.state, a.final, a.diagnostic, a.finished = s, final, bounded(why), time.Now()
	a.m.count(s)
	a.close()
}

// close hands the application over to the broker as ended; all that still runs is killed there.
func (a *application) close() {
	a.closing = true
	a.m.masters.release(a.m, a)
	phase, message := v1.JobPhase_JOB_PHASE_SUCCEEDED, ""
	switch {
	case a.final == wire.FinalApplicationStatusProto_APP_KILLED:
		phase, message = v1.JobPhase_JOB_PHASE_KILLED, a.diagnostic
	case a.final != wire.FinalApplicationStatusProto_APP_SUCCEEDED:
		phase, message = v1.JobPhase_JOB_PHASE_FAILED, a.diagnostic
		if message == "" {
			message = "its master said that it failed"
		}
	}
	now := time.Now()
	for _, c := range a.containers {
		age := now.Sub(c.created).Milliseconds()
		a.memoryMillis += c.amount.memory * age
		a.vcoreMillis += int64(c.amount.vcores) * age
	}
	a.containers, a.held, a.heldCount = map[uint64]*container{}, amount{}, 0
	result, err := proto.Marshal(a.record(false))
	if err != nil {
		a.log.Error("an application cannot be written down", zap.Stringer("application", a.id), zap.Error(err))
	}
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{Unregister: &v1.Unregister{Phase: phase, Message: message, Result: result}}})
	a.signal()
}

// closed notes that the broker has taken the end, durably.
func (a *application) closed() {
	a.ended, a.submission, a.out, a.accepted, a.onDurable, a.viewers = true, nil, nil, nil, nil, a.keptViewers()
	for _, t := range a.attempts {
		t.asks, t.last, t.ready, t.done, t.told, t.given, t.updates = nil, nil, nil, nil, nil, nil, nil
	}
	a.log.Info("an application has ended", zap.Stringer("application", a.id), zap.Stringer("state", a.state), zap.Stringer("final", a.final))
	a.m.retire(a)
	a.signal()
}

// lostFramework ends an application whose framework the broker has given up, such as a job that was ended by force.
func (a *application) lostFramework(why string) {
	a.closing = true
	if !a.isFinal() {
		a.state, a.final, a.finished = wire.YarnApplicationStateProto_KILLED, wire.FinalApplicationStatusProto_APP_KILLED, time.Now()
		a.diagnostic = "Application " + a.id.String() + " was killed by the broker: " + why
	}
	a.m.masters.release(a.m, a)
	a.containers, a.held, a.heldCount = map[uint64]*container{}, amount{}, 0
	a.restoring = false
	a.closed()
}

// nodeChanged tells the master of a node that was lost or is back; what ran on a lost one has ended.
func (a *application) nodeChanged(n *node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.current()
	if t == nil || a.closing || a.ended {
		return
	}
	r := nodeReport(n)
	t.updates = append(slices.DeleteFunc(t.updates, func(o *wire.NodeReportProto) bool { return proto.Equal(o.NodeId, r.NodeId) }), r)
	if n.State != wire.NodeStateProto_NS_LOST {
		return
	}
	for _, c := range a.live() {
		if c.agent != n.agent || c.state == offered {
			continue
		}
		c.lost = true
		a.settled[c.task] = true
		a.killTask(c.task, saidLost) // the broker has it killed when the agent is back
		a.complete(c, exitAborted, saidLost, nil)
		if a.closing {
			return
		}
	}
	a.signal()
	a.poke()
}

// expire does what is due.
func (a *application) expire(now time.Time) {
	t := a.current()
	switch {
	case t == nil || a.closing || a.restoring:
		return
	case t.unregistered && !now.Before(a.finished.Add(a.m.o.FinishGrace)):
		t.state, t.finished = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FINISHED, now
		a.close()
		return
	case a.isFinal():
	case !a.expires.IsZero() && !now.Before(a.expires):
		a.terminate(fmt.Sprintf("Application killed due to exceeding its lifetime period %d milliseconds", a.expires.Sub(a.submitted).Milliseconds()))
		return
	case !t.contact.IsZero() && !now.Before(t.contact.Add(a.m.o.MasterExpiry)):
		a.failAttempt(t, fmt.Sprintf("ApplicationMaster for attempt %s timed out", t.id), true)
		return
	case !t.notBefore.IsZero() && !now.Before(t.notBefore):
		t.notBefore = time.Time{}
		a.askMaster()
	}
	if r := a.reclaim; r != nil && !r.struck && !now.Before(r.due) {
		a.preempt()
	}
	if !a.resync.IsZero() && !now.Before(a.resync) {
		a.resync = time.Time{}
		a.later = a.endUnused
	}
}

// endUnused ends containers of before a restart that nobody has begun: the broker keeps that they were launched, but not
// whether a master was told. Their agents know whether one has come.
func (a *application) endUnused(ctx context.Context) {
	byNode := map[id.NodeID][]*container{}
	a.mu.Lock()
	t := a.current()
	if t == nil || a.closing {
		a.mu.Unlock()
		return
	}
	for _, c := range a.live() {
		if c.wasWaiting && !c.running && !c.isMaster {
			byNode[c.node] = append(byNode[c.node], c)
		}
	}
	a.mu.Unlock()
	for where, all := range byNode {
		begun, err := a.m.begun(ctx, a, t, where, all)
		a.mu.Lock()
		for _, c := range all {
			switch {
			case a.containers[c.task] != c || c.running:
			case err != nil:
				a.resync = time.Now().Add(a.m.o.ResyncGrace) // the agent is asked again
			case begun[c.id]:
				c.wasWaiting = false
			default:
				c.killing = true
				a.killTask(c.task, saidExpired)
			}
		}
		a.mu.Unlock()
	}
}

// deadline is how long nothing is due, at most an hour.
func (a *application) deadline(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	sooner := func(at time.Time) {
		if at.Before(next) {
			next = at
		}
	}
	t := a.current()
	if t == nil || a.closing {
		return time.Hour
	}
	if t.unregistered {
		sooner(a.finished.Add(a.m.o.FinishGrace))
	} else {
		if !a.expires.IsZero() {
			sooner(a.expires)
		}
		if !t.contact.IsZero() {
			sooner(t.contact.Add(a.m.o.MasterExpiry))
		}
		if !t.notBefore.IsZero() {
			sooner(t.notBefore)
		}
	}
	if !a.resync.IsZero() {
		sooner(a.resync)
	}
	if r := a.reclaim; r != nil && !r.struck {
		sooner(r.due)
	}
	return max(next.Sub(now), time.Millisecond)
}
