package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
)

// repairSegments mends what raft-wal v0.4.0 leaves behind and cannot open again.
//
// The last write to a segment seals it, and only later does the WAL say so in its list of segments and begin the next.
// Killed in between, it opens the segment as one to write to and then refuses every write ("segment is sealed"), for
// ever. It does the same when that last write was torn and is taken back.
//
// A follower that drops the end of its log, as a new leader tells it to, marks the segment sealed without giving it the
// index that readers of sealed segments need (hashicorp/raft-wal issue 31).
//
// In both cases the entries are copied to a segment that is as it should be, which takes the old one's place in the list
// in one step; the WAL deletes the old file when it opens.
func repairSegments(dir string, meta *metadb.BoltMetaDB, segments types.SegmentFiler, segmentBytes int) error {
	list, err := meta.Load(dir)
	if err != nil {
		return err
	}
	for i := range list.Segments {
		s := list.Segments[i]
		sealed := !s.SealTime.IsZero()
		if sealed && s.IndexStart != 0 {
			continue
		}
		fresh, err := copySegment(s, sealed, list.NextSegmentID, segments, segmentBytes)
		if err != nil {
			return fmt.Errorf("segment of entry %d: %w", s.BaseIndex, err)
		}
		if fresh.ID == s.ID {
			continue // nothing is wrong with it
		}
		list.NextSegmentID++
		list.Segments[i] = fresh
		if err := meta.CommitState(list); err != nil {
			return err
		}
	}
	return nil
}

// copySegment copies a segment to one of the given id, sealed or not, where it has to be.
func copySegment(s types.SegmentInfo, sealed bool, id uint64, segments types.SegmentFiler, segmentBytes int) (types.SegmentInfo, error) {
	old, err := segments.RecoverTail(s)
	if errors.Is(err, os.ErrNotExist) && !sealed {
		return s, nil // the WAL makes it
	}
	if err != nil {
		return s, err
	}
	if already, _, err := old.Sealed(); err != nil || !sealed && !already {
		return s, errors.Join(err, old.Close())
	}
	last := old.LastIndex()
	if sealed {
		last = s.MaxIndex // what is behind was dropped
	}
	entries, size, err := readSegment(old, s.BaseIndex, last)
	if err := errors.Join(err, old.Close()); err != nil {
		return s, err
	}
	// A file of that id may be there from a repair that was cut off itself.
	files, err := segments.List()
	if err != nil {
		return s, err
	}
	if base, ok := files[id]; ok {
		if err := segments.Delete(base, id); err != nil {
			return s, err
		}
	}
	fresh := s
	fresh.ID, fresh.CreateTime = id, time.Now()
	fresh.SizeLimit = uint32(2*size + segmentBytes) // so that the copy does not seal it
	if sealed {
		fresh.SizeLimit = 1 // so that it does
	}
	w, err := segments.Create(fresh)
	if err != nil {
		return s, err
	}
	if len(entries) > 0 {
		err = w.Append(entries)
	}
	if sealed && err == nil {
		_, fresh.IndexStart, err = w.Sealed()
	}
	return fresh, errors.Join(err, w.Close())
}

func readSegment(s types.SegmentWriter, first, last uint64) (entries []types.LogEntry, size int, err error) {
	for i := first; i <= last; i++ {
		b, err := s.GetLog(i)
		if err != nil {
			return nil, 0, fmt.Errorf("entry %d: %w", i, err)
		}
		entries = append(entries, types.LogEntry{Index: i, Data: bytes.Clone(b.Bs)})
		size += len(b.Bs) + 32
		if err := b.Close(); err != nil {
			return nil, 0, err
		}
	}
	return entries, size, nil
}
