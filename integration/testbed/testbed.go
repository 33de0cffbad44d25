package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
)

// BlockSize of its HDFS in bytes.
const BlockSize = 1 << 20

// Testbed is one HDFS and one binary.
type Testbed struct {
	In     hadoop.Install
	DFS    *hadoop.HDFS
	FS     storage.FS // as the superuser
	Binary string
	Dir    string // every account reads it; it goes with the tests

	stops []func()
}

// Main runs a package's tests on what begin makes within the limit, if they are wanted and so there is what they need.
func Main(m *testing.M, needs string, limit time.Duration, begin func(context.Context) (*Testbed, error)) {
	if os.Getenv("FAIRWAY_INTEGRATION") != "1" {
		fmt.Printf("skipped: needs %s; set FAIRWAY_INTEGRATION=1\n", needs)
		os.Exit(0)
	}
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		b, err := begin(ctx)
		if b != nil {
			defer b.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "testbed:", err)
			return 1
		}
		return m.Run()
	}())
}

// New fetches Hadoop, builds Fairway and starts an HDFS on DataNodes of these names, or of its own if there are none. What has begun
// before an error is to be closed too.
func New(ctx context.Context, hosts []hadoop.Host) (b *Testbed, err error) {
	b = &Testbed{}
	if b.Dir, err = os.MkdirTemp("", "fairway-it-"); err != nil {
		return b, err
	}
	b.Later(func() { os.RemoveAll(b.Dir) })
	if err := os.Chmod(b.Dir, 0o755); err != nil {
		return b, err
	}
	if b.Binary, err = cluster.Build(ctx, filepath.Join(b.Dir, "fairway")); err != nil {
		return b, err
	}
	if b.In, err = hadoop.Fetch(ctx, "", nil); err != nil {
		return b, err
	}
	if b.DFS, err = hadoop.StartHDFS(ctx, b.In, hadoop.HDFSOptions{BlockSize: BlockSize, DataNodes: hosts}); err != nil {
		return b, err
	}
	b.Later(func() { b.DFS.Stop() })
	if b.FS, err = hdfs.Opener(hdfs.Options{ConfDir: b.DFS.ConfDir})(ctx, "", ""); err != nil {
		return b, err
	}
	b.Later(func() { b.FS.Close() })
	return b, nil
}

// Later has Close do something before all that it was told earlier.
func (b *Testbed) Later(stop func()) { b.stops = append(b.stops, stop) }

// Close ends what runs and removes what was written.
func (b *Testbed) Close() {
	for i := len(b.stops) - 1; i >= 0; i-- {
		b.stops[i]()
	}
}

// Long leaves a test to make test-long.
func Long(t *testing.T) {
	t.Helper()
	if os.Getenv("FAIRWAY_LONG") != "1" {
		t.Skip("part of make test-long, as it takes minutes")
	}
}

// Put writes a file into HDFS as user; "": the superuser.
func (b *Testbed) Put(t *testing.T, user, path, text string) {
	t.Helper()
	fs := b.FS
	if user != "" {
		var err error
		if fs, err = hdfs.Opener(hdfs.Options{ConfDir: b.DFS.ConfDir})(t.Context(), "", user); err != nil {
			t.Fatal(err)
		}
		defer fs.Close()
	}
	w, err := fs.Create(t.Context(), path, storage.CreateOptions{Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
