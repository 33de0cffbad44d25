package sorter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
)

// spills are the runs that a collector had to write because its memory was full.
type spills struct {
	o     *Options
	files []spillFile
}

type spillFile struct {
	f     *os.File // removed from its folder already: the space goes when it is closed
	index run.Index
}

func newSpills(o *Options) *spills { return &spills{o: o} }

// DiskError is a failure to write or read a run on this machine's disk: not the fault of a record.
type DiskError struct{ Err error }

func (e *DiskError) Error() string { return e.Err.Error() }

func (e *DiskError) Unwrap() error { return e.Err }

// add writes one more spill.
func (s *spills) add(write func(*run.Writer) error) error {
	if err := s.addFile(write); err != nil {
		return &DiskError{fmt.Errorf("spill: %w", err)}
	}
	return nil
}

func (s *spills) addFile(write func(*run.Writer) error) error {
	f, err := os.CreateTemp(s.o.Dir, "spill-*.run")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	w := run.NewWriter(f, s.o.Partitions, s.o.Codec)
	err = write(w)
	var ix run.Index
	if err == nil {
		ix, err = w.Close()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.files = append(s.files, spillFile{f, ix})
	return nil
}

// merge joins all spills to one run at path.
func (s *spills) merge(path string) (run.Index, error) {
	// A segment that is being read holds about one block.
	fan := int(max(4, min(256, s.o.Memory/(192<<10))))
	for len(s.files) > fan {
		if err := s.pass(fan); err != nil {
			return nil, err
		}
	}
	return writeRun(path, s.o, func(w *run.Writer) error { return s.mergeInto(w, s.files) })
}

// pass merges each fan spills that follow each other to one, so that equal keys keep their order.
func (s *spills) pass(fan int) error {
	old := s.files
	s.files = nil
	var err error
	for len(old) > 0 && err == nil {
		n := min(fan, len(old))
		group := old[:n]
		old = old[n:]
		if n == 1 {
			s.files = append(s.files, group[0])
			continue
		}
		err = s.add(func(w *run.Writer) error { return s.mergeInto(w, group) })
		for _, g := range group {
			err = errors.Join(err, g.f.Close())
		}
	}
	for _, f := range old {
		err = errors.Join(err, f.f.Close())
	}
	return err
}

func (s *spills) mergeInto(w *run.Writer, files []spillFile) error {
	for p := range s.o.Partitions {
		var segments []*run.Reader
		for _, f := range files {
			if r := f.index[p]; r.Records > 0 {
				segments = append(segments, run.NewReader(io.NewSectionReader(f.f, r.Offset, r.Length), r.Length, r.Records))
			}
		}
		if len(segments) == 0 {
			continue
		}
		if err := w.Partition(p); err != nil {
			return err
		}
		if err := s.mergePartition(w, NewMerge(segments)); err != nil {
			return err
		}
	}
	return nil
}

func (s *spills) mergePartition(w *run.Writer, m *Merge) error {
	if s.o.InPlace != nil || s.o.Combine != nil {
		return s.combine(m, w)
	}
	n, err := m.Append(w, nil)
	s.o.Counts.Spilled.Add(n)
	return err
}

// combine runs the combiner over the sorted records of one partition.
func (s *spills) combine(in mapreduce.Records, w *run.Writer) error {
	counted := &countedRecords{in: in}
	out := &ordered{w: w}
	var err error
	if s.o.InPlace != nil {
		err = mergeInPlace(s.o.InPlace, counted, out)
	} else {
		err = s.o.Combine(counted, out)
	}
	s.o.Counts.CombineInput.Add(counted.n)
	s.o.Counts.CombineDone.Add(out.n)
	s.o.Counts.Spilled.Add(out.n)
	if err != nil {
		return fmt.Errorf("combiner: %w", err)
	}
	return nil
}

// mergeInPlace joins accumulators of the same key.
func mergeInPlace(p *mapreduce.InPlace, in mapreduce.Records, out mapreduce.Emitter) error {
	g := NewGroups(in)
	for {
		key, ok := g.Next()
		if !ok {
			return g.Err()
		}
		var acc int64
		first := true
		for v := range g.each {
			n, err := mapreduce.ParseInt(v)
			if err != nil {
				return err
			}
			if first {
				acc, first = n, false
			} else {
				acc = p.Merge(acc, n)
			}
		}
		if err := out.EmitInt(key, acc); err != nil {
			return err
		}
	}
}

type countedRecords struct {
	in mapreduce.Records
	n  int64
}

func (c *countedRecords) Next() (key, value []byte, err error) {
	key, value, err = c.in.Next()
	if err == nil {
		c.n++
	}
	return key, value, err
}

// ordered is what a combiner emits to: a run's current partition, whose order it must keep.
type ordered struct {
	w      *run.Writer
	last   []byte
	n      int64
	number [24]byte
}

func (o *ordered) Emit(key, value []byte) error {
	if o.n > 0 && bytes.Compare(key, o.last) < 0 {
		return fmt.Errorf("emitted key %.64q after %.64q: a combiner must keep the key it was given", key, o.last)
	}
	o.last = append(o.last[:0], key...)
	o.n++
	return o.w.Append(key, value)
}

func (o *ordered) EmitInt(key []byte, n int64) error {
	return o.Emit(key, strconv.AppendInt(o.number[:0], n, 10))
}

// writeRun writes a run to a new file at path.
func writeRun(path string, o *Options, write func(*run.Writer) error) (ix run.Index, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write map output: %w", err)
	}
	w := run.NewWriter(f, o.Partitions, o.Codec)
	if err = write(w); err == nil {
		ix, err = w.Close()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("write map output: %w", err), os.Remove(path))
	}
	return ix, nil
}

func (s *spills) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.f.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}

// cutOf returns the partition of a key in a total order.
func cutOf(cuts [][]byte, key []byte) int {
	lo, hi := 0, len(cuts)
	for lo < hi {
		mid := (lo + hi) / 2
		if bytes.Compare(cuts[mid], key) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
