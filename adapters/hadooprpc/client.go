package hadooprpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
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

	// Dial connects; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// ErrClosed is the error of calls on a connection that was closed by Close.
var ErrClosed = errors.New("hadooprpc: the connection is closed")

// Client is one connection, for many calls at once.
type Client struct {
	o        ClientOptions
	nc       net.Conn
	in       *bufio.Reader
	clientID [16]byte
	done     chan struct{} // the reader has ended

	writing sync.Mutex
	out     []byte

	mu      sync.Mutex
	next    int32
	waiting map[int32]*waiter
	err     error // why no call is possible any more
}

// waiter is a call that waits for its answer.
type waiter struct {
	response proto.Message
	done     chan error
}

// Dial connects to addr and says who calls. ctx bounds the connecting only.
func Dial(ctx context.Context, addr string, o ClientOptions) (*Client, error) {
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if o.Version == 0 {
		o.Version = 1
	}
	nc, err := o.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, nc: nc, in: bufio.NewReaderSize(nc, readBuffer), done: make(chan struct{}), waiting: make(map[int32]*waiter)}
	_, _ = rand.Read(c.clientID[:])
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
	err := c.appendPacket(contextCallID, nil, &wire.IpcConnectionContextProto{UserInfo: who, Protocol: proto.String(c.o.Protocol)})
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
			return false, c.appendPacket(saslCallID, nil, &wire.RpcSaslProto{State: wire.RpcSaslProto_INITIATE.Enum(), Auths: []*wire.RpcSaslProto_SaslAuth{simpleAuth()}})
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
	if err := c.appendPacket(saslCallID, nil, q); err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(c.out); err != nil {
		return nil, err
	}
	c.out = c.out[:0]
	packet, err := c.packet(nil)
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

// appendPacket appends a packet to what goes out next: a header, and a message or the header and message of a call.
func (c *Client) appendPacket(callID int32, call *wire.RequestHeaderProto, m proto.Message) error {
	b := append(c.out, 0, 0, 0, 0)
	from := len(b)
	client := c.clientID[:]
	if callID == saslCallID {
		client = nil
	}
	retry := int64(-1)
	if call != nil {
		retry = 0
	}
	var h []byte
	h = append(protowire.AppendTag(h, 1, protowire.VarintType), kindProtobuf)
	h = append(protowire.AppendTag(h, 2, protowire.VarintType), opFinalPacket)
	h = protowire.AppendVarint(protowire.AppendTag(h, 3, protowire.VarintType), protowire.EncodeZigZag(int64(callID)))
	h = protowire.AppendBytes(protowire.AppendTag(h, 4, protowire.BytesType), client)
	h = protowire.AppendVarint(protowire.AppendTag(h, 5, protowire.VarintType), protowire.EncodeZigZag(retry))
	b = protowire.AppendBytes(b, h)
	for _, part := range []proto.Message{call, m} {
		if part == nil || part == proto.Message((*wire.RequestHeaderProto)(nil)) {
			continue
		}
		b = protowire.AppendVarint(b, uint64(proto.Size(part)))
		var err error
		if b, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(b, part); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	c.out = b
	return nil
}

// packet reads one packet into buf or a larger one.
func (c *Client) packet(buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxReply {
		return nil, fmt.Errorf("an answer of %d bytes", length)
	}
	if int(length) <= cap(buf) {
		buf = buf[:length]
		_, err := io.ReadFull(c.in, buf)
		return buf, err
	}
	b := bytes.NewBuffer(buf[:0])
	if _, err := io.CopyN(b, c.in, int64(length)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// header reads an answer's header; an answer that is no success is an *Exception.
func (c *Client) header(packet []byte) (*wire.RpcResponseHeaderProto, []byte, error) {
	head, body, err := delimited(packet)
	h := new(wire.RpcResponseHeaderProto)
	if err == nil {
		err = proto.Unmarshal(head, h)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("unreadable answer: %w", err)
	}
	if h.GetStatus() != wire.RpcResponseHeaderProto_SUCCESS {
		return h, body, &Exception{Class: h.GetExceptionClassName(), Message: h.GetErrorMsg(), Fatal: h.GetStatus() == wire.RpcResponseHeaderProto_FATAL}
	}
	return h, body, nil
}

// Call calls a method and waits for its answer or the end of ctx. An answer of the server that is no success is an
// *Exception; any other error ends the connection.
func (c *Client) Call(ctx context.Context, method string, request, response proto.Message) error {
	w := &waiter{response: response, done: make(chan error, 1)}
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		return err
	}
	if c.next == math.MaxInt32 {
		c.next = 0
	}
	id := c.next
	c.next++
	c.waiting[id] = w
	c.mu.Unlock()

	c.writing.Lock()
	mark := len(c.out)
	err := c.appendPacket(id, &wire.RequestHeaderProto{MethodName: proto.String(method), DeclaringClassProtocolName: proto.String(c.o.Protocol), ClientProtocolVersion: proto.Uint64(c.o.Version)}, request)
	if err != nil {
		c.out = c.out[:mark]
		c.writing.Unlock()
		c.forget(id)
		return err
	}
	_, err = c.nc.Write(c.out)
	c.out = c.out[:0]
	c.writing.Unlock()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		// The server may have said why before it closed: the reader finds it.
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if !c.forget(id) {
			return <-w.done // the answer is being written into response
		}
		return ctx.Err()
	}
}

// forget says whether the call still waited.
func (c *Client) forget(id int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.waiting[id]
	delete(c.waiting, id)
	return ok
}

// read gives answers to those who wait, until the connection ends; then all fail.
func (c *Client) read() {
	defer close(c.done)
	err := c.answers()
	_ = c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for id, w := range c.waiting {
		w.done <- c.err
		delete(c.waiting, id)
	}
}

func (c *Client) answers() error {
	var buf []byte
	for {
		packet, err := c.packet(buf)
		if err != nil {
			return fmt.Errorf("hadooprpc: %w", err)
		}
		if cap(packet) <= pooledBytes {
			buf = packet[:0]
		}
		h, body, err := c.header(packet)
		var e *Exception
		if err != nil && (!errors.As(err, &e) || e.Fatal) {
			return err
		}
		if id := h.GetClientId(); len(id) != 0 && !bytes.Equal(id, c.clientID[:]) {
			return errors.New("hadooprpc: an answer for another client")
		}
		c.mu.Lock()
		w := c.waiting[int32(h.GetCallId())]
		delete(c.waiting, int32(h.GetCallId()))
		c.mu.Unlock()
		if w == nil {
			continue // its caller has gone
		}
		if err == nil {
			var message, rest []byte
			if message, rest, err = delimited(body); err == nil && w.response != nil {
				err = proto.Unmarshal(message, w.response)
			}
			if err == nil && len(rest) != 0 {
				err = fmt.Errorf("hadooprpc: %d bytes after an answer", len(rest))
			}
		}
		w.done <- err
	}
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
