package core

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"fairway/broker/journal"
	"fairway/broker/state"
)

// What the owner relies on holds for the fake of the tests and for the real journal.
func TestJournals(t *testing.T) {
	t.Run("memory", func(t *testing.T) { checkJournal(t, &memJournal{}) })
	t.Run("disk", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		j, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(t.TempDir(), "j")})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}()
		checkJournal(t, j)
	})
}

func checkJournal(t *testing.T, j Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	st, err := j.Lead(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Cluster().ID != "" {
		t.Fatal("a new journal is not empty")
	}
	facts := []state.Fact{{Kind: state.ClusterCreated, Name: "c", Body: []byte("key")}}
	done := make(chan int, 16)
	add := func(n int) {
		j.Append(facts, func(err error) {
			if err != nil {
				t.Error(err)
			}
			done <- n
		})
		clear(facts) // it keeps nothing of the slice
		facts = facts[:0]
	}
	add(0)
	const entries = 8
	for n := 1; n < entries; n++ {
		facts = append(facts, state.Fact{Kind: state.EpochBegun, Epoch: uint64(n), Now: int64(n)})
		add(n)
	}
	for n := range entries {
		select {
		case got := <-done:
			if got != n {
				t.Fatalf("entry %d was done before entry %d", got, n)
			}
		case <-ctx.Done():
			t.Fatalf("entry %d was never done", n)
		}
	}
	again, err := j.Lead(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c := again.Cluster(); c.ID != "c" || c.Epoch != entries-1 {
		t.Fatalf("it folds to %+v", c)
	}
	// The state is the caller's own.
	if err := again.Apply(&state.Fact{Kind: state.EpochBegun, Epoch: 100, Now: 100}); err != nil {
		t.Fatal(err)
	}
	if third, err := j.Lead(ctx); err != nil || third.Epoch() != entries-1 {
		t.Fatalf("epoch %d, %v", third.Epoch(), err)
	}
}
