package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// The program works, at a size that says nothing about the bars. With FAIRWAY_LONG=1 it runs whole, on the disk of the
// temporary folder, and the bars hold.
func TestRun(t *testing.T) {
	tasks := 10_000
	long := os.Getenv("FAIRWAY_LONG") != ""
	if long {
		tasks = 1_000_000
	}
	out := filepath.Join(t.TempDir(), "results", "bench-journal.json")
	r, err := run(context.Background(), filepath.Join(t.TempDir(), "journal"), out, tasks)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out); err != nil {
		t.Fatal(err)
	}
	if r.CommitP50 <= 0 || r.SnapshotBytes == 0 || r.DiskRatio == 0 {
		t.Errorf("%+v", r)
	}
	if long {
		if r.QuietHoldMS > holdBar/4 { // a quiet machine: under a millisecond
			t.Skipf("commits are held up for %.1f ms here while no snapshot is taken: too busy a disk or machine to judge one", r.QuietHoldMS)
		}
		if err := r.missed(); err != nil {
			t.Error(err)
		}
	}
}
