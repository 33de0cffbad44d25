package resourcemanager

import (
	"slices"

	v1 "fairway/broker/api/fairwayv1"
)

// A gang is an application of Spark whose first executors come at once or not at all. The allocator offers them so; here it
// is only held together what is on its way from an offer to the master. Executors of several profiles are several groups of
// the broker: those of one begin together, and the others then come as they can.

// saidGang is why containers of a gang of which one came to nothing are ended; no master hears of them.
const saidGang = "another that is to begin with it was lost before it came"

// isGang tells whether an attempt is to begin with its first executors at once.
func (a *application) isGang() bool { return a.kind == sparkType && a.wish.Gang && !a.hasExecutors() }

// hasExecutors tells whether some run: of before a restart, or of an attempt whose containers are kept.
func (a *application) hasExecutors() bool {
	for _, c := range a.containers {
		if !c.isMaster && c.running && c.state == delivered {
			return true
		}
	}
	return false
}

// beginning is how many containers a group begins with, of which its master was handed none yet, and how many of them are
// on their way to it.
func (a *application) beginning(g *askGroup, undelivered []*container) (all, come int64) {
	come = waiting(undelivered, g.id, anywhere)
	if come == 0 {
		g.begins = 0 // what was on its way came to nothing
	}
	if g.begins > 0 {
		return g.begins, come
	}
	return a.wish.First(come + max(g.any.count, 0)), come
}

// atOnce states for a group's request how many must come together.
func (a *application) atOnce(t *attempt, r *v1.RequestGroup, undelivered []*container) {
	if g := t.asks.byID[r.Id]; g != nil && g.tag == nil {
		all, come := a.beginning(g, undelivered)
		r.Minimum = uint32(min(max(all-come, 0), int64(r.Total)))
	}
}

// tooFew are the groups of a gang of which less is offered than they begin with: an agent went meanwhile.
func (a *application) tooFew(t *attempt, offers []*v1.Offer) map[uint64]bool {
	if t == nil || !t.gathers || a.closing {
		return nil
	}
	sum, few := map[uint64]int64{}, map[uint64]bool{}
	for _, o := range offers {
		if a.mayServe(t, o) {
			sum[o.Group] += int64(o.Count)
		}
	}
	undelivered := a.undelivered(t)
	for _, o := range offers {
		g := t.asks.byID[o.Group]
		if g == nil || g.tag != nil || few[g.id] {
			continue
		}
		if all, come := a.beginning(g, undelivered); come+min(sum[g.id], g.any.count) < all {
			few[g.id] = true
		} else {
			g.begins = all
		}
	}
	return few
}

// gather tells whether an attempt's master may have the containers that are ready. Those of a gang of which one has come to
// nothing end, and all of it is asked for again.
func (a *application) gather(t *attempt) bool {
	if !t.gathers {
		return true
	}
	if a.hasExecutors() || slices.ContainsFunc(t.ready, func(c *container) bool { return a.isWhole(t, c.group) }) {
		a.begun(t)
		return true
	}
	if len(t.ready) == 0 || len(a.accepted) > 0 {
		return false
	}
	for _, c := range t.ready {
		c.killing = true
		if g := t.asks.byID[c.group]; g != nil {
			g.restore(c.placed)
		}
		a.killTask(c.task, saidGang)
	}
	t.ready = nil
	t.asks.soil()
	a.ask()
	return false
}

// isWhole tells whether all that a group begins with is ready.
func (a *application) isWhole(t *attempt, group uint64) bool {
	g := t.asks.byID[group]
	return g == nil || g.tag != nil || g.begins > 0 && waiting(t.ready, group, anywhere) >= g.begins
}

// begun notes that an attempt has its first executors: what it asks for comes one by one.
func (a *application) begun(t *attempt) {
	t.gathers = false
	t.asks.soil()
	a.ask()
}
