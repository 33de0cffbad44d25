package state

import (
	"bytes"
	"errors"
	"testing"

	"fairway/broker/resource"
)

// Tasks are resized more often than a page has room for shapes; each keeps its own, over a snapshot, a clone and a page
// that is compacted.
func TestTaskResized(t *testing.T) {
	const tasks = 3 * pageSize
	s := busy(t, 2, 1, tasks)
	want := map[uint64]resource.Vector{}
	revision := map[uint64]uint64{}
	resize := func(seq uint64, v resource.Vector) {
		t.Helper()
		revision[seq]++
		want[seq] = v
		if err := s.Apply(&Fact{Kind: TaskResized, Framework: 1, Sequence: seq, Resources: v, Version: revision[seq]}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range int64(5) {
		for seq := uint64(1); seq <= tasks; seq += 1 + seq%3 {
			resize(seq, resource.Vector{100 + round, int64(seq)<<20 + round})
		}
	}
	holds := func(name string, v *View) {
		t.Helper()
		for seq := uint64(1); seq <= tasks; seq++ {
			x, ok := v.Task(1, seq)
			shape, changed := want[seq]
			if !changed {
				shape = resource.Vector{1000, 1 << 30}
			}
			if !ok || x.Resources != shape || x.Revision != revision[seq] {
				t.Fatalf("%s: task %d is %+v, want %v at revision %d", name, seq, x, shape, revision[seq])
			}
		}
		if err := v.Check(); err != nil {
			t.Error(err)
		}
	}
	holds("now", &s.View)
	frozen := s.Snapshot()
	var b bytes.Buffer
	if _, err := frozen.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	first := b.Bytes()
	back, err := ReadSnapshot(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	holds("read again", &back.View)
	var again bytes.Buffer
	if _, err := back.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), first) {
		t.Errorf("another snapshot after it was read: %v", err)
	}
	// What is written later does not show in what was frozen.
	if err := s.Apply(&Fact{Kind: TaskResized, Framework: 1, Sequence: 1, Resources: resource.Vector{7, 7}, Version: revision[1] + 1}); err != nil {
		t.Fatal(err)
	}
	holds("frozen", frozen)
	for name, f := range map[string]Fact{
		"the same revision": {Framework: 1, Sequence: 2, Version: revision[2]},
		"a gap":             {Framework: 1, Sequence: 2, Version: revision[2] + 2},
		"no task":           {Framework: 1, Sequence: tasks + 1, Version: 1},
		"no framework":      {Framework: 9, Sequence: 1, Version: 1},
	} {
		f.Kind = TaskResized
		if err := back.Apply(&f); !errors.Is(err, ErrContradiction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := back.Apply(&Fact{Kind: TaskEnded, Framework: 1, Sequence: 2, Status: TaskFinished}); err != nil {
		t.Fatal(err)
	}
	if err := back.Apply(&Fact{Kind: TaskResized, Framework: 1, Sequence: 2, Version: revision[2] + 1}); !errors.Is(err, ErrContradiction) {
		t.Errorf("one that has ended: %v", err)
	}
}

// Pages of a framework without a job are compacted as its tasks end; what was resized stays so.
func TestResizedTasksAreCompacted(t *testing.T) {
	s := busy(t, 1, 1, 1)
	apply := func(f Fact) {
		t.Helper()
		if err := s.Apply(&f); err != nil {
			t.Fatal(err)
		}
	}
	apply(Fact{Kind: FrameworkAdmitted, Framework: 2, Name: "service", Role: 1, User: "u"})
	for seq := uint64(1); seq <= pageSize; seq++ {
		apply(launch(2, seq, 1, int64(seq)))
		apply(Fact{Kind: TaskResized, Framework: 2, Sequence: seq, Resources: resource.Vector{int64(seq), 1}, Version: 1})
	}
	for seq := uint64(1); seq <= pageSize; seq++ {
		if seq%4 != 0 {
			apply(Fact{Kind: TaskEnded, Framework: 2, Sequence: seq, Status: TaskFinished})
		}
	}
	for seq := uint64(4); seq <= pageSize; seq += 4 {
		if x, ok := s.Task(2, seq); !ok || x.Resources != (resource.Vector{int64(seq), 1}) || x.Revision != 1 {
			t.Errorf("task %d is %+v", seq, x)
		}
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

// A snapshot of the version before tasks were resized is read as it was.
func TestFirstSnapshot(t *testing.T) {
	var b bytes.Buffer
	s := busy(t, 2, 2, 50)
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	old := bytes.Clone(b.Bytes())
	old[len(snapshotMagic)] = firstSnapshot
	back, err := ReadSnapshot(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	if x, ok := back.Task(1, 1); !ok || x.Revision != 0 || x.Resources != (resource.Vector{1000, 1 << 30}) {
		t.Errorf("%+v", x)
	}
	old[len(snapshotMagic)] = snapshotVersion + 1
	if _, err := ReadSnapshot(bytes.NewReader(old)); !errors.Is(err, ErrNewer) {
		t.Errorf("a version to come: %v", err)
	}
}
