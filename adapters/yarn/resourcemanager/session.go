package resourcemanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/token"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

const (
	failover = 30 * 24 * time.Hour // an application waits so long for its broker
	resend   = 20 * time.Millisecond
	maxQueue = 1 << 16 // calls that wait for a broker that does not take them
)

func newApplication(m *Manager) *application {
	return &application{
		m: m, log: m.o.Log, wake: make(chan struct{}, 1), containers: map[uint64]*container{}, accepted: map[uint64][]*container{},
		settled: map[uint64]bool{},
	}
}

// run speaks with the broker until the application has ended or ctx has.
func (a *application) run(ctx context.Context) {
	for wait := resend; ; wait = min(2*wait, time.Second) {
		begun := time.Now()
		err := a.converse(ctx)
		a.mu.Lock()
		over := a.ended || a.refused != nil
		a.session = nil
		a.mu.Unlock()
		if over || ctx.Err() != nil {
			return
		}
		a.log.Info("the session with the broker has ended", zap.Stringer("application", a.id), zap.Error(err))
		if time.Since(begun) > 10*time.Second {
			wait = resend
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// converse is one session.
func (a *application) converse(ctx context.Context) error {
	s, err := a.m.o.Broker.OpenFramework(ctx, operator)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	a.mu.Lock()
	err = a.begin(s)
	a.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-s.Events():
			a.mu.Lock()
			if !ok {
				err := s.Err()
				if a.closing && errors.Is(err, api.ErrSessionEnded) && !errors.Is(err, api.ErrUnavailable) {
					a.closed()
				}
				a.mu.Unlock()
				return err
			}
			a.event(e)
		case <-a.wake:
			a.mu.Lock()
		case <-timer.C:
			a.mu.Lock()
		}
		if a.ended || a.refused != nil {
			a.mu.Unlock()
			return nil
		}
		now := time.Now()
		a.expire(now)
		if f := a.later; f != nil {
			a.later = nil
			a.mu.Unlock()
			f(ctx)
			a.mu.Lock()
			now = time.Now()
		}
		if t := a.current(); a.framework != "" && t != nil && t.notBefore.IsZero() && !a.restoring {
			a.askMaster() // it may have been admitted
		}
		a.followTags()
		next := a.deadline(now)
		if a.flush(); len(a.out) > 0 {
			next = min(next, resend)
		}
		a.mu.Unlock()
		timer.Reset(next)
	}
}

// begin registers with the broker, anew or as who it was.
func (a *application) begin(s api.FrameworkSession) error {
	a.session, a.reclaim = s, nil
	for _, all := range a.accepted {
		for _, c := range all {
			a.undo(c)
		}
	}
	clear(a.accepted)
	r := &v1.RegisterFramework{FrameworkId: a.framework, FailoverNanos: int64(failover), Kind: frameworkKind, Reclaim: a.m.o.PreemptionGrace > 0}
	if a.framework == "" {
		r.Name, r.Role, r.User = cut(a.name, 255), a.queue.role, a.user
	}
	if err := s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: r}}); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	a.out = nil // requests are stated again, what was accepted is settled by what the broker knows
	if a.framework == "" {
		// Its state travels with the registration, so that they become durable together.
		a.save(nil)
		a.askMaster()
	}
	return nil
}

// cut shortens a text to n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// send queues a call and tries to hand over what waits. With mu held.
func (a *application) send(c *v1.FrameworkCall) {
	if a.session == nil {
		return // the next session states all anew: begin and resume
	}
	if a.out = append(a.out, c); len(a.out) > maxQueue {
		_ = a.session.Close()
	}
	if a.flush(); len(a.out) > 0 {
		a.poke()
	}
}

// flush hands over what waits, in order, as far as the broker takes it.
func (a *application) flush() {
	if a.session == nil {
		return
	}
	for len(a.out) > 0 {
		err := a.session.Send(a.out[0])
		if errors.Is(err, api.ErrUnavailable) && a.session.Err() == nil {
			return // it is busy
		}
		if err != nil {
			return // the session has ended; the next one settles what is left
		}
		a.out[0] = nil
		a.out = a.out[1:]
	}
	a.out = nil
}

// event takes one word of the broker.
func (a *application) event(e *v1.FrameworkEvent) {
	switch x := e.GetEvent().(type) {
	case *v1.FrameworkEvent_Registered:
		a.registered(x.Registered)
	case *v1.FrameworkEvent_Offers:
		a.offered(x.Offers.GetOffers())
	case *v1.FrameworkEvent_Accepted:
		a.confirmed(x.Accepted.GetOffer())
	case *v1.FrameworkEvent_Status:
		a.status(x.Status)
	case *v1.FrameworkEvent_AgentLost:
		a.m.askLook() // the expiry runs from when it was last heard
	case *v1.FrameworkEvent_Refused:
		a.refusal(x.Refused)
	case *v1.FrameworkEvent_Resized:
		a.resized(x.Resized)
	case *v1.FrameworkEvent_Reclaim:
		a.reclaimAsked(x.Reclaim)
	case *v1.FrameworkEvent_RoleChanged:
		a.moved()
	case *v1.FrameworkEvent_KillJob:
		a.terminate(fmt.Sprintf("Application %s was killed: %s", a.id, x.KillJob.GetReason()))
	case *v1.FrameworkEvent_StateSaved:
		a.durable = x.StateSaved.GetVersion()
		if a.durable >= a.version {
			for _, f := range a.onDurable {
				f()
			}
			a.onDurable = nil
		}
		a.signal()
	}
}

