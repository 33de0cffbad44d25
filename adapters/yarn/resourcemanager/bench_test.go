package resourcemanager

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
)

// BenchmarkHeartbeat is one call of a master without news among 500 masters, with its client and its connection.
func BenchmarkHeartbeat(b *testing.B) {
	x := serve(b)
	client := x.dial(b, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, User: "ann"})
	masters := make([]*hadooprpc.Client, 500)
	ids := make([]int32, len(masters))
	for i := range masters {
		masters[i] = x.start(b, client)
	}
	var a wire.AllocateResponseProto
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		k := i % len(masters)
		if err := masters[k].Call(context.Background(), "allocate", &wire.AllocateRequestProto{ResponseId: proto.Int32(ids[k])}, &a); err != nil {
			b.Fatal(err)
		}
		ids[k] = a.GetResponseId()
		i++
	}
}

// BenchmarkAsk is a call that asks for one container and gets it.
func BenchmarkAsk(b *testing.B) {
	x := serve(b)
	client := x.dial(b, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, User: "ann"})
	am := x.start(b, client)
	var a wire.AllocateResponseProto
	got, begun := 0, time.Now()
	n := 0
	for b.Loop() {
		q := asking(want(20, "*", 1, 1024))
		q.ResponseId = proto.Int32(a.GetResponseId())
		if err := am.Call(context.Background(), "allocate", q, &a); err != nil {
			b.Fatal(err)
		}
		got += len(a.AllocatedContainers)
		n++
	}
	b.ReportMetric(float64(time.Since(begun).Microseconds())/float64(n), "us/ask")
	b.ReportMetric(float64(got)/float64(n), "in-call")
}
