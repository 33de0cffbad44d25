package sdk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// drain is how many further events a turn may take before what the scheduler said is sent.
const drain = 64

// unregisterWait is how long Run waits for the broker to end a session after the final message.
const unregisterWait = 5 * time.Second

// mailboxRetry is the pause after the broker's mailbox was full.
const mailboxRetry = 20 * time.Millisecond

// Run registers the framework and serves its scheduler until it has unregistered (nil), ctx ends (its error), the
// broker refuses the framework for good, or no broker could be reached for Config.GiveUp.
func (d *Driver) Run(ctx context.Context) (err error) {
	defer close(d.done)
	dialed := make(chan dialResult, 1)
	dialCtx, stopDialing := context.WithCancel(ctx)
	dialing := false
	defer func() {
		stopDialing()
		if dialing { // its goroutine ends now that the context has
			if r := <-dialed; r.session != nil {
				r.session.Close()
			}
		}
		if d.session != nil {
			d.session.Close()
		}
	}()

	var (
		now          = time.Now()
		alone        = now // since when there is no registered session
		redial       = now
		backoff      = d.c.MinBackoff
		lastErr      error
		heartbeat    time.Time
		registeredBy time.Time
		finalSent    time.Time
		wake         = time.NewTimer(0)
	)
	defer wake.Stop()
	lose := func(cause error) error {
		if d.session != nil {
			d.session.Close()
			d.session = nil
		}
		if cause != nil {
			lastErr = cause
		}
		was := d.connected
		d.connected = false
		if was {
			alone, backoff = now, d.c.MinBackoff
		}
		d.forgetSession()
		if permanent(cause) && !(d.final != nil && was) {
			return d.errorf("session with the broker: %w", cause)
		}
		redial = now.Add(backoff)
		backoff = min(2*backoff, d.c.MaxBackoff)
		if was && d.final == nil {
			d.log.Warn("lost the broker, dialing again", zap.Error(cause))
			d.c.Scheduler.Disconnected(d, cause)
		}
		return nil
	}

	for {
		// 1. What is due.
		now = time.Now()
		if d.session == nil && !dialing {
			if now.Sub(alone) >= d.c.GiveUp {
				return d.errorf("no broker for %s: %w", d.c.GiveUp, orUnavailable(lastErr))
			}
			if !now.Before(redial) {
				dialing = true
				go func() { // ends with dialCtx; Run waits for it
					s, err := d.c.Dial(dialCtx)
					dialed <- dialResult{s, err}
				}()
			}
		}
		d.timers.run(now)

		// 2. Send what was said.
		if d.session != nil && d.connected {
			if !heartbeat.After(now) {
				d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Heartbeat{Heartbeat: &v1.Heartbeat{}}})
				heartbeat = now.Add(d.c.Heartbeat)
			}
			finalTaken, err := d.flush(now)
			if err != nil {
				if finalTaken && over(err) {
					return nil
				}
				if err := lose(err); err != nil {
					return err
				}
				continue
			}
			if finalTaken && finalSent.IsZero() {
				finalSent = now
			}
		}
		d.deliverLost()

		// 3. Wait.
		next := d.timers.next()
		earlier := func(t time.Time) {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
		var events <-chan *v1.FrameworkEvent
		switch {
		case d.session == nil && !dialing:
			earlier(redial)
			earlier(alone.Add(d.c.GiveUp))
		case d.session != nil:
			events = d.session.Events()
			if d.connected {
				earlier(heartbeat)
				earlier(d.retryAt)
				if d.progress.dirty {
					earlier(d.progress.sentAt.Add(d.c.ProgressEvery))
				}
				if !finalSent.IsZero() {
					earlier(finalSent.Add(unregisterWait))
				}
			} else {
				earlier(registeredBy)
			}
		}
		if len(d.out)+len(d.lost) > 0 && d.retryAt.IsZero() && d.connected {
			earlier(now) // statuses just delivered made the scheduler speak
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			wake.Reset(time.Until(next))
			timer = wake.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer:
			now = time.Now()
			if d.session != nil && !d.connected && !registeredBy.After(now) {
				if err := lose(fmt.Errorf("%w: no answer to the registration", api.ErrUnavailable)); err != nil {
					return err
				}
			}
			if !finalSent.IsZero() && now.Sub(finalSent) >= unregisterWait {
				return nil
			}
		case f := <-d.posts:
			f()
			d.drainPosts()
		case r := <-dialed:
			dialing = false
			now = time.Now()
			if r.err == nil {
				r.err = r.session.Send(d.registration())
				if r.err != nil {
					r.session.Close()
				}
			}
			if r.err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err := lose(r.err); err != nil {
					return err
				}
				continue
			}
			d.session = r.session
			registeredBy = now.Add(30 * time.Second)
		case e, ok := <-events:
			now = time.Now()
			for n := 0; ok; n++ {
				if r := e.GetRegistered(); r != nil {
					backoff, heartbeat, finalSent = d.c.MinBackoff, now.Add(d.c.Heartbeat), time.Time{}
				}
				if err := d.handle(e); err != nil {
					return err
				}
				if n == drain {
					break
				}
				select {
				case e, ok = <-events:
					continue
				default:
				}
				break
			}
			if !ok {
				cause := d.session.Err()
				if d.ended && over(cause) {
					return nil
				}
				if err := lose(orUnavailable(cause)); err != nil {
					return err
				}
			}
		}
	}
}

