package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"fairway/broker/resource"
)

// busy is a state with agents, jobs and live tasks, spread evenly.
func busy(t testing.TB, agents, jobs, tasks int) *State {
	s := New()
	apply := func(f Fact) {
		if err := s.Apply(&f); err != nil {
			t.Fatal(err)
		}
	}
	apply(Fact{Kind: ClusterCreated, Name: "c", Body: make([]byte, 32)})
	apply(Fact{Kind: EpochBegun, Epoch: 1, Now: 1})
	apply(Fact{Kind: RoleSet, Role: 1, Name: "r", Weight: 1000})
	for i := range agents {
		apply(Fact{Kind: AgentAdmitted, Agent: uint32(i + 1), Name: fmt.Sprintf("agent-%d", i), Host: fmt.Sprintf("host%d", i), Body: make([]byte, 200)})
	}
	for i := range jobs {
		apply(Fact{Kind: JobSubmitted, Job: uint32(i + 1), Name: fmt.Sprintf("job-%d", i), Role: 1, User: "u", Body: make([]byte, 500)})
		apply(Fact{Kind: FrameworkAdmitted, Framework: uint32(i + 1), Name: fmt.Sprintf("fw-%d", i), Role: 1, Job: uint32(i + 1), User: "u"})
	}
	sequence := make([]uint64, jobs+1)
	for i := range tasks {
		f := uint32(i%jobs) + 1
		sequence[f]++
		apply(launch(f, sequence[f], uint32(i%agents)+1, int64(i)))
	}
	return s
}

func launch(framework uint32, sequence uint64, agent uint32, wall int64) Fact {
	return Fact{
		Kind: TaskLaunched, Framework: framework, Sequence: sequence, Agent: agent, Resources: resource.Vector{1000, 1 << 30},
		Name: fmt.Sprintf("map-%06d", sequence), Wall: 1_800_000_000_000_000_000 + wall*1_000_000,
	}
}

