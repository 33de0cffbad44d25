package client_test

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

type operator struct {
	v1.UnimplementedOperatorServiceServer
}

func (operator) GetCluster(context.Context, *v1.GetClusterRequest) (*v1.Cluster, error) {
	return &v1.Cluster{}, nil
}

// However long a broker was out of reach, a caller that tries again every second has it within two once it is back.
func TestReconnectAfterALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var plugged atomic.Bool
		l := bufconn.Listen(1 << 16)
		s := grpc.NewServer()
		v1.RegisterOperatorServiceServer(s, operator{})
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		c, err := client.Dial(client.Options{Address: "broker:1", Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
			if !plugged.Load() {
				return nil, syscall.EHOSTUNREACH
			}
			return l.DialContext(ctx)
		}})
		if err != nil {
			t.Fatal(err)
		}
		for range 600 {
			if _, err := c.GetCluster(t.Context(), api.Caller{}); err == nil {
				t.Fatal("an answer over a cable that is not plugged in")
			}
			time.Sleep(time.Second)
		}
		plugged.Store(true)
		back := time.Now()
		for {
			_, err := c.GetCluster(t.Context(), api.Caller{})
			if err == nil {
				break
			}
			if time.Since(back) > 2*time.Second {
				t.Fatalf("%s after the cable was plugged in: %v", time.Since(back), err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.Close()
		s.Stop()
		<-served
	})
}
