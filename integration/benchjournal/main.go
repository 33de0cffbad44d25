// Benchjournal measures the journal with a million live tasks and writes build/results/bench-journal.json. It exits with 1
// when a bar is missed: a snapshot holds up commits by at most 20 ms, a restart takes at most 10 s, and the disk holds at
// most four times the snapshot.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"fairway/integration/report"
)

// Results are what the file holds.
type Results struct {
	SnapshotHoldMS float64 `json:"snapshot_hold_ms"` // median over the snapshots of the longest commit while one was taken
	HoldMaxMS      float64 `json:"snapshot_hold_max_ms"`
	QuietHoldMS    float64 `json:"quiet_hold_ms"` // the same while none was taken, for as long: what the machine does by itself
	QuietMaxMS     float64 `json:"quiet_max_ms"`
	RestartS       float64 `json:"restart_s"`  // from Open to the state in its new owner's hands
	DiskRatio      float64 `json:"disk_ratio"` // the most that the folder held, over the newest snapshot
	SnapshotBytes  int64   `json:"snapshot_bytes"`
	SnapshotS      float64 `json:"snapshot_s"`
	CommitP50      int64   `json:"commit_p50_us"`
	CommitP99      int64   `json:"commit_p99_us"`
	FactsPerS      int64   `json:"facts_per_s"` // durable, in entries of a thousand, four in flight
	StartMS        float64 `json:"empty_start_ms"`
	PauseUS        int64   `json:"state_machine_pause_us"`
	Tasks          int     `json:"tasks"`
	FsyncP50       int64   `json:"fsync_p50_us"` // a bare write and fdatasync of 4 KiB on the same disk
}

// Bars of the issue.
const (
	holdBar    = 20.0
	restartBar = 10.0
	diskBar    = 4.0
)

func main() {
	dir := flag.String("dir", "build/bench-journal", "folder for the journal; it is emptied first and removed at the end")
	out := flag.String("out", "build/results/bench-journal.json", "where the results go")
	tasks := flag.Int("tasks", 1_000_000, "live tasks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := run(ctx, *dir, *out, *tasks)
	if err == nil {
		err = r.missed()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchjournal:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, out string, tasks int) (r Results, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r.Tasks = tasks
	if r.FsyncP50, err = fsync(dir); err != nil {
		return r, err
	}
	start := time.Now()
	b, err := open(ctx, dir, tasks)
	if err != nil {
		return r, err
	}
	r.StartMS = ms(time.Since(start))
	if err := measure(ctx, b, &r, tasks); err != nil {
		return r, errors.Join(err, b.close())
	}
	if err := b.close(); err != nil {
		return r, err
	}
	start = time.Now()
	again, err := open(ctx, dir, tasks)
	if err != nil {
		return r, err
	}
	r.RestartS = time.Since(start).Seconds()
	if live := again.state.LiveTasks(); live != tasks {
		err = fmt.Errorf("%d live tasks after the restart, not %d", live, tasks)
	}
	if err := errors.Join(err, again.close()); err != nil {
		return r, err
	}
	fmt.Printf("%+v\n", r)
	return r, report.Write(out, r)
}

// missed are the bars that the results do not reach.
func (r *Results) missed() error {
	var missed []error
	for _, bar := range []struct {
		name      string
		got, most float64
	}{{"snapshot_hold_ms", r.SnapshotHoldMS, holdBar}, {"restart_s", r.RestartS, restartBar}, {"disk_ratio", r.DiskRatio, diskBar}} {
		if bar.got > bar.most {
			missed = append(missed, fmt.Errorf("%s is %.2f, at most %.0f is the bar", bar.name, bar.got, bar.most))
		}
	}
	return errors.Join(missed...)
}

// fsync is the median of a bare durable write.
func fsync(dir string) (int64, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, "fsync")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	var took []time.Duration
	b := make([]byte, 4096)
	for i := range 500 {
		start := time.Now()
		if _, err := f.WriteAt(b, int64(i)*4096); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		if err := f.Sync(); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		took = append(took, time.Since(start))
	}
	return percentile(took, 50).Microseconds(), errors.Join(f.Close(), os.Remove(path))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*p/100)]
}
