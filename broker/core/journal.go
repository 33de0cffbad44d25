package core

import (
	"context"

	"fairway/broker/state"
)

// Journal makes facts durable. *journal.Journal is one; TestJournals holds it and the fake of the tests to this contract.
type Journal interface {
	// Lead waits until this journal may append and returns the state that all earlier facts fold to. The caller owns
	// it. It is called again after an Append has failed.
	Lead(ctx context.Context) (*state.State, error)
	// Append makes facts durable as one entry, in the order of the calls, and calls done once, from any goroutine, in
	// the same order. It does not wait for the disk. It keeps nothing of the slice. After a failure every later entry
	// fails too until Lead is called.
	Append(facts []state.Fact, done func(error))
}

// maxInFlight is how many entries may wait for the disk at once. While that many do, the owner takes no turn; what
// arrives meanwhile makes the next, larger one.
const maxInFlight = 4
