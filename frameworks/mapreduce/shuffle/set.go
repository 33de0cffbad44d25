package shuffle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/sorter"
	"fairway/frameworks/mapreduce/spec"
)

// Segment is one partition's records of one map, or of several that were merged.
type Segment struct {
	Output  spec.MapOutput // the last one merged into it
	merged  bool
	mem     []byte
	file    *os.File // instead of mem
	offset  int64
	length  int64
	records int64
}

// reader returns a reader of the segment, which stays owned by the set.
func (s *Segment) reader() *run.Reader {
	if s.mem != nil {
		return run.NewBytesReader(s.mem, s.records, true)
	}
	return run.NewReader(io.NewSectionReader(s.file, s.offset, s.length), s.length, s.records)
}

func (s *Segment) close() error {
	s.mem = nil
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// Set is the outputs of all maps, fetched.
type Set struct {
	folder     string
	memory     int64
	memoryUsed int64
	segments   []*Segment
	spilled    *atomic.Int64
	merging    []*Segment // of the merge that Merge returned, by its segment numbers
}

func (s *Set) add(seg *Segment) {
	if seg.mem != nil {
		s.memoryUsed += seg.length
	}
	s.segments = append(s.segments, seg)
}

// Records is how many records there are.
func (s *Set) Records() int64 {
	var n int64
	for _, seg := range s.segments {
		n += seg.records
	}
	return n
}

// Merge returns all records in order. It merges on disk first if there are more segments than the memory has room for
// their buffers. The result is valid until the set is closed.
func (s *Set) Merge(ctx context.Context) (*sorter.Merge, error) {
	// The same order whatever the network did, so that equal keys come alike in every attempt.
	slices.SortStableFunc(s.segments, func(a, b *Segment) int { return a.Output.Map - b.Output.Map })
	const buffer = 192 << 10 // of a segment on disk
	fan := int(max(8, min(512, s.memory/4/buffer)))
	for {
		disk := 0
		var files []*Segment
		for _, seg := range s.segments {
			if seg.file != nil {
				disk++
				files = append(files, seg)
			}
		}
		if disk <= fan {
			break
		}
		slices.SortStableFunc(files, func(a, b *Segment) int { return int(min(max(a.length-b.length, -1), 1)) })
		if err := s.mergeToDisk(ctx, files[:min(fan, disk-fan+1)]); err != nil {
			return nil, err
		}
	}
	s.merging = s.segments
	return sorter.NewMerge(readers(s.segments)), nil
}

func readers(segments []*Segment) []*run.Reader {
	rs := make([]*run.Reader, len(segments))
	for i, seg := range segments {
		rs[i] = seg.reader()
	}
	return rs
}

// Blame returns the map output that an error of the merge came from, if it came from one.
func (s *Set) Blame(err error) (spec.MapOutput, bool) {
	var bad *sorter.SegmentError
	if !errors.As(err, &bad) || bad.Segment >= len(s.merging) || s.merging[bad.Segment].merged {
		return spec.MapOutput{}, false
	}
	return s.merging[bad.Segment].Output, true
}

// spillMemory merges all segments in memory to one on disk.
func (s *Set) spillMemory(ctx context.Context) error {
	var inMemory []*Segment
	for _, seg := range s.segments {
		if seg.mem != nil {
			inMemory = append(inMemory, seg)
		}
	}
	if len(inMemory) == 0 {
		return nil
	}
	err := s.mergeToDisk(ctx, inMemory)
	s.memoryUsed = 0
	return err
}

// mergeToDisk replaces segments by one on disk.
func (s *Set) mergeToDisk(ctx context.Context, group []*Segment) error {
	f, err := tempFile(s.folder)
	if err != nil {
		return err
	}
	w := run.NewWriter(f, 1, run.None)
	s.merging = group
	ix, err := s.write(ctx, w, sorter.NewMerge(readers(group)))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	merged := &Segment{merged: true, file: f, length: ix[0].Length, records: ix[0].Records, Output: group[len(group)-1].Output}
	s.spilled.Add(merged.records)
	var errs []error
	for _, seg := range group {
		errs = append(errs, seg.close())
	}
	s.segments = slices.DeleteFunc(s.segments, func(x *Segment) bool { return slices.Contains(group, x) })
	s.segments = append(s.segments, merged)
	return errors.Join(errs...)
}

func (s *Set) write(ctx context.Context, w *run.Writer, m *sorter.Merge) (run.Index, error) {
	_, err := m.Append(w, func() error { return context.Cause(ctx) })
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("merge of map outputs: %w", err)
	}
	return w.Close()
}

// Close frees memory and disk.
func (s *Set) Close() error {
	var errs []error
	for _, seg := range s.segments {
		errs = append(errs, seg.close())
	}
	s.segments = nil
	return errors.Join(errs...)
}
