package state

import "errors"

// Errors of Apply, of the decoders and of ReadSnapshot, wrapped with detail.
var (
	// ErrContradiction: the fact does not fit the state, which is unchanged.
	ErrContradiction = errors.New("fact contradicts the state")
	// ErrRepeated: a TaskLaunched whose sequence is not above its framework's high-water mark. It is a contradiction too.
	ErrRepeated = errors.New("task sequence was used before")
	// ErrNewer: a fact or snapshot of a kind or version that this program does not know.
	ErrNewer = errors.New("written by a newer Fairway")
	// ErrCorrupt: bytes that no Fairway wrote, or that were damaged since.
	ErrCorrupt = errors.New("corrupt")
	// ErrTooLarge: a field of a fact is longer than its bound.
	ErrTooLarge = errors.New("too large")
)
