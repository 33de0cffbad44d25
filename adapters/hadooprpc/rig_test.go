package hadooprpc

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hadooprpc/writable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testProtocol = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB"

// The messages of the test protocol are ones at hand: a string out, a string back.
type (
	question = wire.GetDelegationTokenRequestProto
	answer   = wire.TokenProto
)

func ask(s string) *question { return &question{Renewer: proto.String(s)} }

func say(s string) *answer {
	return &answer{Identifier: []byte{}, Password: []byte{}, Kind: proto.String(s), Service: proto.String("")}
}

var bigAnswer = say(strings.Repeat("x", 1<<20))

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a server with a protocol of a few methods.
type rig struct {
	*Server
	ln    net.Listener
	stop  func()
	logs  *observer.ObservedLogs
	hold  chan struct{} // "hold" waits for it
	began chan string   // names of calls of "hold"
	seen  chan Caller   // callers of "who"
}

var passwords = map[string]Secret{
	"good":    {Password: []byte("secret"), User: "appattempt_1700000000000_0007_000001", Kind: "YARN_AM_RM_TOKEN"},
	"alice's": {Password: []byte("other"), User: "alice", RealUser: "oozie", Kind: "RM_DELEGATION_TOKEN", Value: 42},
}

func secrets(_ context.Context, identifier []byte) (Secret, error) {
	s, ok := passwords[string(identifier)]
	if !ok {
		return Secret{}, errors.New("unknown identifier")
	}
	return s, nil
}

func tokenOf(identifier, password string) *writable.Token {
	return &writable.Token{Identifier: []byte(identifier), Password: []byte(password), Kind: "K"}
}

func newRig(t testing.TB, ln net.Listener, change func(*Options)) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	r := &rig{ln: ln, logs: logs, hold: make(chan struct{}), began: make(chan string, 10000), seen: make(chan Caller, 10000)}
	o := Options{
		Name: "test", Simple: true, Log: zap.New(core),
		Protocols: []Protocol{{Name: testProtocol, Version: 1, Methods: map[string]Method{
			"echo": Handle(func(_ context.Context, _ *Caller, q *question) (proto.Message, error) {
				return say(q.GetRenewer()), nil
			}),
			"who": Handle(func(_ context.Context, c *Caller, _ *question) (proto.Message, error) {
				r.seen <- *c
				return say(c.User), nil
			}),
			"hold": Handle(func(ctx context.Context, _ *Caller, q *question) (proto.Message, error) {
				r.began <- q.GetRenewer()
				select {
				case <-r.hold:
					return say(q.GetRenewer()), nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}),
			"big": Handle(func(context.Context, *Caller, *question) (proto.Message, error) {
				return bigAnswer, nil
			}),
			"nothing": func(context.Context, *Caller, []byte) (proto.Message, error) { return nil, nil },
			"size": func(_ context.Context, _ *Caller, q []byte) (proto.Message, error) {
				return say(strings.Repeat("s", len(q)>>20)), nil
			},
			"broken": func(context.Context, *Caller, []byte) (proto.Message, error) { return &answer{}, nil },
			"standby": func(context.Context, *Caller, []byte) (proto.Message, error) {
				return nil, Errorf(StandbyException, "not the leader")
			},
			"error": func(context.Context, *Caller, []byte) (proto.Message, error) {
				return nil, errors.New("something of ours")
			},
			"getNewApplication": func(_ context.Context, c *Caller, q []byte) (proto.Message, error) {
				r.seen <- *c
				return nil, nil
			},
		}}},
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.Server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, ln) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
			if left := r.memory.Load(); left != 0 {
				t.Errorf("%d bytes are still accounted for", left)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

func tcpRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, ln, change)
}

func (r *rig) dial(t testing.TB, o ClientOptions) *Client {
	t.Helper()
	c, err := r.tryDial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (r *rig) tryDial(o ClientOptions) (*Client, error) {
	if o.Protocol == "" {
		o.Protocol = testProtocol
	}
	if o.User == "" && o.Token == nil {
		o.User = "alice"
	}
	if p, ok := r.ln.(*pipes); ok {
		o.Dial = p.dial
	}
	return Dial(context.Background(), r.ln.Addr().String(), o)
}

// raw connects without saying anything.
func (r *rig) raw(t testing.TB) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	if p, ok := r.ln.(*pipes); ok {
		c, err = p.dial(context.Background(), "")
	} else {
		c, err = net.Dial("tcp", r.ln.Addr().String())
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// framed puts a length before delimited parts.
func framed(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = protowire.AppendBytes(b, p)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rpcHeader(callID int32) *wire.RpcRequestHeaderProto {
	return &wire.RpcRequestHeaderProto{
		RpcKind: wire.RpcKindProto_RPC_PROTOCOL_BUFFER.Enum(), RpcOp: wire.RpcRequestHeaderProto_RPC_FINAL_PACKET.Enum(),
		CallId: proto.Int32(callID), ClientId: []byte("0123456789abcdef"), RetryCount: proto.Int32(0),
	}
}

func packetOf(t testing.TB, callID int32, parts ...proto.Message) []byte {
	t.Helper()
	b := [][]byte{marshal(t, rpcHeader(callID))}
	for _, p := range parts {
		b = append(b, marshal(t, p))
	}
	return framed(b...)
}

func callOf(t testing.TB, callID int32, method string, m proto.Message) []byte {
	t.Helper()
	return packetOf(t, callID, &wire.RequestHeaderProto{MethodName: proto.String(method), DeclaringClassProtocolName: proto.String(testProtocol), ClientProtocolVersion: proto.Uint64(1)}, m)
}

func hello(t testing.TB, user string) []byte {
	t.Helper()
	return append([]byte{'h', 'r', 'p', 'c', 9, 0, 0},
		packetOf(t, contextCallID, &wire.IpcConnectionContextProto{UserInfo: &wire.UserInformationProto{EffectiveUser: proto.String(user)}, Protocol: proto.String(testProtocol)})...)
}

// reply is an answer off the wire.
type reply struct {
	head *wire.RpcResponseHeaderProto
	body []byte
}

func readReply(t testing.TB, c io.Reader) (reply, error) {
	t.Helper()
	var n [4]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return reply{}, err
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return reply{}, err
	}
	head, rest, err := delimited(b)
	if err != nil {
		return reply{}, err
	}
	r := reply{head: new(wire.RpcResponseHeaderProto), body: rest}
	return r, proto.Unmarshal(head, r.head)
}

// half is the number of half-open connections.
func (r *rig) half() int {
	var m dto.Metric
	if err := r.metrics.halfOpen.Write(&m); err != nil {
		panic(err)
	}
	return int(m.GetGauge().GetValue())
}

// reasons are what was logged as refused.
func (r *rig) reasons() map[string]int {
	n := make(map[string]int)
	for _, e := range r.logs.All() {
		if e.Message == "refused" {
			n[e.ContextMap()["reason"].(string)]++
		}
	}
	return n
}
