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

// repairTail mends what a crash between two steps of the WAL's leaves behind. The last write to a segment seals it, and
// only later does the WAL say so in its list of segments and begin the next. Killed in between, raft-wal v0.4.0 opens
// the segment as one to write to and then refuses every write ("segment is sealed"), for ever. It does the same when
// that last write was torn and is taken back. The entries are copied to a segment that is not sealed, whose name takes
// the old one's place in the list in one step; the WAL deletes the old file when it opens.
func repairTail(dir string, meta *metadb.BoltMetaDB, segments types.SegmentFiler, segmentBytes int) error {
	list, err := meta.Load(dir)
	if err != nil || len(list.Segments) == 0 {
		return err
	}
	last := &list.Segments[len(list.Segments)-1]
	if !last.SealTime.IsZero() {
		return nil
	}
	tail, err := segments.RecoverTail(*last)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the WAL makes it
	}
	if err != nil {
		return err
	}
	if sealed, _, err := tail.Sealed(); err != nil || !sealed {
		return errors.Join(err, tail.Close())
	}
	entries, size, err := readSegment(tail, last.BaseIndex)
	if err := errors.Join(err, tail.Close()); err != nil {
		return fmt.Errorf("segment of entry %d: %w", last.BaseIndex, err)
	}
	// A file of that number may be there from a repair that was cut off itself.
	files, err := segments.List()
	if err != nil {
		return err
	}
	if base, ok := files[list.NextSegmentID]; ok {
		if err := segments.Delete(base, list.NextSegmentID); err != nil {
			return err
		}
	}
	fresh := *last
	fresh.ID, fresh.CreateTime = list.NextSegmentID, time.Now()
	fresh.SizeLimit = uint32(2*size + segmentBytes) // so that the copy does not seal it
	w, err := segments.Create(fresh)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		err = w.Append(entries)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	list.NextSegmentID++
	*last = fresh
	return meta.CommitState(list)
}

func readSegment(s types.SegmentWriter, first uint64) (entries []types.LogEntry, size int, err error) {
	for i := first; i <= s.LastIndex(); i++ {
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
