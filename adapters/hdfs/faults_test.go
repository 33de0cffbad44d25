package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"fairway/adapters/hdfs/hdfstest"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/storagetest"
)

func TestReadTriesEveryReplica(t *testing.T) {
	data := random(3<<20 + 11)
	for name, fault := range map[string]func(c *hdfstest.Cluster){
		"stopped": func(c *hdfstest.Cluster) { c.StopDataNode("node1"); c.StopDataNode("node2") },
		"hanging": func(c *hdfstest.Cluster) { c.HangDataNode("node1"); c.HangDataNode("node3") },
		"cut":     func(c *hdfstest.Cluster) { c.CutDataNode("node1", 300_000); c.CutDataNode("node2", 100_000) },
		"corrupt": func(c *hdfstest.Cluster) { c.Corrupt("/f", "node1", "node2") },
		"mixed":   func(c *hdfstest.Cluster) { c.Corrupt("/f", "node1"); c.StopDataNode("node2") },
	} {
		t.Run(name, func(t *testing.T) {
			c := hdfstest.Start(t, hdfstest.Options{Replication: 3})
			f := open(t, c, "", time.Second)
			storagetest.Put(t, f, "/f", data, storage.CreateOptions{})
			fault(c)
			c.CutAll()
			if got := storagetest.Get(t, f, "/f"); !bytes.Equal(got, data) {
				t.Errorf("read %d other bytes", len(got))
			}
			if name == "corrupt" && c.ReportedBad() == 0 {
				t.Error("no corrupt replica was reported")
			}
		})
	}
}

func readAll(f storage.FS, p string) (n int64, err error) {
	r, err := f.Open(context.Background(), p)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

func TestNoReplicaIsGood(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{Replication: 2})
	f := open(t, c, "", time.Second)
	storagetest.Put(t, f, "/f", random(1<<20+5000), storage.CreateOptions{})
	c.Corrupt("/f")
	_, err := readAll(f, "/f")
	oneLine(t, err, "read hdfs://"+c.Authority+"/f", "corrupt data", "at offset 0", "node1", "node2", "checksum mismatch")
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Error(err)
	}
	r, err := f.Open(ctx, "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.ReadAt(make([]byte, 4000), 1<<20+500); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("ReadAt: %v", err)
	}
}

func TestAllDataNodesAreDown(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", time.Second)
	storagetest.Put(t, f, "/f", random(5000), storage.CreateOptions{})
	c.StopDataNode("node1")
	c.CutAll()
	_, err := readAll(f, "/f")
	oneLine(t, err, "/f", "replicas tried: node1", "connection refused")
	if errors.Is(err, storage.ErrCorrupt) {
		t.Error(err)
	}
	c.StopDataNode("node2")
	c.StopDataNode("node3")
	w, err := f.Create(ctx, "/g", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(random(10))
	err = w.Close()
	oneLine(t, err, "close hdfs://"+c.Authority+"/g", "node1: connection refused", "node3")
	if err := f.Remove(ctx, "/g"); err != nil {
		t.Error(err)
	}
}

func TestHangingDataNodeEndsWithTheTimeout(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 200*time.Millisecond)
	storagetest.Put(t, f, "/f", random(5000), storage.CreateOptions{})
	c.HangDataNode("node1")
	c.CutAll()
	start := time.Now()
	_, err := readAll(f, "/f")
	oneLine(t, err, "node1", "timeout")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// A connection that hangs holds a reader up for a third of the timeout: the only DataNode is asked once more.
func TestHangingConnectionIsReplacedSoon(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	const timeout = 3 * time.Second
	f := open(t, c, "", timeout)
	data := random(5000)
	storagetest.Put(t, f, "/f", data, storage.CreateOptions{})
	c.HangNext("node1", 1)
	c.CutAll()
	start := time.Now()
	if got := storagetest.Get(t, f, "/f"); !bytes.Equal(got, data) {
		t.Errorf("read %d other bytes", len(got))
	}
	if took := time.Since(start); took < timeout/3 || took >= timeout {
		t.Errorf("took %v", took)
	}
}

func TestCancelledReadEnds(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 0)
	storagetest.Put(t, f, "/f", random(5000), storage.CreateOptions{})
	c.HangDataNode("node1")
	c.CutAll()
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := f.Open(stop, "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop()
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWriterAsksForOtherDataNodes(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 0)
	c.StopDataNode("node1")
	c.RefuseWrites("node2")
	data := random(2<<20 + 1)
	storagetest.Put(t, f, "/f", data, storage.CreateOptions{})
	if got := storagetest.Get(t, f, "/f"); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
}

// A DataNode's report of a block may come after the client has written the next one and asks for the end of the file.
func TestBlockBeforeTheLastIsReportedLate(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", time.Second)
	data := random(1<<20 + 5)
	c.HearLate(3)
	storagetest.Put(t, f, "/f", data, storage.CreateOptions{})
	if got := storagetest.Get(t, f, "/f"); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
	if n := c.Calls("complete"); n != 4 {
		t.Errorf("asked %d times for the end", n)
	}
}

func TestLostPipelineFailsTheWrite(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{BlockSize: 64 << 20})
	f := open(t, c, "", 0)
	for _, n := range []string{"node1", "node2", "node3"} {
		c.CutDataNode(n, 1<<20)
	}
	w, err := f.Create(ctx, "/f", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	for i := 0; i < 256 && failed == nil; i++ {
		_, failed = w.Write(make([]byte, 1<<20))
	}
	oneLine(t, failed, "write hdfs://"+c.Authority+"/f", "was lost while it was written to node1")
	if err := w.Close(); err == nil {
		t.Error("closed")
	}
}

func TestCancelledWriterEnds(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 0)
	c.HangDataNode("node1")
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := f.Create(stop, "/f", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop() // not before the file is there, however slow the machine is
	for range 100 {
		if _, err = w.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
