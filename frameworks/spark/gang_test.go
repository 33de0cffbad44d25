package spark

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var dawn = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// expect has a gang step and holds its verdict.
func expect(t *testing.T, g *Gang, at time.Duration, kept, asked int64, want Verdict) {
	t.Helper()
	if got := g.Step(dawn.Add(at), kept, asked); got != want {
		t.Fatalf("after %v with %d kept and %d asked for: %d, want %d", at, kept, asked, got, want)
	}
}

func TestGangBegins(t *testing.T) {
	for name, x := range map[string]struct {
		minimum, first, asked int64 // what is kept, and asked for beside it
		want                  Verdict
	}{
		"all that is asked for": {0, 4, 0, Begin},
		"one is missing":        {0, 3, 1, Keep},
		"its minimum":           {3, 3, 5, Begin},
		"below its minimum":     {3, 2, 5, Keep},
		"it asks for less":      {8, 2, 0, Begin},
		"nothing has come":      {1, 0, 9, Keep},
		"nothing is asked for":  {0, 0, 0, Keep},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGang(x.minimum, 1)
			expect(t, g, 0, x.first, x.asked, x.want)
			if whole := g.Whole(x.first, x.asked); (whole == 0) != (x.want == Begin || x.first+x.asked == 0) {
				t.Errorf("it begins with %d", whole)
			}
		})
	}
	var none *Gang
	if none.Step(dawn, 0, 9) != Begin || none.Resting(dawn) || !none.Due().IsZero() || none.Whole(0, 9) != 0 {
		t.Error("without a gang something is held back")
	}
}

func TestGangOnceBegunStaysOpen(t *testing.T) {
	g := NewGang(4, 1)
	expect(t, g, 0, 4, 0, Begin)
	expect(t, g, time.Hour, 0, 4, Begin)
	expect(t, g, 2*time.Hour, 1, 3, Begin)
	if !g.Due().IsZero() || g.Resting(dawn) {
		t.Error("something is still due")
	}
}

func TestGangGivesBack(t *testing.T) {
	g := NewGang(4, 3)
	expect(t, g, 0, 0, 4, Keep)
	if !g.Due().IsZero() {
		t.Error("nothing is kept and yet something is due")
	}
	expect(t, g, time.Minute, 2, 2, Keep)
	if due := g.Due(); !due.Equal(dawn.Add(time.Minute + Patience)) {
		t.Errorf("due at %v", due)
	}
	expect(t, g, time.Minute+Patience-1, 3, 1, Keep) // more have come, and the patience is not longer for it
	expect(t, g, time.Minute+Patience, 3, 1, GiveBack)
	over := g.Due()
	if rest := over.Sub(dawn.Add(time.Minute + Patience)); rest != leastRest+3*restStep {
		t.Errorf("it rests for %v", rest)
	}
	before := over.Sub(dawn) - time.Second
	expect(t, g, before, 0, 4, Keep)
	if !g.Resting(dawn.Add(before)) {
		t.Error("it does not rest")
	}
	expect(t, g, before, 1, 3, GiveBack) // that was on its way
	if !g.Due().Equal(over) {
		t.Errorf("it rests until %v, was %v", g.Due(), over)
	}
	expect(t, g, over.Sub(dawn), 0, 4, Keep)
	if g.Resting(over) || !g.Due().IsZero() {
		t.Error("its rest does not end")
	}
	expect(t, g, over.Sub(dawn)+time.Second, 4, 0, Begin)
}

// What was kept goes for another reason: the patience begins anew.
func TestGangLosesWhatItKeeps(t *testing.T) {
	g := NewGang(2, 1)
	expect(t, g, 0, 1, 1, Keep)
	expect(t, g, Patience-1, 0, 2, Keep)
	expect(t, g, Patience, 1, 1, Keep)
	expect(t, g, 2*Patience-1, 1, 1, Keep)
	expect(t, g, 2*Patience, 1, 1, GiveBack)
}

// Gangs that always give back at one time do not always ask again at one time.
func TestGangsPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, other := rapid.Uint64().Draw(t, "one"), rapid.Uint64().Draw(t, "other")
		if one == other {
			return
		}
		x, y := NewGang(2, one), NewGang(2, other)
		at := dawn
		for range restSteps {
			for _, g := range []*Gang{x, y} {
				if v := g.Step(at, 1, 1); v != Keep {
					t.Fatalf("%d", v)
				}
				if v := g.Step(at.Add(Patience), 1, 1); v != GiveBack {
					t.Fatalf("%d", v)
				}
			}
			if !x.Due().Equal(y.Due()) {
				return
			}
			at = x.Due()
		}
		t.Fatalf("%d and %d rest alike", one, other)
	})
}
