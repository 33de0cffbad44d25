package spark

import "time"

// How long a gang keeps executors while others are missing, and how long it rests when it has given them back.
const (
	// Patience is longer than it takes until others have given back what they hold above their shares.
	Patience = 2 * time.Minute

	leastRest = 5 * time.Second
	restStep  = 2 * time.Second
	restSteps = 16
)

// Gang is the beginning of an application that is to have its minimum of executors at once, or none: those that come are kept, and
// nobody begins them, until they are enough. If the others do not come in time all are given back, as another gang may lack just
// these, and nothing is asked for during a rest. Rests follow the digits of the application's number: of gangs that are in each
// other's way two differ in one of them, so that one is alone for long enough. Once it has begun it is open for ever.
//
// Times are arguments; a nil Gang is open. It is not safe for concurrent use.
type Gang struct {
	minimum int64
	number  uint64
	open    bool
	tries   int
	since   time.Time // that some are kept; zero: none is
	rest    time.Time // until then nothing is asked for; zero: it does not rest
}

// NewGang is one of an application with a number of its own. A minimum of 0 is all that is asked for at first.
func NewGang(minimum int64, number uint64) *Gang { return &Gang{minimum: minimum, number: number} }

// Verdict is what to do with executors that have come.
type Verdict int

// The verdicts.
const (
	Begin    Verdict = iota // they are enough: the application has them, and all that come later
	Keep                    // others are missing
	GiveBack                // others have been missing for too long
)

// Step looks at the kept executors, and at how many more are asked for. It is to be called when either changes and when Due says.
func (g *Gang) Step(now time.Time, kept, asked int64) Verdict {
	switch {
	case g == nil || g.open:
		return Begin
	case g.Resting(now):
		if kept > 0 { // it was on its way
			return GiveBack
		}
		return Keep
	}
	g.rest = time.Time{}
	if kept <= 0 {
		g.since = time.Time{}
		return Keep
	}
	if kept >= g.need(kept, asked) {
		g.open, g.since = true, time.Time{}
		return Begin
	}
	if g.since.IsZero() {
		g.since = now
	}
	if now.Before(g.since.Add(Patience)) {
		return Keep
	}
	g.since, g.rest = time.Time{}, now.Add(g.nextRest())
	return GiveBack
}

// need is how many make it whole: who asks for fewer than his minimum gets what he asks for.
func (g *Gang) need(kept, asked int64) int64 {
	all := kept + max(asked, 0)
	if g.minimum > 0 {
		return min(g.minimum, all)
	}
	return all
}

func (g *Gang) nextRest() time.Duration {
	digit := g.number
	for range g.tries % restSteps {
		digit /= restSteps
	}
	g.tries++
	return leastRest + time.Duration(digit%restSteps)*restStep
}

// Resting tells whether nothing is to be asked for now.
func (g *Gang) Resting(now time.Time) bool { return g != nil && now.Before(g.rest) }

// Whole tells how many executors it begins with, of those that are kept and those that are asked for; 0: it has begun.
func (g *Gang) Whole(kept, asked int64) int64 {
	if g == nil || g.open {
		return 0
	}
	return g.need(kept, asked)
}

// Due is when Step is to be called though nothing changes; zero: never.
func (g *Gang) Due() time.Time {
	switch {
	case g == nil || g.open:
		return time.Time{}
	case !g.rest.IsZero():
		return g.rest
	case !g.since.IsZero():
		return g.since.Add(Patience)
	}
	return time.Time{}
}
