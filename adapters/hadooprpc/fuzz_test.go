package hadooprpc

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// FuzzConnection feeds a connection whatever comes; it must end, and give everything back.
func FuzzConnection(f *testing.F) {
	f.Add(append(hello(f, "alice"), callOf(f, 1, "echo", ask("x"))...))
	f.Add(append(append([]byte("hrpc\x09\x00\xdf"), packetOf(f, saslCallID, &wire.RpcSaslProto{State: wire.RpcSaslProto_NEGOTIATE.Enum()})...),
		packetOf(f, saslCallID, &wire.RpcSaslProto{State: wire.RpcSaslProto_INITIATE.Enum(), Auths: []*wire.RpcSaslProto_SaslAuth{tokenAuth()}, Token: []byte("x=y")})...))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add(append(hello(f, "alice"), 0x7f, 0xff, 0xff, 0xff))
	core, err := NewServer(Options{Simple: true, Secrets: secrets, Limits: Limits{MaxFrame: 1 << 20}, Protocols: []Protocol{{Name: testProtocol, Methods: map[string]Method{
		"echo": Handle(func(_ context.Context, _ *Caller, q *question) (proto.Message, error) {
			return say(q.GetRenewer()), nil
		}),
	}}}})
	if err != nil {
		f.Fatal(err)
	}
	p := newPipes()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- core.Serve(ctx, p) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil || core.memory.Load() != 0 {
			f.Errorf("%v; %d bytes are still accounted for", err, core.memory.Load())
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := p.dial(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, c)
		}()
		_, _ = c.Write(b)
		_ = c.Close()
		<-read
	})
}

// FuzzAnswer feeds the client whatever a server might answer.
func FuzzAnswer(f *testing.F) {
	h := responseHeader{callID: 0, clientID: nil, retry: 0}
	ok := appendReply(nil, &h)
	ok = protowire.AppendBytes(ok, marshal(f, say("x")))
	binary.BigEndian.PutUint32(ok, uint32(len(ok)-4))
	f.Add(ok, false)
	s := responseHeader{callID: saslCallID, retry: -1}
	b := appendReply(nil, &s)
	b = protowire.AppendBytes(b, marshal(f, &wire.RpcSaslProto{State: wire.RpcSaslProto_NEGOTIATE.Enum(), Auths: []*wire.RpcSaslProto_SaslAuth{tokenAuth()}}))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, sasl bool) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			go func() { _, _ = io.Copy(io.Discard, far) }()
			_, _ = far.Write(b)
			_ = far.Close()
		}()
		o := ClientOptions{Protocol: testProtocol, User: "u", Dial: func(context.Context, string) (net.Conn, error) { return near, nil }}
		if sasl {
			o.Token = tokenOf("i", "p")
		}
		c, err := Dial(context.Background(), "", o)
		if err == nil {
			_ = c.Call(context.Background(), "echo", ask("x"), new(answer))
			_ = c.Close()
		}
		_ = near.Close()
		<-done
	})
}