func TestPages(t *testing.T) {
	const tasks = pageSize * 20
	s := busy(t, 10, 2, tasks)
	half := uint64(tasks / 2)
	// End all of one framework and every third of the other; forget the first job.
	for seq := uint64(1); seq <= half; seq++ {
		for f := uint32(1); f <= 2; f++ {
			if f == 1 || seq%3 == 0 {
				if err := s.Apply(&Fact{Kind: TaskEnded, Framework: f, Sequence: seq, Status: TaskFinished}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, f := range []Fact{{Kind: FrameworkEnded, Framework: 1}, {Kind: JobChanged, Job: 1, Status: JobSucceeded}} {
		if err := s.Apply(&f); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Snapshot()
	kept := dump(t, before)
	if err := s.Apply(&Fact{Kind: JobForgotten, Job: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if s.Framework(1) != nil || s.TaskRecords() != int(half) || s.LiveTasks() != int(half-half/3) {
		t.Fatalf("%v, %d records, %d live", s.Framework(1), s.TaskRecords(), s.LiveTasks())
	}
	if !bytes.Equal(dump(t, before), kept) || before.TaskRecords() != tasks {
		t.Fatal("the snapshot changed")
	}
}

// Tasks without a job leave their pages in any order, and the pages shrink with them.
func TestJoblessTasksAreDropped(t *testing.T) {
	s := busy(t, 3, 1, 0)
	if err := s.Apply(&Fact{Kind: FrameworkAdmitted, Framework: 2, Name: "launcher"}); err != nil {
		t.Fatal(err)
	}
	const n = pageSize * 10
	for i := uint64(1); i <= n; i++ {
		f := launch(2, i*2, uint32(i%3)+1, 0)
		if err := s.Apply(&f); err != nil {
			t.Fatal(err)
		}
	}
	for i := uint64(0); i < n; i++ {
		seq := (i*7919%n + 1) * 2
		if err := s.Apply(&Fact{Kind: TaskEnded, Framework: 2, Sequence: seq, Status: TaskLost}); err != nil {
			t.Fatal(err)
		}
		if i%97 == 0 {
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e := s.frameworks.get(2); s.TaskRecords() != 0 || len(e.pages) != 0 || s.HighWater(2) != 2*n {
		t.Fatalf("%d records, %d pages, high %d", s.TaskRecords(), len(e.pages), s.HighWater(2))
	}
	f := launch(2, 2*n, 1, 0)
	if err := s.Apply(&f); !errors.Is(err, ErrRepeated) || !errors.Is(err, ErrContradiction) {
		t.Fatalf("a repeated sequence: %v", err)
	}
}

// A snapshot is written by one goroutine while the owner changes everything; the race detector watches.
func TestSnapshotWhileApplying(t *testing.T) {
	s := busy(t, 50, 5, 5000)
	for round := range uint64(5) {
		view, twin := s.Snapshot(), s.Clone()
		want := dump(t, view)
		done := make(chan []byte)
		go func() { done <- dump(t, view) }()
		for seq := 1 + round*100; seq < 101+round*100; seq++ {
			for f := uint32(1); f <= 5; f++ {
				for _, s := range []*State{s, twin} {
					if err := s.Apply(&Fact{Kind: TaskEnded, Framework: f, Sequence: seq, Status: TaskFinished}); err != nil {
						t.Fatal(err)
					}
					l := launch(f, s.HighWater(f)+1, uint32(seq%50)+1, 1)
					if err := s.Apply(&l); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if !bytes.Equal(<-done, want) {
			t.Fatal("the snapshot changed while it was written")
		}
		if !bytes.Equal(dump(t, &s.View), dump(t, &twin.View)) {
			t.Fatal("a clone went another way by the same facts")
		}
	}
}

func TestDamagedSnapshots(t *testing.T) {
	b := dump(t, &busy(t, 5, 2, 50).View)
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 0x10
		if _, err := ReadSnapshot(bytes.NewReader(damaged)); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, err := ReadSnapshot(bytes.NewReader(b[:i])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(append(bytes.Clone(b), b[len(snapshotMagic)+1:]...))); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("two in one: %v", err)
	}
}

// block frames a payload as the snapshot of a single block, with the right checksum.
func block(payload []byte) []byte {
	b := append([]byte(snapshotMagic), snapshotVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, blockSum(0, payload))
	return append(b, payload...)
}

// The fuzzer gets past the checksums: what it makes up is framed for it.
func FuzzReadSnapshot(f *testing.F) {
	head := len(snapshotMagic) + 1 + 8
	f.Add(dump(f, &New().View)[head:])
	s := busy(f, 3, 2, 6)
	f.Add(dump(f, &s.View)[head:])
	for _, fact := range []Fact{
		{Kind: TaskEnded, Framework: 1, Sequence: 1, Status: TaskFailed, Code: 3},
		{Kind: FrameworkAdmitted, Framework: 3, Name: "launcher"},
		{Kind: TaskLaunched, Framework: 3, Sequence: 9, Agent: 2, Job: 2, Ports: []resource.PortRange{{First: 1, Last: 2}}},
		{Kind: RoleSet, Role: 2, Parent: 1, Name: "r/s", Weight: 1},
	} {
		if err := s.Apply(&fact); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(dump(f, &s.View)[head:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		s, err := ReadSnapshot(bytes.NewReader(block(payload)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		b := dump(t, &s.View)
		again, err := ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if !bytes.Equal(dump(t, &again.View), b) {
			t.Fatal("other bytes the second time")
		}
	})
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million live tasks: memory, and how long a snapshot stops the owner.
func TestMillionTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("a million tasks take some seconds; not with -short")
	}
	before := heap()
	s := busy(t, 10_000, 1000, 1_000_000)
	bytes := heap() - before
	start := time.Now()
	view := s.Snapshot()
	pause := time.Since(start)
	t.Logf("a million tasks: %d MiB, snapshot in %v", bytes>>20, pause)
	if bytes > 300<<20 {
		t.Errorf("%d bytes", bytes)
	}
	if pause > time.Millisecond {
		t.Errorf("the snapshot took %v", pause)
	}
	if view.LiveTasks() != 1_000_000 {
		t.Error("tasks are missing")
	}
	runtime.KeepAlive(s)
}

func BenchmarkLaunchAndEnd(b *testing.B) {
	s := busy(b, 10_000, 1000, 200_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f := uint32(i%1000) + 1
		l := launch(f, s.HighWater(f)+1, uint32(i%10_000)+1, 0)
		if err := s.Apply(&l); err != nil {
			b.Fatal(err)
		}
		if err := s.Apply(&Fact{Kind: TaskEnded, Framework: f, Sequence: l.Sequence, Status: TaskFinished}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkWriteSnapshot(b *testing.B) {
	v := busy(b, 10_000, 1000, 1_000_000).Snapshot()
	for b.Loop() {
		n, err := v.WriteTo(discard{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkReadSnapshot(b *testing.B) {
	snapshot := dump(b, busy(b, 10_000, 1000, 1_000_000).Snapshot())
	b.SetBytes(int64(len(snapshot)))
	for b.Loop() {
		if _, err := ReadSnapshot(bytes.NewReader(snapshot)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeFacts(b *testing.B) {
	var e []byte
	for i := range 64 {
		f := launch(3, uint64(i), 77, int64(i))
		e = AppendFact(e, &f)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(e)))
	for b.Loop() {
		if err := EachFact(e, func(*Fact) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