type dialResult struct {
	session api.FrameworkSession
	err     error
}

// over reports whether a session that ended so after Unregister ended because of it.
func over(err error) bool {
	return err == nil || errors.Is(err, api.ErrSessionEnded) || errors.Is(err, api.ErrNotFound)
}

// permanent errors are not cured by dialing again.
func permanent(err error) bool {
	return errors.Is(err, api.ErrFenced) || errors.Is(err, api.ErrDenied) || errors.Is(err, api.ErrInvalid) ||
		errors.Is(err, api.ErrNotFound) || errors.Is(err, api.ErrExists)
}

func orUnavailable(err error) error {
	if err == nil {
		return api.ErrUnavailable
	}
	return err
}

func (d *Driver) registration() *v1.FrameworkCall {
	r := proto.Clone(d.c.Register).(*v1.RegisterFramework)
	r.FrameworkId = d.framework
	return &v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: r}}
}

func (d *Driver) drainPosts() {
	for range drain {
		select {
		case f := <-d.posts:
			f()
		default:
			return
		}
	}
}

// forgetSession drops what counted only in the session that has ended.
func (d *Driver) forgetSession() {
	for id := range d.open { // offers are void without their session
		d.answered(id, 0)
	}
	out := d.out
	d.out, d.retryAt, d.ended = nil, time.Time{}, false
	for _, c := range out {
		if a := c.GetAccept(); a != nil {
			for _, t := range a.Tasks {
				d.loseTask(t.Task, "the broker was lost before it heard of the task")
			}
		}
	}
}

// loseTask makes up the terminal status of a task that no agent will ever tell of.
func (d *Driver) loseTask(id *v1.TaskID, why string) {
	d.lost = append(d.lost, &v1.TaskStatus{Task: d.taskID(id.Sequence), State: v1.TaskState_TASK_STATE_LOST,
		Reason: v1.TaskReason_TASK_REASON_LAUNCH_FAILED, Message: why})
}

func (d *Driver) deliverLost() {
	for len(d.lost) > 0 {
		s := d.lost[0]
		d.lost = d.lost[1:]
		d.status(s)
	}
}

// flush sends what the scheduler has said, in order; finalTaken tells that Unregister has gone out.
func (d *Driver) flush(now time.Time) (finalTaken bool, err error) {
	if d.ended {
		return true, nil
	}
	if d.retryAt.After(now) {
		return false, nil
	}
	d.retryAt = time.Time{}
	if d.dirty && d.final == nil {
		d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: d.statement()}})
	}
	if d.progress.dirty && (d.final != nil || now.Sub(d.progress.sentAt) >= d.c.ProgressEvery) {
		d.progress.dirty, d.progress.sentAt = false, now
		d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Progress{
			Progress: proto.Clone(d.progress.latest).(*v1.JobProgress)}})
	}
	for len(d.out) > 0 {
		if err := d.session.Send(d.out[0]); errors.Is(err, api.ErrUnavailable) && d.session.Err() == nil {
			d.retryAt = now.Add(mailboxRetry)
			return false, nil
		} else if err != nil {
			return false, err
		}
		d.out = d.out[1:]
	}
	d.out = nil
	if d.final != nil {
		err := d.session.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{
			Unregister: proto.Clone(d.final).(*v1.Unregister)}})
		if errors.Is(err, api.ErrUnavailable) && d.session.Err() == nil {
			d.retryAt = now.Add(mailboxRetry)
			return false, nil
		}
		d.ended = true
		return true, err
	}
	return false, nil
}

// statement is the groups that have changed, with new versions.
func (d *Driver) statement() *v1.UpdateRequests {
	u := &v1.UpdateRequests{Removed: d.removed, LastOffer: d.lastOffer}
	for _, id := range sortedKeys(d.groups) {
		if g := d.groups[id]; g.dirty {
			g.dirty = false
			d.version++
			g.wanted.Version = d.version
			u.Groups = append(u.Groups, proto.Clone(g.wanted).(*v1.RequestGroup))
		}
	}
	d.removed, d.dirty = nil, false
	return u
}
