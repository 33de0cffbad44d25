package driver

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

const (
	pageTasks = 250 // asked for at once
	pollPages = 8   // in one poll
	maxShown  = 16  // stages in a report
)

// Report is what is known of a run of an application.
type Report struct {
	Stages              []Stage // by id: those that run, and the last that have ended
	Seen, Ended, Failed int     // attempts of stages, of all
	Locality            Locality
	Uncounted           int64 // attempts of tasks that had begun at the last answer and whose locality is not known
}

// Tally gathers what the driver of one run of an application says. It serves one goroutine.
type Tally struct {
	attempts map[key]*attempt // that the driver still lists
	gone     Report           // sums of those that it does not
	length   int              // of a page of tasks
	bytes    int              // of an answer, at most
	report   Report
}

// attempt is what is known of an attempt of a stage.
type attempt struct {
	stage   Stage
	counted Locality
	at      int  // tasks that were begun when counted was
	whole   bool // nothing more will come of it
	listed  bool

	// Of one that has ended, whose tasks are read over several polls: those before offset.
	part   Locality
	offset int
}

// NewTally makes an empty one.
func NewTally() *Tally {
	return &Tally{attempts: map[key]*attempt{}, length: pageTasks, bytes: maxBody}
}

// Report is what is known so far. It is not changed later.
func (t *Tally) Report() Report { return t.report }

// Poll asks the driver once: for its stages, and for the tasks of some that have changed. What is not asked for now is next
// time. It tells whether anything is new; after an error what was known stays.
func (t *Tally) Poll(ctx context.Context, get Get) (changed bool, err error) {
	list, err := stages(ctx, get, t.bytes)
	if err != nil {
		return false, err
	}
	for _, a := range t.attempts {
		a.listed = false
	}
	for _, s := range list {
		k := key{s.ID, s.Attempt}
		a := t.attempts[k]
		if a == nil {
			a = &attempt{}
			t.attempts[k] = a
		}
		if a.stage != s {
			a.stage, changed = s, true
		}
		a.listed = true
	}
	for k, a := range t.attempts {
		if !a.listed {
			t.forget(k, a)
		}
	}
	counted, err := t.count(ctx, get)
	t.summarise()
	return changed || counted, err
}

// forget keeps the sums of an attempt that the driver lists no more.
func (t *Tally) forget(k key, a *attempt) {
	delete(t.attempts, k)
	t.gone.Seen++
	t.gone.Ended++
	if a.stage.Ended && !a.stage.OK {
		t.gone.Failed++
	}
	t.gone.Locality.add(a.counted)
	t.gone.Uncounted += max(0, int64(a.stage.started())-a.counted.Tasks())
}

// count asks for the tasks of attempts: those that have ended first, for they are asked for once.
func (t *Tally) count(ctx context.Context, get Get) (changed bool, _ error) {
	var due []key
	for k, a := range t.attempts {
		if !a.whole && (a.stage.Ended || a.stage.started() != a.at) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, func(x, y key) int {
		a, b := t.attempts[x].stage, t.attempts[y].stage
		if a.Ended != b.Ended {
			if a.Ended {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.id, y.id), cmp.Compare(x.attempt, y.attempt))
	})
	pages := pollPages
	for _, k := range due {
		a := t.attempts[k]
		before := a.counted
		var err error
		if a.stage.Ended {
			err = t.rest(ctx, get, k, a, &pages)
		} else if (a.stage.started()+t.length-1)/t.length <= pages { // one of many tasks is read at its end only
			err = t.all(ctx, get, k, a, &pages)
		}
		changed = changed || a.counted != before
		if errors.Is(err, errTooLarge) {
			if t.length == 1 { // one task says too much: the rest stays uncounted
				a.at, a.whole = a.stage.started(), a.stage.Ended
				continue
			}
			t.length = max(1, t.length/4)
			return changed, nil
		}
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// all counts the tasks of an attempt that runs anew, at the cost of pages.
func (t *Tally) all(ctx context.Context, get Get, k key, a *attempt, pages *int) error {
	var sum Locality
	started := a.stage.started()
	for at := 0; at < started; {
		l, n, err := page(ctx, get, t.bytes, k, at, t.length)
		*pages--
		if err != nil {
			return err
		}
		sum.add(l)
		at += n
		if n < t.length {
			break
		}
	}
	a.counted, a.at = sum, started
	return nil
}

// rest counts the tasks of an attempt that has ended, as far as there are pages; the rest is for the next poll.
func (t *Tally) rest(ctx context.Context, get Get, k key, a *attempt, pages *int) error {
	for *pages > 0 && !a.whole {
		l, n, err := page(ctx, get, t.bytes, k, a.offset, t.length)
		*pages--
		if err != nil {
			return err
		}
		a.part.add(l)
		a.offset += n
		a.whole = a.offset >= a.stage.started() || n < t.length // Spark keeps 100,000 tasks of a stage
		if a.whole || a.part.Tasks() > a.counted.Tasks() {
			a.counted = a.part
		}
	}
	return nil
}

// summarise makes the report of what is known.
func (t *Tally) summarise() {
	r := t.gone
	r.Stages = nil
	var all []Stage
	for _, a := range t.attempts {
		r.Seen++
		if a.stage.Ended {
			r.Ended++
			if !a.stage.OK {
				r.Failed++
			}
		}
		r.Locality.add(a.counted)
		r.Uncounted += max(0, int64(a.stage.started())-a.counted.Tasks())
		all = append(all, a.stage)
	}
	order := func(x, y Stage) int { return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.Attempt, y.Attempt)) }
	slices.SortFunc(all, func(x, y Stage) int {
		if x.Ended != y.Ended {
			if x.Ended {
				return 1
			}
			return -1
		}
		return -order(x, y)
	})
	r.Stages = slices.Clone(all[:min(len(all), maxShown)])
	slices.SortFunc(r.Stages, order)
	t.report = r
}
