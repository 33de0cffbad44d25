package hadoop_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/storagetest"
	"fairway/integration/hadoop"
)

// shared is the HDFS of all tests of this package; nil with the reason in skip.
var (
	shared *hadoop.HDFS
	skip   = "FAIRWAY_INTEGRATION is not set: tests against real HDFS need a JDK and, once, the network"
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(childMode) != "" {
		return child()
	}
	if os.Getenv("FAIRWAY_INTEGRATION") == "" {
		return m.Run()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	log, _ := zap.NewDevelopment(zap.WithCaller(false))
	in, err := hadoop.Fetch(ctx, "", log)
	if err == nil {
		shared, err = hadoop.StartHDFS(ctx, in, hadoop.HDFSOptions{Logger: log})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	defer shared.Stop()
	return m.Run()
}

func cluster(t *testing.T) *hadoop.HDFS {
	t.Helper()
	if shared == nil {
		t.Skip(skip)
	}
	return shared
}

func open(t *testing.T, user string, o hdfs.Options) storage.FS {
	t.Helper()
	o.ConfDir = cluster(t).ConfDir
	f, err := hdfs.Opener(o)(context.Background(), "", user)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// folder makes a folder for the test.
func folder(t *testing.T, f storage.FS) string {
	t.Helper()
	dir := "/tmp/" + t.Name()
	if err := f.Mkdir(context.Background(), dir, 0); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestContract(t *testing.T) {
	f := open(t, "", hdfs.Options{})
	storagetest.Run(t, storagetest.Options{FS: f, Root: folder(t, f), URL: cluster(t).URL(), BlockSize: 1 << 20})
}
