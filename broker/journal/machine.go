package journal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"fairway/broker/state"
)

// machine is raft's state machine: the copy of the state that committed facts are folded into.
type machine struct {
	log  *zap.Logger
	fail func(error)

	mu     sync.Mutex // held for an entry, and for Snapshot and Clone, which take constant time
	state  *state.State
	term   uint64
	number uint64 // of the term's last entry
	broken error

	logBytes atomic.Int64  // of entries since the last snapshot
	grown    chan struct{} // capacity 1
	pause    atomic.Int64  // ns, the longest that a snapshot held up entries
	taken    atomic.Uint64
}

func newMachine(log *zap.Logger, fail func(error)) *machine {
	return &machine{log: log, fail: fail, state: state.New(), grown: make(chan struct{}, 1)}
}

// Apply folds an entry in. What it returns is nil or an error, the same on every voter.
func (m *machine) Apply(l *raft.Log) any {
	err := m.fold(l)
	m.logBytes.Add(int64(len(l.Data)))
	select {
	case m.grown <- struct{}{}:
	default:
	}
	if err == nil {
		return nil
	}
	return err
}

func (m *machine) fold(l *raft.Log) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	term, number, facts, err := decodeEntry(l.Data)
	if err != nil {
		return m.breakDown(l.Index, err)
	}
	if term != m.term {
		m.number = 0
	}
	if term != l.Term || number != m.number+1 {
		return fmt.Errorf("entry %d was decided in term %d as number %d and came in term %d after %d: %w", l.Index, term, number, l.Term, m.number, ErrNotLeader)
	}
	m.term = term
	err = state.EachFact(facts, m.state.Apply)
	switch {
	case errors.Is(err, state.ErrNewer), errors.Is(err, state.ErrCorrupt):
		return m.breakDown(l.Index, err)
	case err != nil:
		// The leader's own copy had taken the fact, so the leader is wrong. Each voter stops at the same fact; as the
		// number does not advance, nothing that stands on this entry follows, and the leader starts from here again.
		m.log.Error("an entry contradicts the state", zap.Uint64("index", l.Index), zap.Error(err))
		return fmt.Errorf("entry %d: %w", l.Index, err)
	}
	m.number = number
	return nil
}

// breakDown stops the machine for good: what it cannot read it must not skip.
func (m *machine) breakDown(index uint64, err error) error {
	m.broken = fmt.Errorf("entry %d: %w", index, err)
	m.fail(m.broken)
	return m.broken
}

// Snapshot freezes the state in constant time; Persist writes it while entries are folded in.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	start := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, m.broken
	}
	f := &frozen{m: m, view: m.state.Snapshot(), term: m.term, number: m.number, logBytes: m.logBytes.Load()}
	m.pause.Store(max(m.pause.Load(), int64(time.Since(start))))
	return f, nil
}

// clone is a copy of the state and the number of the last entry of the given term.
func (m *machine) clone(term uint64) (*state.State, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.term != term {
		return m.state.Clone(), 0
	}
	return m.state.Clone(), m.number
}

// Restore replaces the state by a snapshot's.
func (m *machine) Restore(r io.ReadCloser) error {
	term, number, s, err := readBody(r)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	m.mu.Lock()
	m.state, m.term, m.number = s, term, number
	m.mu.Unlock()
	m.logBytes.Store(0)
	return r.Close()
}

// frozen is a snapshot that is being written.
type frozen struct {
	m            *machine
	view         *state.View
	term, number uint64
	logBytes     int64
}

// Persist writes the snapshot.
func (f *frozen) Persist(sink raft.SnapshotSink) error {
	if err := writeBody(sink, f.term, f.number, f.view); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	f.m.logBytes.Add(-f.logBytes)
	f.m.taken.Add(1)
	return nil
}

// Release has nothing to do.
func (f *frozen) Release() {}
