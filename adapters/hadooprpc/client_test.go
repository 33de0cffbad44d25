package hadooprpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// saying dials a peer that reads all and says one thing, again for each packet after the first if it is more.
func saying(texts ...[]byte) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			_, _ = io.ReadFull(far, make([]byte, preambleLength))
			_, _ = ReadRequest(far, 1<<20) // who calls
			for _, text := range texts {
				_, _ = ReadRequest(far, 1<<20)
				_, _ = far.Write(text)
			}
		}()
		return near, nil
	}
}

func answerTo(id int32, m *answer) []byte {
	text, _ := proto.Marshal(m)
	return AppendAnswer(nil, &Request{ID: id}, text, nil)
}

// What is no answer of Hadoop's RPC is said to be so, with what came.
func TestStrangePeers(t *testing.T) {
	good := answerTo(0, say("x"))
	longer := append(bytes.Clone(good), 0)
	binary.BigEndian.PutUint32(longer, uint32(len(longer)-4))
	foreign := AppendAnswer(nil, &Request{ID: 0, ClientID: []byte("somebody else...")}, nil, nil)
	for name, tc := range map[string]struct {
		text []byte
		part string
	}{
		"a web server":         {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), `"HTTP"`},
		"zeros":                {make([]byte, 100), "header"},
		"noise":                {framed([]byte{0xff, 0xff}), "header"},
		"no answer":            {framed(marshal(t, &wire.RpcResponseHeaderProto{CallId: proto.Uint32(0), Status: wire.RpcResponseHeaderProto_SUCCESS.Enum()})), "shorter"},
		"more than an answer":  {longer, "1 bytes follow"},
		"to another call":      {answerTo(7, say("x")), "call 7"},
		"to another client":    {foreign, "another client"},
		"longer than is taken": {binary.BigEndian.AppendUint32(nil, 1001), "1001 bytes"},
	} {
		c, err := Dial(context.Background(), "", ClientOptions{Protocol: testProtocol, User: "u", MaxReply: 1000, Dial: saying(tc.text)})
		if err != nil {
			t.Fatal(err)
		}
		var strange *PeerError
		if _, err := callIt(t, c, "echo", "x"); !errors.As(err, &strange) || !strings.Contains(strange.Got, tc.part) {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close()
	}
	c, err := Dial(context.Background(), "", ClientOptions{Protocol: testProtocol, User: "u", Dial: saying(good[:len(good)-1])})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := callIt(t, c, "echo", "x"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half an answer: %v", err)
	}
	_ = c.Close()
}

// An answer to a caller that has gone is dropped, and the connection goes on.
func TestLateAnswer(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.dial(t, ClientOptions{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Call(ctx, "hold", ask("x"), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(r.hold)
		synctest.Wait()
		if got, err := callIt(t, c, "echo", "y"); err != nil || got != "y" {
			t.Error(got, err)
		}
	})
}

// A peer that does not read holds no caller up for longer than its context, and nothing follows a packet cut short.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, err := Dial(context.Background(), "", ClientOptions{Protocol: testProtocol, User: "u", Dial: func(context.Context, string) (net.Conn, error) { return near, nil }})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		ended := make(chan time.Duration, 2)
		for _, limit := range []time.Duration{2 * time.Second, time.Second} {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				defer cancel()
				if err := c.Call(ctx, "echo", ask("x"), nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				ended <- time.Since(begin)
			}()
			synctest.Wait() // the first writes, the second waits for its turn
		}
		if first, second := <-ended, <-ended; first != time.Second || second != 2*time.Second {
			t.Errorf("ended after %v and %v", first, second)
		}
		if !c.over() {
			t.Error("more calls would be taken")
		}
		if err := c.Call(context.Background(), "echo", ask("x"), nil); err == nil {
			t.Error("another call was made")
		}
		<-c.done // it has not waited for ever for what the server might say
		_ = c.Close()
		_ = far.Close()
	})
}

// closing is a connection that the peer closes while a call is written.
type closing struct {
	net.Conn
	once          sync.Once
	wrote, closed chan struct{}
}

func (c *closing) Write([]byte) (int, error) {
	close(c.wrote)
	<-c.closed
	return 0, net.ErrClosed
}

