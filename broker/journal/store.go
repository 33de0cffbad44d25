package journal

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"fairway/broker/state"
)

// store is the WAL as raft sees it, log and stable store. After the first fault it refuses everything: what is in the
// file behind a failed write is not known before it is opened again. Raft panics where it cannot go on without the disk;
// the methods below say how they keep it from that.
type store struct {
	dir     string
	wal     *wal.WAL
	meta    *metadb.BoltMetaDB // the WAL's list of segments and raft's votes; the WAL does not close it
	fail    func(error)
	broken  atomic.Pointer[error]
	running atomic.Bool // raft runs
}

func openStore(dir string, segmentBytes int, files types.VFS, logger raftLogger, fail func(error)) (*store, error) {
	if files == nil {
		files = new(disk)
	}
	meta := new(metadb.BoltMetaDB)
	segments := segment.NewFiler(dir, files)
	if err := repairSegments(dir, meta, segments, segmentBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("log %s: %w", dir, err), meta.Close())
	}
	w, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(segmentBytes), wal.WithLogger(logger.Named("wal")),
		wal.WithSegmentFiler(segments))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log %s: %w", dir, err), meta.Close())
	}
	return &store{dir: dir, wal: w, meta: meta, fail: fail}, nil
}

// verify reads the log behind a snapshot and makes sure that it is whole and that this program can read all of it.
func (s *store) verify(ctx context.Context, snapshot uint64) error {
	first, err := s.wal.FirstIndex()
	if err != nil {
		return fmt.Errorf("log %s: %w", s.dir, err)
	}
	last, err := s.wal.LastIndex()
	if err != nil {
		return fmt.Errorf("log %s: %w", s.dir, err)
	}
	if first > snapshot+1 {
		return fmt.Errorf("log %s begins at entry %d but the newest snapshot ends at %d: %w: put the missing snapshot back", s.dir, first, snapshot, state.ErrCorrupt)
	}
	var l raft.Log
	for i := max(first, 1); i <= last; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		l = raft.Log{}
		if err := s.wal.GetLog(i, &l); err != nil {
			return fmt.Errorf("log %s, entry %d: %w", s.dir, i, err)
		}
		if l.Type != raft.LogCommand || i <= snapshot {
			continue
		}
		_, _, facts, err := decodeEntry(l.Data)
		if err == nil {
			err = state.EachFact(facts, func(*state.Fact) error { return nil })
		}
		if err != nil {
			return fmt.Errorf("log %s, entry %d: %w", s.dir, i, err)
		}
	}
	return nil
}

func (s *store) err() error {
	if e := s.broken.Load(); e != nil {
		return *e
	}
	return nil
}

func (s *store) fault(op string, err error) error {
	err = fmt.Errorf("%s log %s: %w", op, s.dir, err)
	s.broken.CompareAndSwap(nil, &err)
	s.fail(err)
	return err
}

// FirstIndex is the first entry's index.
func (s *store) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }

// LastIndex is the last entry's index.
func (s *store) LastIndex() (uint64, error) { return s.wal.LastIndex() }

// IsMonotonic: the WAL takes no gaps.
func (s *store) IsMonotonic() bool { return true }

// GetLog reads an entry. Raft's main goroutine panics when it cannot read a committed one, so that goroutine ends here
// instead, and runs its deferred clean-up; the journal has failed by then and Close ends the rest.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	err := s.wal.GetLog(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || !s.running.Load() {
		return err
	}
	_ = s.fault("read", fmt.Errorf("entry %d: %w", index, err))
	runtime.Goexit()
	return err
}

// StoreLog appends one entry.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries durably. On an error raft steps down.
func (s *store) StoreLogs(logs []*raft.Log) error {
	if err := s.err(); err != nil {
		return err
	}
	if err := s.wal.StoreLogs(logs); err != nil {
		return s.fault("write", err)
	}
	return nil
}

// DeleteRange drops entries, from the front after a snapshot or from the end on a follower that went astray.
func (s *store) DeleteRange(first, last uint64) error {
	if err := s.err(); err != nil {
		return err
	}
	if err := s.wal.DeleteRange(first, last); err != nil {
		return s.fault("truncate", err)
	}
	return nil
}

// Set stores raft's vote.
func (s *store) Set(key, value []byte) error {
	if err := s.err(); err != nil {
		return err
	}
	if err := s.wal.Set(key, value); err != nil {
		return s.fault("write", err)
	}
	return nil
}

// Get reads what Set stored.
func (s *store) Get(key []byte) ([]byte, error) { return s.wal.Get(key) }

// SetUint64 stores raft's term. Raft panics when that fails. It is told that all is well, and the fault makes every vote
// and every entry fail that it would write in that term, so the term that was not stored is never acted on.
func (s *store) SetUint64(key []byte, value uint64) error {
	term := string(key) == "CurrentTerm"
	err := s.err()
	if err == nil {
		if err = s.wal.SetUint64(key, value); err != nil {
			err = s.fault("write", err)
		}
	}
	if term {
		return nil
	}
	return err
}

// GetUint64 reads what SetUint64 stored.
func (s *store) GetUint64(key []byte) (uint64, error) { return s.wal.GetUint64(key) }

func (s *store) close() error { return errors.Join(s.wal.Close(), s.meta.Close()) }
