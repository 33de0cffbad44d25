package core

import (
	"context"
	"errors"
	"sync"

	"fairway/broker/state"
)

// memJournal is a Journal in memory. It encodes and decodes what it is given, so that it keeps nothing of the caller's.
type memJournal struct {
	mu      sync.Mutex
	term    int
	durable [][]byte // entries that are durable
	pending []pending
	held    bool // entries wait for release
	most    int  // in flight at once
	failed  error
}

type pending struct {
	term  int
	entry []byte
	done  func(error)
}

var errDropped = errors.New("dropped")

func (j *memJournal) Lead(ctx context.Context) (*state.State, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return nil, j.failed
	}
	j.term++
	j.pending = nil
	return j.fold()
}

// fold is the state that the durable entries make.
func (j *memJournal) fold() (*state.State, error) {
	st := state.New()
	for _, e := range j.durable {
		facts, err := state.DecodeFacts(e)
		if err != nil {
			return nil, err
		}
		for i := range facts {
			if err := st.Apply(&facts[i]); err != nil {
				return nil, err
			}
		}
	}
	return st, nil
}

func (j *memJournal) Append(facts []state.Fact, done func(error)) {
	e := []byte(nil)
	for i := range facts {
		e = state.AppendFact(e, &facts[i])
	}
	j.mu.Lock()
	j.pending = append(j.pending, pending{j.term, e, done})
	j.most = max(j.most, len(j.pending))
	held := j.held
	j.mu.Unlock()
	if !held {
		j.release(-1)
	}
}

// release makes the n oldest entries durable; all of them for -1.
func (j *memJournal) release(n int) {
	for n != 0 {
		j.mu.Lock()
		if len(j.pending) == 0 {
			j.mu.Unlock()
			return
		}
		p := j.pending[0]
		j.pending = j.pending[1:]
		j.durable = append(j.durable, p.entry)
		j.mu.Unlock()
		p.done(nil)
		n--
	}
}

func (j *memJournal) hold(on bool) {
	j.mu.Lock()
	j.held = on
	j.mu.Unlock()
	if !on {
		j.release(-1)
	}
}

// drop loses what is not durable, as a crash does, and fails what waits.
func (j *memJournal) drop() {
	j.mu.Lock()
	lost := j.pending
	j.pending, j.held = nil, false
	j.mu.Unlock()
	for _, p := range lost {
		p.done(errDropped)
	}
}
