package hadooprpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairway/adapters/hadooprpc/wire"
)

func write(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// bubble runs a server in virtual time.
func bubble(t *testing.T, change func(*Options), f func(*testing.T, *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newPipes(), change)
		defer r.stop()
		f(t, r)
	})
}

func TestHTTP(t *testing.T) {
	r := tcpRig(t, nil)
	for range 3 {
		c := r.raw(t)
		write(t, c, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		got, err := io.ReadAll(c)
		if err != nil || string(got) != notHTTP {
			t.Errorf("%q, %v", got, err)
		}
	}
	c := r.raw(t)
	write(t, c, []byte("SSH-2.0-OpenSSH"))
	if got, _ := io.ReadAll(c); len(got) != 0 { // and it may be reset
		t.Errorf("%q", got)
	}
	r.stop()
	if got := r.reasons(); got["http"] != 1 || got["not hadoop rpc"] != 1 {
		t.Errorf("each is logged once: %v", got)
	}
}

// A ping gets no reply and breaks nothing.
func TestPing(t *testing.T) {
	r := tcpRig(t, nil)
	c := r.raw(t)
	write(t, c, append(append([]byte("hrpc\x09\x00\x00"), packetOf(t, pingCallID)...), hello(t, "alice")[7:]...))
	write(t, c, bytes.Join([][]byte{packetOf(t, pingCallID), callOf(t, 1, "echo", ask("x")), packetOf(t, pingCallID), callOf(t, 2, "nothing", ask(""))}, nil))
	seen := map[uint32]bool{}
	for range 2 {
		a, err := readReply(t, c)
		if err != nil {
			t.Fatal(err)
		}
		seen[a.head.GetCallId()] = true
	}
	if !seen[1] || !seen[2] {
		t.Errorf("answers to %v", seen)
	}
}

// A length is no reason to take memory: 50 connections promise 100 MiB each and send a little.
func TestPromisedLengthCostsNothing(t *testing.T) {
	r := tcpRig(t, func(o *Options) { o.Limits.Memory = 16 << 20 })
	for range 50 {
		c := r.raw(t)
		write(t, c, append(hello(t, "alice"), binary.BigEndian.AppendUint32(nil, 100<<20)...))
		write(t, c, make([]byte, 1000))
	}
	if got, err := callIt(t, r.dial(t, ClientOptions{}), "echo", "x"); err != nil || got != "x" {
		t.Error(got, err)
	}
	if n := r.memory.Load(); n > 51*firstChunk {
		t.Errorf("%d bytes are taken", n)
	}
}

func TestMemoryForRequestsIsBounded(t *testing.T) {
	bubble(t, func(o *Options) { o.Limits.Memory = 1 << 20 }, func(t *testing.T, r *rig) {
		var conns []net.Conn
		for range 8 {
			c := r.raw(t)
			write(t, c, append(hello(t, "alice"), binary.BigEndian.AppendUint32(nil, 100<<20)...))
			conns = append(conns, c)
		}
		refused := 0
		for _, c := range conns {
			go func() { _, _ = c.Write(make([]byte, 300<<10)) }()
			synctest.Wait()
			if r.memory.Load() > 1<<20 {
				t.Fatalf("%d bytes are taken", r.memory.Load())
			}
		}
		for _, c := range conns {
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if a, err := readReply(t, c); err == nil && a.head.GetExceptionClassName() == RetriableException && a.head.GetStatus() == wire.RpcResponseHeaderProto_FATAL {
				refused++
			}
			_ = c.Close()
		}
		if refused < 4 {
			t.Errorf("%d of 8 were refused", refused)
		}
	})
}

// 10,000 connections that say nothing cost no more than 4,096, and a client still gets in.
func TestHalfOpenConnections(t *testing.T) {
	r := newRig(t, newPipes(), nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 10000 {
		c := r.raw(t)
		if i%2 == 0 {
			write(t, c, []byte("hrpc\x09\x00\x00\x00\x00")) // fails when it was the oldest, not yet
		}
	}
	if got, err := callIt(t, r.dial(t, ClientOptions{}), "echo", "x"); err != nil || got != "x" {
		t.Error(got, err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := r.half(); n < 4000 || n > 4096 {
		t.Errorf("%d are kept", n)
	}
	if grown := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse); grown > 100<<20 {
		t.Errorf("grown by %d bytes", grown)
	} else {
		t.Logf("grown by %d bytes, with the test's ends of 10,000 pipes", grown)
	}
	r.stop()
	if got := r.reasons(); got["too many half-open connections"] != 1 {
		t.Errorf("logged %v", got)
	}
}

func TestHalfOpenIsClosed(t *testing.T) {
	bubble(t, func(o *Options) { o.Secrets = secrets }, func(t *testing.T, r *rig) {
		begin := time.Now()
		stages := [][]byte{
			nil, []byte("hr"), []byte("hrpc\x09"), []byte("hrpc\x09\x00\x00"), []byte("hrpc\x09\x00\x00\x00\x00"), hello(t, "alice")[:40], []byte("hrpc\x09\x00\xdf"),
			append([]byte("hrpc\x09\x00\xdf"), packetOf(t, pingCallID)...),
		}
		var wg sync.WaitGroup
		for i, s := range stages {
			c := r.raw(t)
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, _ = c.Write(s)
				if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("stage %d: %d, %v", i, n, err)
				}
				if took := time.Since(begin); took < 30*time.Second || took > 32*time.Second {
					t.Errorf("stage %d was closed after %v", i, took)
				}
			}()
		}
		wg.Wait()
		r.stop()
		if got := r.reasons(); got["half-open"] != 1 {
			t.Errorf("logged %v", got)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	bubble(t, func(o *Options) { o.Limits.Connections = 3 }, func(t *testing.T, r *rig) {
		for range 3 {
			if _, err := callIt(t, r.dial(t, ClientOptions{}), "echo", ""); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := r.raw(t).Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("a fourth: %d, %v", n, err)
		}
	})
}

// A request that stops in its middle is not waited for; one that goes on slowly is.
func TestStalledRequest(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.raw(t)
		q := callOf(t, 1, "size", ask(strings.Repeat("x", 3*readChunk)))
		write(t, c, hello(t, "alice"))
		for len(q) > readChunk {
			write(t, c, q[:readChunk])
			q = q[readChunk:]
			time.Sleep(50 * time.Second)
		}
		write(t, c, q)
		if _, err := readReply(t, c); err != nil {
			t.Fatal(err)
		}
		write(t, c, callOf(t, 2, "echo", ask("x"))[:20])
		begin := time.Now()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%d, %v", n, err)
		}
		if took := time.Since(begin); took < 60*time.Second || took > 62*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

func TestIdle(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.dial(t, ClientOptions{})
		for range 5 { // used now and then it stays
			if _, err := callIt(t, c, "echo", ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(170 * time.Second)
		}
		held := make(chan error, 1)
		go func() { _, err := callIt(t, c, "hold", "long"); held <- err }()
		<-r.began
		time.Sleep(time.Hour) // a call in flight is no idleness
		close(r.hold)
		if err := <-held; err != nil {
			t.Error(err)
		}
		begin := time.Now()
		<-c.done
		if took := time.Since(begin); took < 180*time.Second || took > 182*time.Second {
			t.Errorf("closed after %v", took)
		}
		if n := len(r.reasons()); n != 0 {
			t.Errorf("logged %v", r.reasons())
		}
	})
}

// A peer that never reads is held up, then closed, and gives back what it took.
func TestSlowReader(t *testing.T) {
	for name, limits := range map[string]Limits{"nothing for a while": {Stall: 5 * time.Second, Slow: time.Hour}, "too much for a while": {Stall: time.Hour, Slow: 5 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			limits.Unsent = 4 << 20
			bubble(t, func(o *Options) { o.Limits = limits }, func(t *testing.T, r *rig) {
				c := r.raw(t)
				write(t, c, hello(t, "alice"))
				go func() {
					for i := range 20 {
						if _, err := c.Write(callOf(t, int32(i), "big", ask(""))); err != nil {
							return
						}
					}
				}()
				synctest.Wait()
				if n := r.memory.Load(); n < 4<<20 || n > 6<<20 {
					t.Errorf("%d bytes wait", n)
				}
				if got, err := callIt(t, r.dial(t, ClientOptions{}), "echo", "x"); err != nil || got != "x" {
					t.Error("another connection:", got, err)
				}
				time.Sleep(7 * time.Second)
				synctest.Wait()
				if n := r.memory.Load(); n != 0 {
					t.Errorf("%d bytes are still taken", n)
				}
				if n := r.reasons()["slow reader"]; n != 1 {
					t.Errorf("logged %v", r.reasons())
				}
			})
		})
	}
}

// When all memory for replies is taken, those who read slowest go, and who reads is served.
func TestSlowReadersTogether(t *testing.T) {
	bubble(t, func(o *Options) { o.Limits.Unsent = 4 << 20; o.Limits.Memory = 10 << 20 }, func(t *testing.T, r *rig) {
		for range 4 {
			c := r.raw(t)
			write(t, c, hello(t, "alice"))
			go func() {
				for i := range 10 {
					if _, err := c.Write(callOf(t, int32(i), "big", ask(""))); err != nil {
						return
					}
				}
			}()
			synctest.Wait()
		}
		if n := r.memory.Load(); n > 10<<20 {
			t.Errorf("%d bytes are taken", n)
		}
		good := r.dial(t, ClientOptions{})
		for range 20 {
			if got, err := callIt(t, good, "big", ""); err != nil || len(got) != 1<<20 {
				t.Fatal(len(got), err)
			}
		}
	})
}

func TestCallsInFlightAreBounded(t *testing.T) {
	bubble(t, func(o *Options) { o.Limits.Calls = 5 }, func(t *testing.T, r *rig) {
		c := r.raw(t)
		write(t, c, hello(t, "alice"))
		go func() {
			for i := range 20 {
				_, _ = c.Write(callOf(t, int32(i), "hold", ask(strconv.Itoa(i))))
			}
		}()
		synctest.Wait()
		if n := len(r.began); n != 5 {
			t.Errorf("%d calls run", n)
		}
		close(r.hold)
		for range 20 {
			if _, err := readReply(t, c); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// counted is a connection that counts writes and can hold the first one up.
type counted struct {
	net.Conn
	writes atomic.Int32
	gate   chan struct{}
}

func (c *counted) Write(b []byte) (int, error) {
	if c.writes.Add(1) == 1 {
		<-c.gate
	}
	return c.Conn.Write(b)
}

type countedPipes struct {
	*pipes
	last *counted
}

func (p *countedPipes) Accept() (net.Conn, error) {
	c, err := p.pipes.Accept()
	if err != nil {
		return nil, err
	}
	p.last = &counted{Conn: c, gate: make(chan struct{})}
	return p.last, nil
}

func TestOneWriteForManyReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &countedPipes{pipes: newPipes()}
		r := newRig(t, p, nil)
		defer r.stop()
		c, err := p.dial(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		write(t, c, hello(t, "alice"))
		for i := range 100 {
			write(t, c, callOf(t, int32(i), "echo", ask("x")))
		}
		synctest.Wait()
		close(p.last.gate)
		seen := make(map[uint32]bool)
		for range 100 {
			a, err := readReply(t, c)
			if err != nil {
				t.Fatal(err)
			}
			seen[a.head.GetCallId()] = true
		}
		if n := p.last.writes.Load(); n != 2 || len(seen) != 100 {
			t.Errorf("%d calls were answered with %d writes", len(seen), n)
		}
	})
}

func TestOrderlyEnd(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c, idle := r.dial(t, ClientOptions{}), r.dial(t, ClientOptions{})
		if _, err := callIt(t, idle, "echo", ""); err != nil {
			t.Fatal(err)
		}
		_ = r.raw(t) // half-open
		held := make(chan error, 1)
		go func() { _, err := callIt(t, c, "hold", "x"); held <- err }()
		<-r.began
		go func() {
			time.Sleep(time.Second)
			close(r.hold)
		}()
		begin := time.Now()
		r.stop()
		if err := <-held; err != nil {
			t.Errorf("a call in flight: %v", err)
		}
		if took := time.Since(begin); took < time.Second || took > 1500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		<-idle.done
		if _, err := r.tryDial(ClientOptions{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a new connection: %v", err)
		}
	})
}

func TestEndOfStuckCalls(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.dial(t, ClientOptions{})
		held := make(chan error, 1)
		go func() { _, err := callIt(t, c, "hold", "x"); held <- err }()
		<-r.began
		begin := time.Now()
		r.stop()
		if took := time.Since(begin); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		if err := <-held; err == nil {
			t.Error("a call that never ended was answered")
		}
	})
}

// A call of a client that has gone is told so.
func TestCallEndsWithConnection(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.dial(t, ClientOptions{})
		ctx, cancel := context.WithCancel(context.Background())
		held := make(chan error, 1)
		go func() { held <- c.Call(ctx, "hold", ask("x"), nil) }()
		<-r.began
		cancel()
		if err := <-held; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = c.Close()
		if err := c.Call(context.Background(), "echo", ask("x"), nil); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		synctest.Wait()
		if n := r.memory.Load(); n != 0 {
			t.Errorf("%d bytes are still taken", n)
		}
	})
}

func TestRefusalsAreLoggedOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.dial(t, ClientOptions{})
		for range 10 {
			for range 100 {
				if _, err := callIt(t, c, "unknown", ""); err == nil {
					t.Fatal("an unknown method")
				}
			}
			time.Sleep(20 * time.Second)
		}
		all := r.logs.FilterMessage("refused").All()
		if len(all) != 4 { // at 0, 60, 120, 180 s
			t.Fatalf("logged %d times", len(all))
		}
		if all[0].ContextMap()["before"] != int64(0) || all[1].ContextMap()["before"] != int64(299) {
			t.Errorf("%v, %v", all[0].ContextMap(), all[1].ContextMap())
		}
		for i := range 2 * maxRefusals {
			r.refusals.note(&net.TCPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i))}, "test", "", "")
		}
		if n := len(r.refusals.seen); n > maxRefusals {
			t.Errorf("%d are remembered", n)
		}
	})
}
