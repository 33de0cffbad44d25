package journal

import (
	"context"
	"testing"
	"time"

	"fairway/broker/state"
)

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dir := t.TempDir()
	start := time.Now()
	j, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, err := j.Lead(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("start to leader", time.Since(start))
	done := make(chan error, 100)
	fs := []state.Fact{{Kind: state.EpochBegun, Epoch: s.Epoch() + 1}, {Kind: state.ClusterCreated, Name: "c"}}
	start = time.Now()
	j.Append(fs, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log("append", time.Since(start))
	if err := j.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	j.Append([]state.Fact{{Kind: state.RoleSet, Role: 1, Name: "r", Weight: 1}}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log("append", time.Since(start))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if j, err = Open(ctx, Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if s, err = j.Lead(ctx); err != nil {
		t.Fatal(err)
	}
	t.Log("restart", time.Since(start))
	if s.Epoch() != 1 || s.RoleByPath("r") == nil || s.Cluster().ID != "c" {
		t.Fatal("lost")
	}
	st, err := j.Stats()
	t.Logf("%+v %v", st, err)
}
