package hadoop_test

import (
	"context"
	"io"
	"testing"

	stock "github.com/colinmarc/hdfs/v2"

	"fairway/adapters/hdfs"
	"fairway/frameworks/storage"
)

const (
	benchFile = 512 << 20
	benchBuf  = 1 << 20
)

func benchFS(b *testing.B) storage.FS {
	if shared == nil {
		b.Skip(skip)
	}
	f, err := hdfs.Opener(hdfs.Options{ConfDir: shared.ConfDir})(context.Background(), "", "")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func stockClient(b *testing.B) *stock.Client {
	if shared == nil {
		b.Skip(skip)
	}
	c, err := stock.NewClient(stock.ClientOptions{Addresses: []string{shared.Authority}, User: "root"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func fill(b *testing.B, w io.WriteCloser) {
	buf := make([]byte, benchBuf)
	for i := range buf {
		buf[i] = byte(i * 7)
	}
	for n := 0; n < benchFile; n += len(buf) {
		if _, err := w.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

func drain(b *testing.B, r io.Reader) {
	buf := make([]byte, benchBuf)
	total := 0
	for {
		n, err := r.Read(buf)
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if total != benchFile {
		b.Fatalf("read %d bytes", total)
	}
}

func BenchmarkWrite(b *testing.B) {
	f := benchFS(b)
	b.SetBytes(benchFile)
	for b.Loop() {
		w, err := f.Create(context.Background(), "/tmp/bench-write", storage.CreateOptions{Overwrite: true})
		if err != nil {
			b.Fatal(err)
		}
		fill(b, w)
	}
}

func BenchmarkRead(b *testing.B) {
	f := benchFS(b)
	w, err := f.Create(context.Background(), "/tmp/bench-read", storage.CreateOptions{Overwrite: true})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, w)
	b.SetBytes(benchFile)
	for b.Loop() {
		r, err := f.Open(context.Background(), "/tmp/bench-read")
		if err != nil {
			b.Fatal(err)
		}
		drain(b, r)
		r.Close()
	}
}

// The same with github.com/colinmarc/hdfs, for comparison.
func BenchmarkWriteStock(b *testing.B) {
	c := stockClient(b)
	b.SetBytes(benchFile)
	for b.Loop() {
		c.Remove("/tmp/bench-stock")
		w, err := c.Create("/tmp/bench-stock")
		if err != nil {
			b.Fatal(err)
		}
		fill(b, w)
	}
}

func BenchmarkReadStock(b *testing.B) {
	c := stockClient(b)
	w, err := benchFS(b).Create(context.Background(), "/tmp/bench-read", storage.CreateOptions{Overwrite: true})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, w)
	b.SetBytes(benchFile)
	for b.Loop() {
		r, err := c.Open("/tmp/bench-read")
		if err != nil {
			b.Fatal(err)
		}
		drain(b, r)
		r.Close()
	}
}
