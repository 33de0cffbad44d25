package hadooprpc

import (
	"context"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// A method that answers without work of its own, so that what is measured is the RPC: both sides, as the client is in this process.
func quick(o *Options) {
	a := say("an answer")
	o.Protocols[0].Methods["quick"] = Handle(func(context.Context, *Caller, *question) (proto.Message, error) { return a, nil })
}

// BenchmarkRoundTrip is one call at a time over loopback.
func BenchmarkRoundTrip(b *testing.B) {
	r := tcpRig(b, quick)
	c := r.dial(b, ClientOptions{})
	q, a := ask("a request of some length, as a heartbeat is"), new(answer)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Call(context.Background(), "quick", q, a); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServer is the server's part of a call alone: frames written at once, replies read as bytes.
func BenchmarkServer(b *testing.B) {
	r := tcpRig(b, quick)
	c := r.raw(b)
	write(b, c, hello(b, "alice"))
	frame := callOf(b, 1, "quick", ask("a request of some length, as a heartbeat is"))
	buf := make([]byte, 256)
	write(b, c, frame)
	size, err := c.Read(buf)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		write(b, c, frame)
		if n, err := c.Read(buf); err != nil || n != size {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkPipelined keeps 64 calls in flight.
func BenchmarkPipelined(b *testing.B) {
	r := tcpRig(b, quick)
	c := r.dial(b, ClientOptions{})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		q, a := ask("a request of some length, as a heartbeat is"), new(answer)
		for pb.Next() {
			if err := c.Call(context.Background(), "quick", q, a); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// Benchmark2000Masters has 2,000 connections that call once a second, evenly spread, with a token each; an operation is a
// second of that. It reports cpu per call of server and clients together: the clients do about half.
func Benchmark2000Masters(b *testing.B) {
	const masters = 2000
	r := tcpRig(b, func(o *Options) {
		quick(o)
		o.Simple, o.Secrets = false, secrets
	})
	clients := make([]*Client, masters)
	for i := range clients {
		clients[i] = r.dial(b, ClientOptions{Token: tokenOf("good", "secret")})
	}
	q, a := ask("a request of some length, as a heartbeat is"), new(answer)
	begin := cpu(b)
	b.ResetTimer()
	for range b.N {
		ticker := time.NewTicker(time.Second / 100)
		for i := range clients {
			if i%(masters/100) == 0 {
				<-ticker.C
			}
			if err := clients[i].Call(context.Background(), "quick", q, a); err != nil {
				b.Fatal(err)
			}
		}
		ticker.Stop()
	}
	b.ReportMetric(float64((cpu(b)-begin).Microseconds())/float64(b.N*masters), "cpu-µs/call")
	b.ReportMetric((cpu(b)-begin).Seconds()/b.Elapsed().Seconds(), "cores")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
