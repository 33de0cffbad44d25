package sdk

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// handle takes one event of the session. An error ends the driver.
func (d *Driver) handle(e *v1.FrameworkEvent) error {
	if r := e.GetRegistered(); r != nil {
		d.registered(r)
		return nil
	}
	if r := e.GetRefused(); r != nil && r.Fatal {
		return d.errorf("refused by the broker: %w", fatal(r))
	}
	if d.final != nil || !d.connected {
		return nil // the scheduler has said its last word, or the broker speaks before its time
	}
	s := d.c.Scheduler
	switch e := e.Event.(type) {
	case *v1.FrameworkEvent_Offers:
		for _, o := range e.Offers.Offers {
			d.lastOffer = max(d.lastOffer, o.Id)
			if g := d.groups[o.Group]; g != nil {
				n := min(g.wanted.Total, o.Count)
				g.wanted.Total -= n
				d.open[o.Id] = openOffer{o.Group, n}
			}
		}
		s.Offers(d, e.Offers.Offers)
	case *v1.FrameworkEvent_Rescind:
		d.answered(e.Rescind.Offer, 0)
		s.Rescinded(d, e.Rescind.Offer, e.Rescind.Reason)
	case *v1.FrameworkEvent_Status:
		d.status(e.Status)
	case *v1.FrameworkEvent_AgentLost:
		s.AgentLost(d, e.AgentLost)
	case *v1.FrameworkEvent_Refused:
		d.refused(e.Refused)
	case *v1.FrameworkEvent_KillJob:
		s.KillJob(d, e.KillJob.Reason)
	}
	d.deliverLost()
	return nil
}

// fatal is the error of a refusal that ends the session.
func fatal(r *v1.Refused) error {
	return fmt.Errorf("%s: %s", r.Call, r.Message)
}

func (d *Driver) registered(r *v1.FrameworkRegistered) {
	again := d.framework != "" && d.framework == r.FrameworkId
	if !again {
		d.first, d.next = max(r.NextSequence, 1), max(r.NextSequence, 1)
	}
	d.next = max(d.next, r.NextSequence)
	d.framework, d.jobID, d.secret = r.FrameworkId, r.JobId, r.JobSecret
	d.connected, d.lastOffer = true, 0
	d.log.Debug("registered", zap.String("framework", r.FrameworkId), zap.String("job", r.JobId), zap.Bool("again", again))
	if d.final != nil {
		return
	}
	for _, g := range d.groups { // requests do not survive a session
		g.dirty, d.dirty = true, true
	}
	d.removed = nil
	d.progress.dirty = d.progress.latest != nil
	d.c.Scheduler.Registered(d, r)

	known := make(map[uint64]bool, len(r.Tasks))
	for _, s := range r.Tasks {
		known[s.GetTask().GetSequence()] = true
		d.status(s)
	}
	ask := &v1.Reconcile{}
	for _, seq := range sortedKeys(d.live) {
		if !known[seq] {
			ask.Tasks = append(ask.Tasks, d.taskID(seq))
		}
		if k := d.killing[seq]; k != nil {
			d.Kill(seq, time.Duration(k.GraceNanos), k.Reason)
		}
	}
	if len(ask.Tasks) > 0 {
		d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Reconcile{Reconcile: ask}})
	}
}

// status hands a status to the scheduler, at most one terminal one of each task, and acknowledges it.
func (d *Driver) status(s *v1.TaskStatus) {
	id := s.GetTask()
	if id == nil {
		return
	}
	_, live := d.live[id.Sequence]
	ours := id.Framework == d.framework && id.Sequence >= d.first && id.Sequence < d.next
	if live || !ours { // a repeated terminal status is acknowledged only
		if Terminal(s.State) {
			delete(d.live, id.Sequence)
			delete(d.killing, id.Sequence)
		}
		if d.final == nil {
			d.c.Scheduler.Status(d, s)
		}
	}
	if s.Sequence > 0 {
		d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{
			Task: id, Sequence: s.Sequence}}})
	}
}

func (d *Driver) refused(r *v1.Refused) {
	d.log.Debug("call refused", zap.String("call", r.Call), zap.String("why", r.Message))
	if r.Call == "accept" {
		for _, t := range r.Tasks {
			if _, ok := d.live[t.GetSequence()]; ok {
				d.loseTask(t, r.Message)
			}
		}
	}
	if r.Call == "requests" && r.RetryNanos > 0 {
		d.After(time.Duration(r.RetryNanos), func() {
			for _, g := range d.groups {
				g.dirty, d.dirty = true, true
			}
		})
	}
	d.c.Scheduler.Refused(d, r)
}

// Terminal reports whether a task in this state has ended.
func Terminal(s v1.TaskState) bool {
	switch s {
	case v1.TaskState_TASK_STATE_FINISHED, v1.TaskState_TASK_STATE_FAILED, v1.TaskState_TASK_STATE_KILLED, v1.TaskState_TASK_STATE_LOST:
		return true
	}
	return false
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// Opener returns a Dial over a broker's interface, in process or remote.
func Opener(b interface {
	OpenFramework(ctx context.Context, caller api.Caller) (api.FrameworkSession, error)
}, caller api.Caller) Dial {
	return func(ctx context.Context) (api.FrameworkSession, error) { return b.OpenFramework(ctx, caller) }
}
