package resourcemanager

import (
	"fmt"
	"time"

	"fairway/adapters/yarn/wire"
	"fairway/frameworks/spark"
)

// saidGang is why containers of a gang that did not come together are ended; no master hears of them.
const saidGang = "the others that are to begin with it did not come"

// newGang is what holds an attempt's first executors together; nil if they may come one by one.
func (a *application) newGang() *spark.Gang {
	if a.kind != sparkType || !a.wish.Gang {
		return nil
	}
	return spark.NewGang(a.wish.Minimum, uint64(a.id.Number))
}

// gather tells whether an attempt's master may have the containers that are ready. What a gang has kept for too long ends.
func (a *application) gather(t *attempt, now time.Time) bool {
	if t.gang == nil {
		return true
	}
	if a.hasExecutors() {
		t.gang = nil
		a.quieten(t, false)
		return true
	}
	verdict := t.gang.Step(now, int64(len(t.ready)), t.asks.outstanding())
	if verdict == spark.GiveBack {
		for _, c := range t.ready {
			c.killing = true
			if g := t.asks.byID[c.group]; g != nil {
				g.restore(c.placed)
			}
			a.killTask(c.task, saidGang)
		}
		t.ready, t.quiet = nil, true
		t.asks.soil()
		a.ask()
		return false
	}
	a.quieten(t, t.gang.Resting(now))
	return verdict == spark.Begin
}

// hasExecutors tells whether some run: of before a restart, or of an attempt whose containers are kept.
func (a *application) hasExecutors() bool {
	for _, c := range a.containers {
		if !c.isMaster && c.running && c.state == delivered {
			return true
		}
	}
	return false
}

// quieten has an attempt's asks taken back, or stated again.
func (a *application) quieten(t *attempt, quiet bool) {
	if t.quiet != quiet {
		t.quiet = quiet
		t.asks.soil()
		a.ask()
	}
}

// gathering says in a line why an application has no executors though some have come; empty: that is not why.
func (a *application) gathering(now time.Time) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.current()
	if t == nil || a.closing || a.ended || t.unregistered || t.state != wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_RUNNING {
		return ""
	}
	kept, asked := int64(len(t.ready)), t.asks.outstanding()
	whole := t.gang.Whole(kept, asked)
	in := t.gang.Due().Sub(now).Round(time.Second)
	switch {
	case whole == 0:
		return ""
	case t.gang.Resting(now):
		return fmt.Sprintf("it begins with %d executors or waits whole: those that came were given back, as the others did not, and it asks again in %s", whole, in)
	case kept > 0:
		return fmt.Sprintf("it begins with %d executors or waits whole: %d have come, and are given back in %s if the others do not", whole, kept, in)
	}
	return ""
}
