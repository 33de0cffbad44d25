package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"fairway/broker/state"
)

// MaxInFlight is how many entries are on their way to the disk at once; what is appended meanwhile waits in order.
const MaxInFlight = 4

// ErrNotLeader: this journal may not append now; Lead again. The facts of a failed Append may or may not survive, but
// if one does then so do all before it.
var ErrNotLeader = errors.New("not the leader")

// entry is what was appended and is not done.
type entry struct {
	data   []byte
	future raft.ApplyFuture // nil: not handed to raft
	result chan error       // of future, capacity 1
	done   func(error)      // nil: a part of a batch whose last part has it
	at     time.Time
	lead   uint64 // during which it was appended, 0: none
}

// Lead waits until this journal leads and all that was committed before is folded in, begins a term of appends, and
// returns a clone of the state for the caller to own. After an Append has failed, and when LeaderCh has said false,
// call it again: all that was appended in the term before fails.
func (j *Journal) Lead(ctx context.Context) (*state.State, error) {
	j.mu.Lock()
	j.lead = 0
	j.mu.Unlock()
	for {
		if err := j.awaitLeadership(ctx); err != nil {
			return nil, fmt.Errorf("lead: %w", err)
		}
		// What was committed in earlier terms, and what this journal had in flight, is in the state behind the barrier.
		term := j.raft.CurrentTerm()
		if err := j.barrier(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("lead: %w", err)
			}
			continue // leadership was lost, or the journal failed: awaitLeadership tells
		}
		s, last := j.machine.clone(term)
		j.mu.Lock()
		if !j.leads || j.raft.CurrentTerm() != term {
			j.mu.Unlock()
			continue
		}
		j.count++
		j.lead, j.term, j.next = j.count, term, last+1
		j.mu.Unlock()
		return s, nil
	}
}

func (j *Journal) awaitLeadership(ctx context.Context) error {
	for {
		j.mu.Lock()
		leads, changed := j.leads, j.changed
		j.mu.Unlock()
		if leads {
			return nil
		}
		select {
		case <-changed:
		case <-j.failed:
			return j.failure
		case <-j.closing:
			return raft.ErrRaftShutdown
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (j *Journal) barrier(ctx context.Context) error {
	done := make(chan error, 1)
	f := j.raft.Barrier(0)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-j.failed:
		return j.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Append makes facts durable as one entry (or more, where they are larger than an entry may be). It does not wait, and
// keeps nothing of facts. done is called once, from one goroutine for all entries and in their order, and must not block
// for long nor call Close. After one failure all later entries of the term fail with ErrNotLeader.
func (j *Journal) Append(facts []state.Fact, done func(error)) {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		go done(fmt.Errorf("append: %w: the journal is closed", ErrNotLeader))
		return
	}
	for {
		e := &entry{at: now, lead: j.lead}
		if e.lead != 0 {
			e.data, facts = encodeEntry(j.term, j.next, facts)
			j.next++
		} else {
			facts = nil
		}
		j.queue = append(j.queue, e)
		if len(facts) == 0 {
			e.done = done
			break
		}
	}
	j.send()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// send hands entries to raft while there is room. j.mu is held.
func (j *Journal) send() {
	for j.sent < min(MaxInFlight, len(j.queue)) {
		e := j.queue[j.sent]
		j.sent++
		if e.lead == 0 || e.lead != j.lead {
			continue
		}
		// The channel behind has more room than entries may be in flight, so this does not wait. Raft forgets futures
		// when it is shut down, so that nobody may wait for one without looking at anything else.
		e.future = j.raft.Apply(e.data, 0)
		e.result = make(chan error, 1)
		go func() { e.result <- e.future.Error() }()
	}
}

// finish waits for entries in their order and tells their owners.
func (j *Journal) finish() error {
	var lost uint64 // the lead in which an entry failed
	for {
		j.mu.Lock()
		var e *entry
		if len(j.queue) > 0 {
			e = j.queue[0]
		}
		closed := j.closed
		j.mu.Unlock()
		if e == nil {
			if closed {
				return nil
			}
			select {
			case <-j.wake:
			case <-j.closing:
			}
			continue
		}
		var err error
		if e.lead != 0 && e.lead == lost {
			err = fmt.Errorf("append: %w: an entry before it failed", ErrNotLeader)
		} else {
			err = j.outcome(e)
		}
		j.mu.Lock()
		if err != nil && e.lead != 0 {
			// What was decided after this entry stands on it.
			if lost = e.lead; j.lead == lost {
				j.lead = 0
			}
		}
		j.queue[0] = nil
		j.queue = j.queue[1:]
		j.sent--
		j.send()
		j.mu.Unlock()
		j.metrics.finished(e, err)
		if e.done != nil {
			e.done(err)
		}
	}
}

func (j *Journal) outcome(e *entry) error {
	if e.future == nil {
		if err := j.Err(); err != nil {
			return err
		}
		return fmt.Errorf("append: %w", ErrNotLeader)
	}
	var err error
	select {
	case err = <-e.result:
	case <-j.failed:
		err = raft.ErrRaftShutdown
	case <-j.closing:
		err = raft.ErrRaftShutdown
	}
	if err == nil {
		if err, ok := e.future.Response().(error); ok {
			return fmt.Errorf("append: %w", err)
		}
		return nil
	}
	if failure := j.Err(); failure != nil {
		return failure
	}
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrRaftShutdown) {
		return fmt.Errorf("append: %w: %w", ErrNotLeader, err)
	}
	return fmt.Errorf("append: %w", err)
}

// InFlight is the number of appended entries that are not done.
func (j *Journal) InFlight() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.queue)
}
