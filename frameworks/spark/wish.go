package spark

import (
	"fmt"
	"strconv"
	"strings"
)

// Wish is what an application, or an operator for those that say nothing, wants of the policy.
type Wish struct {
	Pack    bool  // Pack places executors; else Spread does
	Gang    bool  // it begins with its minimum of executors or waits whole
	Minimum int64 // of the gang; 0: as many as it asks for at first
}

// First is how many executors an application begins with at once, of so many that it asks for; 0: they come one by one. Who
// asks for fewer than his minimum gets what he asks for.
func (w Wish) First(asked int64) int64 {
	switch {
	case !w.Gang:
		return 0
	case w.Minimum > 0:
		return min(w.Minimum, asked)
	}
	return asked
}

// maxMinimum is more executors than any cluster has.
const maxMinimum = 1_000_000

// Words by which an application says what it wants, among its tags.
const (
	wordPrefix    = "fairway."
	wordPlacement = "fairway.placement"
	wordGang      = "fairway.gang"
)

// With is the wish with what an application's tags say instead: fairway.placement=pack or =spread, fairway.gang for a gang of what
// is asked for at first, fairway.gang=8 for one of 8, fairway.gang=off for none. Tags that do not begin with "fairway." are not for
// us; an error names one that does and says nothing.
func (w Wish) With(tags []string) (Wish, error) {
	for _, tag := range tags {
		if !strings.HasPrefix(tag, wordPrefix) {
			continue
		}
		word, value, given := strings.Cut(tag, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case word == wordPlacement && (value == "pack" || value == "spread"):
			w.Pack = value == "pack"
		case word == wordGang && !given:
			w.Gang, w.Minimum = true, 0
		case word == wordGang && value == "off":
			w.Gang, w.Minimum = false, 0
		case word == wordGang && err == nil && n > 0 && n <= maxMinimum:
			w.Gang, w.Minimum = true, n
		default:
			return w, fmt.Errorf("the tag %q is not known: there are %s=pack, %s=spread, %s, %s=N for N executors, and %s=off", tag, wordPlacement, wordPlacement, wordGang, wordGang, wordGang)
		}
	}
	return w, nil
}