func (c *closing) Read([]byte) (int, error) {
	<-c.wrote
	return 0, io.EOF
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	time.Sleep(time.Second) // so that the writer is first to say why
	return nil
}

func (c *closing) SetReadDeadline(time.Time) error { return nil }

// The reason of an end is what the peer did, not that we closed the connection then.
func TestReasonOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := &closing{wrote: make(chan struct{}), closed: make(chan struct{})}
		c, err := Dial(context.Background(), "", ClientOptions{Protocol: testProtocol, User: "u", Dial: func(context.Context, string) (net.Conn, error) { return nc, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), "echo", ask("x"), nil); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		_ = c.Close()
	})
}

// A false length does not make us take the memory that it asks for.
func TestFalseLengthTakesNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	packet := binary.BigEndian.AppendUint32(nil, maxReply)
	if _, err := readPacket(bytes.NewReader(append(packet, "short"...)), nil, maxReply); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("took %d bytes", n)
	}
}

// What is read of a foreign client's packet is what our own client writes, and the answer to it is what it reads.
func TestRelay(t *testing.T) {
	near, far := net.Pipe()
	c, err := Dial(context.Background(), "", ClientOptions{Protocol: testProtocol, User: "u", Dial: func(context.Context, string) (net.Conn, error) { return near, nil }})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		_, _ = io.ReadFull(far, make([]byte, preambleLength))
		hello, err := ReadRequest(far, 1<<10)
		var who wire.IpcConnectionContextProto
		if err != nil || hello.ID != contextCallID || proto.Unmarshal(hello.Message, &who) != nil || who.GetUserInfo().GetEffectiveUser() != "u" {
			t.Errorf("%+v, %v", hello, err)
			return
		}
		for n := range 2 {
			q, err := ReadRequest(far, 1<<10)
			var text question
			if err != nil || q.ID != int32(n) || q.Method != "echo" || q.Retry != 0 || !bytes.Equal(q.ClientID, hello.ClientID) || proto.Unmarshal(q.Message, &text) != nil {
				t.Errorf("%+v, %v", q, err)
				return
			}
			var e *Exception
			if n == 1 {
				e = Errorf(IOException, "no %s", text.GetRenewer())
			}
			_, _ = far.Write(AppendAnswer(nil, q, marshal(t, say(text.GetRenewer())), e))
		}
	}()
	if got, err := callIt(t, c, "echo", "x"); err != nil || got != "x" {
		t.Error(got, err)
	}
	var e *Exception
	if _, err := callIt(t, c, "echo", "y"); !errors.As(err, &e) || e.Class != IOException || e.Message != "no y" || e.Fatal {
		t.Error(err)
	}
	<-done
	_ = c.Close()
}

// What we make of a foreign client's packet does not depend on what it says.
func FuzzReadRequest(f *testing.F) {
	f.Add(callOf(f, 1, "create", ask("x")))
	f.Add(hello(f, "alice")[preambleLength:])
	f.Add(packetOf(f, 3))
	f.Add([]byte("hrpc"))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, text []byte) {
		q, err := ReadRequest(bytes.NewReader(text), 1<<20)
		if err == nil && len(q.Method)+len(q.Message)+len(q.ClientID) > len(text) {
			t.Fatalf("%+v of %d bytes", q, len(text))
		}
	})
}

// FuzzPacket reads an answer as the client does.
func FuzzPacket(f *testing.F) {
	f.Add(answerTo(7, say("x")))
	f.Add(AppendAnswer(nil, &Request{ID: 7}, nil, Errorf("a.b", "x\ny")))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{3, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		packet, err := readPacket(bytes.NewReader(text), nil, maxReply)
		if err != nil {
			return
		}
		h, body, err := new(Client).header(packet)
		if err == nil && (h == nil || len(body) > len(text)) {
			t.Fatalf("%v, %d bytes of body from %d", h, len(body), len(text))
		}
		w := &waiter{raw: true}
		if w.take(body) == nil && len(w.answer) >= len(body) {
			t.Fatalf("%d bytes from %d", len(w.answer), len(body))
		}
	})
}
