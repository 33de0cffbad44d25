package hadooprpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hadooprpc/writable"
)

// ClientOptions say who calls and what.
type ClientOptions struct {
	Protocol string          // name of the Java interface
	Version  uint64          // 0 is 1
	User     string          // with SIMPLE
	RealUser string          // who impersonates User
	Token    *writable.Token // TOKEN instead of SIMPLE; a server that takes only SIMPLE is used so
	MaxReply int             // bytes of one answer; 0 is 128 MiB, as in Hadoop

	// Dial connects; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// ErrClosed is the error of calls on a connection that was closed by Close.
var ErrClosed = errors.New("hadooprpc: the connection is closed")

// PeerError says that the peer answers something that is not Hadoop's RPC.
type PeerError struct{ Got string }

func (e *PeerError) Error() string { return "the peer does not speak Hadoop's RPC: " + e.Got }

// Client is one connection, for many calls at once.
type Client struct {
	o        ClientOptions
	nc       net.Conn
	in       *bufio.Reader
	clientID [16]byte
	done     chan struct{} // the reader has ended

	turn chan struct{} // capacity one; its holder owns out, and writes
	out  []byte

	mu      sync.Mutex
	next    int32
	waiting map[int32]*waiter
	err     error // why no call is possible any more
}

// Dial connects to addr and says who calls. ctx bounds the connecting only.
func Dial(ctx context.Context, addr string, o ClientOptions) (*Client, error) {
	return dial(ctx, addr, o, newClientID())
}

// newClientID makes what a server recognises a client by when it calls again.
func newClientID() (id [16]byte) {
	_, _ = rand.Read(id[:])
	return id
}

func dial(ctx context.Context, addr string, o ClientOptions, clientID [16]byte) (*Client, error) {
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if o.Version == 0 {
		o.Version = 1
	}
	if o.MaxReply == 0 {
		o.MaxReply = maxReply
	}
	nc, err := o.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, nc: nc, in: bufio.NewReaderSize(nc, readBuffer), clientID: clientID, done: make(chan struct{}),
		turn: make(chan struct{}, 1), waiting: make(map[int32]*waiter)}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = c.greet()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("hadooprpc: connect to %s: %w", addr, err)
	}
	go c.read()
	return c, nil
}

// greet sends what introduces us and negotiates.
func (c *Client) greet() error {
	auth := byte(authNone)
	if c.o.Token != nil {
		auth = authSASL
	}
	c.out = append(c.out, 'h', 'r', 'p', 'c', rpcVersion, 0, auth)
	who := &wire.UserInformationProto{EffectiveUser: proto.String(c.o.User)}
	if c.o.RealUser != "" {
		who.RealUser = proto.String(c.o.RealUser)
	}
	if c.o.Token != nil {
		token, err := c.negotiate()
		if err != nil {
			return err
		}
		if token && c.o.User == "" {
			who = nil
		}
	}
	err := c.appendPacket(contextCallID, &wire.IpcConnectionContextProto{UserInfo: who, Protocol: proto.String(c.o.Protocol)})
	if err != nil || c.o.Token == nil {
		return err // it goes out with the first call
	}
	_, err = c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// negotiate says whether the server has taken our token; else it takes our word.
func (c *Client) negotiate() (token bool, err error) {
	a, err := c.sasl(&wire.RpcSaslProto{State: wire.RpcSaslProto_NEGOTIATE.Enum()})
	if err != nil || a.GetState() == wire.RpcSaslProto_SUCCESS {
		return false, err
	}
	if a.GetState() != wire.RpcSaslProto_NEGOTIATE {
		return false, fmt.Errorf("negotiation was answered by %v", a.GetState())
	}
	for _, auth := range a.GetAuths() {
		switch {
		case auth.GetMethod() == methodToken && auth.GetMechanism() == digestMechanism && auth.GetProtocol() == "" && auth.GetServerId() == digestServer:
			return true, c.prove(auth)
		case auth.GetMethod() == methodSimple:
			return false, c.appendPacket(saslCallID, &wire.RpcSaslProto{State: wire.RpcSaslProto_INITIATE.Enum(), Auths: []*wire.RpcSaslProto_SaslAuth{simpleAuth()}})
		}
	}
	return false, errors.New("the server offers no way that we know")
}

func (c *Client) prove(auth *wire.RpcSaslProto_SaslAuth) error {
	q := &wire.RpcSaslProto{State: wire.RpcSaslProto_INITIATE.Enum(), Auths: []*wire.RpcSaslProto_SaslAuth{tokenAuth()}}
	challenge := auth.GetChallenge()
	if len(challenge) == 0 {
		a, err := c.sasl(q)
		if err != nil {
			return err
		}
		challenge = a.GetToken()
		q = &wire.RpcSaslProto{State: wire.RpcSaslProto_RESPONSE.Enum()}
	}
	answer, proof, err := answerDigest(challenge, c.o.Token.Identifier, c.o.Token.Password)
	if err != nil {
		return err
	}
	q.Token = answer
	a, err := c.sasl(q)
	if err != nil {
		return err
	}
	if a.GetState() != wire.RpcSaslProto_SUCCESS || !bytes.Equal(a.GetToken(), proof) {
		return errors.New("the server does not know the token's password")
	}
	return nil
}

// sasl sends a packet with all that waits before it, and reads the answer.
func (c *Client) sasl(q *wire.RpcSaslProto) (*wire.RpcSaslProto, error) {
	if err := c.appendPacket(saslCallID, q); err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(c.out); err != nil {
		return nil, err
	}
	c.out = c.out[:0]
	packet, err := readPacket(c.in, nil, c.o.MaxReply)
	if err != nil {
		return nil, err
	}
	_, body, err := c.header(packet)
	if err != nil {
		return nil, err
	}
	message, _, err := delimited(body)
	a := new(wire.RpcSaslProto)
	if err == nil {
		err = proto.Unmarshal(message, a)
	}
	return a, err
}

// Close ends the connection; calls in flight fail with ErrClosed. It returns when nothing of it runs any more.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrClosed
	}
	c.mu.Unlock()
	err := c.nc.Close()
	<-c.done
	return err
}
