package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest"

	"fairway/broker/state"
)

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// owner is a journal with its leader's state.
type owner struct {
	t testing.TB
	j *Journal
	s *state.State
}

func lead(t testing.TB, o Options) *owner {
	t.Helper()
	j, err := Open(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	s, err := j.Lead(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return &owner{t, j, s}
}

func (o *owner) close() {
	o.t.Helper()
	if err := o.j.Close(); err != nil {
		o.t.Fatal(err)
	}
}

// setUp are the facts that launches need.
func setUp() []state.Fact {
	return []state.Fact{
		{Kind: state.ClusterCreated, Name: "c"}, {Kind: state.EpochBegun, Epoch: 1},
		{Kind: state.AgentAdmitted, Agent: 1, Name: "a"}, {Kind: state.FrameworkAdmitted, Framework: 1, Name: "f"},
	}
}

func launch(seq uint64) state.Fact {
	return state.Fact{Kind: state.TaskLaunched, Framework: 1, Sequence: seq, Agent: 1, Name: fmt.Sprintf("task-%d", seq)}
}

// commit applies, appends and waits.
func (o *owner) commit(facts ...state.Fact) error {
	for i := range facts {
		if err := o.s.Apply(&facts[i]); err != nil {
			o.t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	o.j.Append(facts, func(err error) { done <- err })
	return <-done
}

func (o *owner) must(facts ...state.Fact) {
	o.t.Helper()
	if err := o.commit(facts...); err != nil {
		o.t.Fatal(err)
	}
}

// prefix checks that the state holds launches 1 to n and nothing else, and returns n.
func prefix(t testing.TB, s *state.State) uint64 {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for task := range s.TasksOfFramework(1) {
		if n++; task.Sequence != n {
			t.Fatalf("task %d is missing", n)
		}
	}
	return n
}

func TestAppendAndReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	registry := prometheus.NewPedanticRegistry()
	o := lead(t, Options{Dir: dir, Log: zaptest.NewLogger(t), Registerer: registry})
	o.must(setUp()...)
	for seq := uint64(1); seq <= 20; seq++ {
		if seq == 10 {
			if err := o.j.Snapshot(deadline(t)); err != nil {
				t.Fatal(err)
			}
		}
		o.must(launch(seq))
	}
	stats, err := o.j.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Snapshots != 1 || stats.SnapshotBytes == 0 || stats.SnapshotIndex == 0 || stats.LogBytes == 0 || stats.DiskBytes < stats.LogBytes || !stats.Leader || stats.Entries == 0 {
		t.Errorf("%+v", stats)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n < 8 {
		t.Errorf("%d metrics: %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	o.close()
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
		t.Errorf("%d metrics after Close: %v", n, err)
	}
	o = lead(t, Options{Dir: dir, Registerer: registry})
	if n := prefix(t, o.s); n != 20 {
		t.Fatalf("%d tasks", n)
	}
	o.must(launch(21))
}

// Facts are durable in the order of their appends, and done is called in that order.
func TestOrder(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	const n = 200
	done := make(chan uint64, n)
	for seq := uint64(1); seq <= n; seq++ {
		f := launch(seq)
		if err := o.s.Apply(&f); err != nil {
			t.Fatal(err)
		}
		o.j.Append([]state.Fact{f}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			done <- seq
		})
	}
	for seq := uint64(1); seq <= n; seq++ {
		if got := <-done; got != seq {
			t.Fatalf("entry %d was done as number %d", got, seq)
		}
	}
	o.close()
	if n := prefix(t, lead(t, Options{Dir: o.j.o.Dir}).s); n != 200 {
		t.Fatal(n)
	}
}

// A batch that is larger than an entry is split and is durable as a whole when it is done.
func TestLargeBatch(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	var facts []state.Fact
	for i := range uint32(6) {
		facts = append(facts, state.Fact{Kind: state.JobSubmitted, Job: i + 1, Name: fmt.Sprint(i), Body: make([]byte, 3<<20)})
	}
	o.must(facts...)
	o.close()
	o = lead(t, Options{Dir: o.j.o.Dir})
	if j := o.s.Job(6); j == nil || len(j.Submission) != 3<<20 {
		t.Fatal("the last job is not there")
	}
}

// Once an entry has failed nothing that stands on it is taken, until the owner has started from the committed state.
func TestNothingFollowsAFailure(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	done := make(chan error, 3)
	appendOne := func(facts ...state.Fact) { o.j.Append(facts, func(err error) { done <- err }) }
	appendOne(launch(1), launch(1)) // its second half contradicts
	appendOne(launch(2))
	appendOne(launch(3))
	if err := <-done; !errors.Is(err, state.ErrRepeated) {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
	}
	appendOne(launch(4))
	if err := <-done; !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	s, err := o.j.Lead(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := prefix(t, s); n != 1 {
		t.Fatalf("%d tasks", n)
	}
	o.s = s
	o.must(launch(2))
	o.close()
	if n := prefix(t, lead(t, Options{Dir: o.j.o.Dir}).s); n != 2 {
		t.Fatalf("%d tasks", n)
	}
}

func TestAppendBeforeLeadAndAfterClose(t *testing.T) {
	j, err := Open(deadline(t), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	j.Append(setUp(), func(err error) { done <- err })
	if err := <-done; !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j.Append(setUp(), func(err error) { done <- err })
	if err := <-done; !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	if _, err := j.Lead(deadline(t)); err == nil {
		t.Fatal("a closed journal leads")
	}
}

func TestSecondProcess(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	_, err := Open(deadline(t), Options{Dir: o.j.o.Dir})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d", os.Getpid())) {
		t.Fatal(err)
	}
}

// The journal takes snapshots by itself and drops the log behind them.
func TestCompaction(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir(), SnapshotLogBytes: 64 << 10, SegmentBytes: 64 << 10})
	o.must(setUp()...)
	seq := uint64(0)
	for {
		var facts []state.Fact
		for range 50 {
			seq++
			facts = append(facts, launch(seq), state.Fact{Kind: state.TaskEnded, Framework: 1, Sequence: seq, Status: state.TaskFinished})
		}
		o.must(facts...)
		stats, err := o.j.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Snapshots < 3 {
			continue
		}
		if stats.LogBytes > 16*64<<10 {
			t.Fatalf("the log holds %d bytes", stats.LogBytes)
		}
		break
	}
	o.close()
	if high := lead(t, Options{Dir: o.j.o.Dir}).s.HighWater(1); high != seq {
		t.Fatalf("%d of %d", high, seq)
	}
}

func BenchmarkCommit(b *testing.B) {
	o := lead(b, Options{Dir: b.TempDir()})
	o.must(setUp()...)
	seq := uint64(0)
	for b.Loop() {
		var facts []state.Fact
		for range 10 {
			seq++
			facts = append(facts, launch(seq))
		}
		o.must(facts...)
	}
}