// registered takes the broker's answer to a registration.
func (a *application) registered(r *v1.FrameworkRegistered) {
	fresh := a.framework == ""
	a.framework, a.job, a.keys = r.FrameworkId, r.JobId, token.Keys(r.JobSecret)
	a.nextTask = max(a.nextTask, r.NextSequence)
	switch {
	case fresh:
	case a.restoring:
		a.restore(r)
	default:
		a.resume(r)
	}
	a.progress()
	a.signal()
}

// progress tells the broker's jobs which application this is.
func (a *application) progress() {
	p := &v1.JobProgress{Phase: v1.JobPhase_JOB_PHASE_RUNNING, Status: a.id.String(), Labels: a.jobLabels()}
	if t := a.current(); t != nil {
		p.TrackingAddress = t.tracking
		p.Progress, p.Counters = t.pages, t.counters
		if len(t.pages) == 0 {
			p.Progress = []*v1.Progress{{Name: "application", Total: 1, Running: 1, Fraction: float64(t.progress)}}
		}
	}
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Progress{Progress: p}})
}

// resume settles what was under way when a session broke: what the broker launched is there, what it did not is not.
func (a *application) resume(r *v1.FrameworkRegistered) {
	live := map[uint64]bool{}
	for _, s := range r.Tasks {
		live[s.GetTask().GetSequence()] = true
		if a.containers[s.GetTask().GetSequence()] == nil {
			a.killTask(s.GetTask().GetSequence(), "its launch was not confirmed")
		}
	}
	if a.version > r.StateVersion {
		a.save(nil)
	}
	if a.closing {
		a.close()
		return
	}
	for _, c := range a.live() {
		if !live[c.task] {
			a.reconcile(c.task) // its end may be on the way
		}
	}
	for _, c := range a.live() {
		if c.released || c.killing {
			a.killTask(c.task, "it is not wanted any more")
		}
	}
	a.resizeAgain(r.Resized)
	if a.former != nil {
		a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_ChangeRole{ChangeRole: &v1.ChangeRole{Role: a.queue.role}}})
	}
	if t := a.current(); t != nil {
		if t.masterAsk != 0 {
			t.masterAsk = 0
			a.askMaster()
		}
		if t.asks != nil {
			t.asks.soil()
			a.ask()
		}
	}
}

// refusal takes a no of the broker.
func (a *application) refusal(r *v1.Refused) {
	switch {
	case r.GetFatal():
		a.log.Warn("the broker refused an application", zap.Stringer("application", a.id), zap.String("why", r.Message))
		if a.framework == "" {
			a.refused = errors.New(r.Message)
		} else {
			// Its framework is gone: nothing of it runs any more.
			a.lostFramework(r.Message)
		}
		a.signal()
	case r.GetCall() == "change_role":
		a.log.Warn("an application was not moved", zap.Stringer("application", a.id), zap.String("why", r.Message))
		if a.former != nil {
			a.m.masters.release(a.m, a)
			a.queue, a.former = a.former, nil
			if t := a.current(); t != nil && t.master != nil {
				a.admitted = true
				a.m.masters.hold(a)
			}
			a.save(nil)
		}
	case r.GetCall() == "resize":
		a.notResized(r)
	case r.GetCall() == "accept":
		for _, c := range a.accepted[r.Offer] {
			a.undo(c)
		}
		delete(a.accepted, r.Offer)
		if t := a.current(); t != nil && t.asks != nil {
			a.gather(t)
		}
		a.ask()
		a.signal()
	default:
		a.log.Debug("the broker refused a call", zap.Stringer("application", a.id), zap.String("call", r.GetCall()), zap.String("why", r.GetMessage()))
	}
}

// undo forgets a container whose launch came to nothing.
func (a *application) undo(c *container) {
	delete(a.containers, c.task)
	a.charge(c, -1)
	t := a.current()
	switch {
	case t == nil:
	case c.isMaster:
		if t.master == c {
			a.placeAgain(t)
		}
	case t.asks != nil && t.asks.byID[c.group] != nil:
		t.asks.byID[c.group].restore(c.placed)
	}
}

// charge counts a container's resources for the application, or takes them off.
func (a *application) charge(c *container, sign int64) {
	if s := a.m.cluster(); a.baseline != s {
		a.baseline, a.baseHeld = s, a.held // the first change since that snapshot
	}
	a.held.memory += sign * c.amount.memory
	a.held.vcores += int32(sign) * c.amount.vcores
	a.heldCount += int(sign)
	a.recount(c, sign)
}

func (a *application) killTask(seq uint64, why string) {
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: &v1.TaskID{Sequence: seq}, Reason: why}}})
}

func (a *application) reconcile(seq uint64) {
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Reconcile{Reconcile: &v1.Reconcile{Tasks: []*v1.TaskID{{Sequence: seq}}}}})
}

func (a *application) acknowledge(s *v1.TaskStatus) {
	if s.GetSequence() != 0 {
		a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: s.Task, Sequence: s.Sequence}}})
	}
}

// save has the broker keep what must survive; then runs when it is durable. With mu held.
func (a *application) save(then func()) {
	a.version++
	if then != nil {
		a.onDurable = append(a.onDurable, then)
	}
	b, err := proto.Marshal(a.record(true))
	if err != nil {
		a.log.Error("an application cannot be written down", zap.Stringer("application", a.id), zap.Error(err))
		return
	}
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_SaveState{SaveState: &v1.SaveState{Version: a.version, State: b}}})
}
