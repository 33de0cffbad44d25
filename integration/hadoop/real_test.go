package hadoop_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	stock "github.com/colinmarc/hdfs/v2"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/storagetest"
	"fairway/integration/hadoop"
)

var ctx = context.Background()

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// oneLine checks that the error is one line with all the parts.
func oneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("want one line, got %q", fmt.Sprint(err))
		return
	}
	t.Log(err)
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

// What one client writes the other reads.
func TestAgainstAnotherClient(t *testing.T) {
	f := open(t, "root", hdfs.Options{})
	dir := folder(t, f)
	other, err := stock.NewClient(stock.ClientOptions{Addresses: []string{cluster(t).Authority}, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	data := random(5<<20 + 77)
	storagetest.Put(t, f, dir+"/ours", data, storage.CreateOptions{BlockSize: 2 << 20})
	if got, err := other.ReadFile(dir + "/ours"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the other client reads %d bytes, %v", len(got), err)
	}
	w, err := other.CreateFile(dir+"/theirs", 1, 2<<20, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	// It asks for patience until the NameNode has heard of the last block.
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for err = w.Close(); stock.IsErrReplicating(err) && limited.Err() == nil; err = w.Close() {
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Get(t, f, dir+"/theirs"); !bytes.Equal(got, data) {
		t.Errorf("we read %d bytes", len(got))
	}
}

// Blocks lie evenly, with the hosts and racks of the options.
func TestBlocksLieEvenly(t *testing.T) {
	f := open(t, "root", hdfs.Options{})
	dir := folder(t, f)
	storagetest.Put(t, f, dir+"/f", random(9<<20), storage.CreateOptions{BlockSize: 1 << 20})
	blocks, err := f.Blocks(ctx, dir+"/f")
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[storage.Replica]int)
	for _, b := range blocks {
		if len(b.Replicas) != 1 {
			t.Fatalf("%+v", b)
		}
		count[b.Replicas[0]]++
	}
	for _, h := range hadoop.DefaultHosts() {
		if n := count[storage.Replica{Host: h.Name, Address: "127.0.0.1", Rack: h.Rack}]; n != 3 {
			t.Errorf("%s holds %d of 9 blocks: %v", h.Name, n, count)
		}
	}
	racks, err := hdfs.NewRacks(hdfs.Options{ConfDir: cluster(t).ConfDir}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer racks.Close()
	for host, want := range map[string]string{"node1": "/rack1", "node3": "/rack2", "node9": ""} {
		if got, _, err := racks.RackOf(ctx, host, nil); got != want || err != nil {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
}

func TestPermissions(t *testing.T) {
	root, alice := open(t, "root", hdfs.Options{}), open(t, "alice", hdfs.Options{})
	dir := folder(t, root)
	storagetest.Put(t, root, dir+"/private/f", []byte("x"), storage.CreateOptions{Perm: 0o600})
	if err := root.Mkdir(ctx, dir+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"open":   func() error { _, err := alice.Open(ctx, dir+"/private/f"); return err },
		"list":   func() error { _, err := alice.List(ctx, dir+"/closed"); return err },
		"create": func() error { _, err := alice.Create(ctx, dir+"/g", storage.CreateOptions{}); return err },
		"remove": func() error { return alice.Remove(ctx, dir+"/private") },
		"mkdir":  func() error { return alice.Mkdir(ctx, dir+"/closed/x", 0) },
		"rename": func() error { return alice.Rename(ctx, dir+"/private", dir+"/p") },
	} {
		err := call()
		oneLine(t, err, name+" hdfs://", "ermission denied", "user=alice")
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	own := "/user/alice/" + t.Name()
	if err := alice.Mkdir(ctx, own, 0); err != nil {
		t.Error(err)
	}
	if i, err := alice.Stat(ctx, own); err != nil || i.Owner != "alice" {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestCorruptBlock(t *testing.T) {
	f := open(t, "root", hdfs.Options{})
	p := folder(t, f) + "/f"
	storagetest.Put(t, f, p, random(100_000), storage.CreateOptions{})
	if err := cluster(t).CorruptFile(ctx, p); err != nil {
		t.Fatal(err)
	}
	r, err := f.Open(ctx, p)
	if err == nil {
		_, err = io.ReadAll(r)
		r.Close()
	}
	oneLine(t, err, "read "+cluster(t).URL()+p, "corrupt data", "at offset 0", "node")
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Error(err)
	}
}

func TestSafeMode(t *testing.T) {
	f := open(t, "root", hdfs.Options{})
	dir := folder(t, f)
	storagetest.Put(t, f, dir+"/f", []byte("x"), storage.CreateOptions{})
	if err := cluster(t).SafeMode(ctx, true); err != nil {
		t.Fatal(err)
	}
	defer cluster(t).SafeMode(ctx, false)
	oneLine(t, f.Mkdir(ctx, dir+"/d", 0), "safe mode", "mkdir hdfs://")
	_, err := f.Create(ctx, dir+"/g", storage.CreateOptions{})
	oneLine(t, err, "safe mode", "create hdfs://")
	if got := storagetest.Get(t, f, dir+"/f"); string(got) != "x" {
		t.Errorf("reading in safe mode: %q", got)
	}
}

// A DataNode dies: files of replication 1 on it cannot be read and the error says so, those of replication 3 can, new
// files go elsewhere; it comes back and all is well.
func TestDataNodeDies(t *testing.T) {
	h := cluster(t)
	f := open(t, "root", hdfs.Options{Timeout: 5 * time.Second})
	dir := folder(t, f)
	one, three := random(3<<20), random(3<<20)
	storagetest.Put(t, f, dir+"/one", one, storage.CreateOptions{BlockSize: 1 << 20})
	storagetest.Put(t, f, dir+"/three", three, storage.CreateOptions{BlockSize: 1 << 20, Replication: 3})
	if err := h.StopDataNode(ctx, "node2"); err != nil {
		t.Fatal(err)
	}
	up := false
	defer func() {
		if !up {
			h.StartDataNode(ctx, "node2")
		}
	}()
	r, err := f.Open(ctx, dir+"/one")
	if err == nil {
		_, err = io.ReadAll(r)
		r.Close()
	}
	oneLine(t, err, "read hdfs://", "cannot be read")
	if errors.Is(err, storage.ErrCorrupt) {
		t.Error(err)
	}
	if got := storagetest.Get(t, f, dir+"/three"); !bytes.Equal(got, three) {
		t.Errorf("%d bytes", len(got))
	}
	data := random(4 << 20)
	storagetest.Put(t, f, dir+"/new", data, storage.CreateOptions{BlockSize: 1 << 20})
	if got := storagetest.Get(t, f, dir+"/new"); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
	if err := h.StartDataNode(ctx, "node2"); err != nil {
		t.Fatal(err)
	}
	up = true
	if got := storagetest.Get(t, f, dir+"/one"); !bytes.Equal(got, one) {
		t.Errorf("after the restart: %d bytes", len(got))
	}
}

// Many small blocks and writers at once; every block border is crossed by reads of odd sizes.
func TestManyBlocks(t *testing.T) {
	f := open(t, "root", hdfs.Options{})
	p := folder(t, f) + "/f"
	data := random(40*64<<10 + 5)
	storagetest.Put(t, f, p, data, storage.CreateOptions{BlockSize: 64 << 10, Replication: 2})
	if got := storagetest.Get(t, f, p); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
	r, err := f.Open(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 100_003)
	for off := int64(0); off < int64(len(data)-len(buf)); off += 70_001 {
		if _, err := r.ReadAt(buf, off); err != nil || !bytes.Equal(buf, data[off:off+int64(len(buf))]) {
			t.Fatalf("at %d: %v", off, err)
		}
	}
}

func TestYARNRunsAnUnmodifiedJob(t *testing.T) {
	if os.Getenv("FAIRWAY_LONG") == "" {
		t.Skip("FAIRWAY_LONG is not set: starting YARN takes a minute")
	}
	limited, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	f := open(t, "root", hdfs.Options{})
	dir := folder(t, f)
	// One NodeManager, as each is a JVM to wait for; every host has the block, so its map is local.
	storagetest.Put(t, f, dir+"/in", []byte("a b a\nc a\n"), storage.CreateOptions{Replication: 3})
	// Seven JVMs start, one after another on the whole: what counts is how soon each is up, not how fast it is later.
	const quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
	t.Setenv("JAVA_TOOL_OPTIONS", quick)
	y, err := hadoop.StartYARN(limited, cluster(t), hadoop.YARNOptions{Hosts: cluster(t).Hosts[:1], Conf: map[string]string{
		"mapreduce.map.java.opts": quick, "mapreduce.reduce.java.opts": quick, "yarn.app.mapreduce.am.command-opts": quick,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer y.Stop()
	in, err := hadoop.Fetch(limited, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := y.RunJob(limited, in.ExamplesJar(), "wordcount", dir+"/in", dir+"/out")
	if err != nil {
		t.Fatal(err, result.Output)
	}
	if got := storagetest.Get(t, f, dir+"/out/part-r-00000"); string(got) != "a\t3\nb\t1\nc\t1\n" {
		t.Errorf("%q", got)
	}
	if result.Counters["Data-local map tasks"] != 1 || result.Counters["Map input records"] != 2 {
		t.Errorf("%v", result.Counters)
	}
	_, err = y.RunJob(limited, in.ExamplesJar(), "wordcount", dir+"/none", dir+"/out2")
	oneLine(t, err, "Input path does not exist")
}
