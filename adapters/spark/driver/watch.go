package driver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Application is a run of an application whose driver has pages.
type Application struct {
	ID      string
	Attempt int
}

// Options of Watch.
type Options struct {
	// Running lists the applications that run and have pages.
	Running func() []Application
	// Get reads a page of one.
	Get func(a Application) Get
	// Tell takes a report that is new.
	Tell func(Application, Report)
	Log  *zap.Logger
}

// How often drivers are asked.
const (
	soonest   = time.Second
	quiet     = 5 * time.Second  // when nothing runs
	slowest   = 10 * time.Second // when answers take long
	afterFail = time.Minute      // at most
	costs     = 10               // a driver is left alone for so many times what its last answers took
	patience  = time.Minute      // with the answers of one poll: a driver logs an error for each that is not taken
	busy      = 128              // drivers that are asked at once
)

// watched is an application that is being asked.
type watched struct {
	app    Application
	tally  *Tally
	next   time.Time
	fails  int
	cancel context.CancelFunc // of the poll under way; nil: none is
	absent bool
	spoke  bool // it has answered; what the first answer took is the loading of the classes that answer
}

// polled is the end of a poll.
type polled struct {
	of      *watched
	changed bool
	took    time.Duration
	err     error
}

// Watch asks drivers until ctx ends.
func Watch(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	group, ctx := errgroup.WithContext(ctx)
	results := make(chan polled, busy)
	group.Go(func() error {
		tick := time.NewTicker(soonest)
		defer tick.Stop()
		known := map[Application]*watched{}
		under := 0
		for {
			select {
			case <-ctx.Done():
				return nil
			case r := <-results:
				under--
				r.of.settle(o, r)
				continue
			case <-tick.C:
			}
			for _, w := range due(known, o.Running(), time.Now()) {
				if under == busy {
					break
				}
				under++
				poll, cancel := context.WithTimeout(ctx, patience)
				w.cancel = cancel
				get := o.Get(w.app)
				group.Go(func() error {
					begun := time.Now()
					changed, err := w.tally.Poll(poll, get)
					results <- polled{w, changed, time.Since(begun), err} // there is room for every poll under way
					return nil
				})
			}
		}
	})
	return group.Wait()
}

// due brings known up to date and gives those that are to be asked, the longest due first.
func due(known map[Application]*watched, running []Application, now time.Time) (list []*watched) {
	for _, w := range known {
		w.absent = true
	}
	for _, a := range running {
		w := known[a]
		if w == nil {
			w = &watched{app: a, tally: NewTally()}
			known[a] = w
		}
		w.absent = false
		if w.cancel == nil && !now.Before(w.next) {
			list = append(list, w)
		}
	}
	for a, w := range known {
		if w.absent {
			if w.cancel != nil {
				w.cancel()
			}
			delete(known, a)
		}
	}
	slices.SortFunc(list, func(x, y *watched) int {
		return cmp.Or(x.next.Compare(y.next), cmp.Compare(x.app.ID, y.app.ID))
	})
	return list
}

// settle takes the end of a poll.
func (w *watched) settle(o Options, r polled) {
	w.cancel()
	w.cancel = nil
	if w.absent {
		return
	}
	if r.changed {
		o.Tell(w.app, w.tally.Report())
	}
	wait := soonest
	switch {
	case r.err != nil && !errors.Is(r.err, context.Canceled):
		o.Log.Debug("a driver does not say how far it is", zap.String("application", w.app.ID), zap.Error(r.err))
		w.fails = min(w.fails+1, 6)
		wait = min(soonest<<w.fails, afterFail)
	default:
		w.fails = 0
		if rep := w.tally.Report(); !r.changed && rep.Seen == rep.Ended {
			wait = quiet
		}
		if w.spoke {
			wait = max(wait, min(costs*r.took, slowest))
		}
		w.spoke = true
	}
	w.next = time.Now().Add(wait - soonest/10) // the tick that is meant, not the one after it
}
