package hadooprpc

import (
	"bufio"
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fairway/adapters/hadooprpc/wire"
)

const (
	readBuffer  = 1 << 10   // of a connection: a heartbeat fits
	readChunk   = 256 << 10 // progress of a large request is seen this often; it grows no faster than twice what has come
	firstChunk  = 64 << 10
	largePacket = 1 << 20 // one of these at a time per connection
	pooledBytes = 8 << 10 // requests up to this size use buffers again
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// notHTTP is what Hadoop answers to a browser, byte for byte, so that people and probes recognise it.
const notHTTP = "HTTP/1.1 404 Not Found\r\nContent-type: text/plain\r\n\r\nIt looks like you are making an HTTP request to a Hadoop IPC port. " +
	"This is not the correct port for the web interface on this daemon.\r\n"

// conn is one connection. Its goroutine reads; each call runs on a goroutine of its own and whoever has a reply and finds
// nobody writing writes, with all replies that have come meanwhile.
type conn struct {
	s    *Server
	d    *door
	nc   net.Conn
	in   *bufio.Reader
	sasl *negotiation // nil: not asked for
	user *Caller      // nil until the connection context

	ctx    context.Context // of all calls; ends with the connection
	cancel context.CancelFunc
	slots  chan struct{} // calls in flight
	large  chan struct{} // large requests in flight
	calls  sync.WaitGroup

	half *list.Element // in the door's list of half-open connections; under door.mu

	// What the door's watch looks at, in nanoseconds of its clock; 0: not so now.
	born     int64
	lastCall atomic.Int64
	reading  atomic.Int64 // last progress within a packet
	writing  atomic.Int64 // begin of a write
	open     atomic.Bool  // has said who it is
	active   atomic.Int32 // calls in flight

	out outbox
}

// violation ends a connection: what the client is told and what the log says.
type violation struct {
	reason string // for log and metrics: few
	detail wire.RpcResponseHeaderProto_RpcErrorCodeProto
	err    *Exception
	callID int32
	raw    string // sent instead of an RPC answer
	silent bool   // nothing is sent
}

func (v *violation) Error() string { return v.reason + ": " + v.err.Error() }

func invalidHeader(callID int32, format string, args ...any) *violation {
	return &violation{reason: "invalid packet", detail: wire.RpcResponseHeaderProto_FATAL_INVALID_RPC_HEADER, callID: callID, err: Errorf(fatalServerException, format, args...)}
}

func unreadable(callID int32, format string, args ...any) *violation {
	return &violation{reason: "unreadable packet", detail: wire.RpcResponseHeaderProto_FATAL_DESERIALIZING_REQUEST, callID: callID, err: Errorf(fatalServerException, format, args...)}
}

func unauthorized(e *Exception) *violation {
	return &violation{reason: "unauthorized", detail: wire.RpcResponseHeaderProto_FATAL_UNAUTHORIZED, callID: noCallID, err: e}
}

// serve reads until the connection ends.
func (c *conn) serve() {
	err := c.read()
	var v *violation
	switch {
	case errors.As(err, &v):
		c.refuse(v)
	case c.d.draining.Load():
		c.calls.Wait() // the door cuts it when the time is up
		c.out.wait()
	}
	c.cancel()
	_ = c.nc.Close()
	c.calls.Wait()
	c.out.wait()
}

// refuse logs, tells the client, and lets it read that before the connection goes: closing with unread input would reset it.
func (c *conn) refuse(v *violation) {
	c.s.metrics.refused.WithLabelValues(v.reason).Inc()
	c.s.refusals.note(c.nc.RemoteAddr(), v.reason, v.err.Class, v.err.Error())
	switch {
	case v.silent:
		return
	case v.raw != "":
		c.sendRaw(v.raw)
	default:
		c.sendFatal(v)
	}
	c.out.wait()
	if tcp, ok := c.nc.(interface{ CloseWrite() error }); ok && tcp.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
	}
}

func (c *conn) read() error {
	auth, err := c.preamble()
	if err != nil {
		return err
	}
	switch {
	case auth == authSASL:
		c.sasl = &negotiation{}
	case auth != authNone:
		return unauthorized(Errorf(IPCException, "Unknown auth protocol:%d", int8(auth)))
	case !c.s.o.Simple:
		return unauthorized(Errorf(AccessControlException, "SIMPLE authentication is not enabled.  Available:[TOKEN]"))
	}
	c.in = bufio.NewReaderSize(c.nc, readBuffer)
	for {
		k, err := c.packet()
		if err != nil {
			return err
		}
		started, err := c.handle(k)
		if !started {
			k.release()
		}
		if err != nil {
			return err
		}
	}
}

// preamble reads the first seven bytes.
func (c *conn) preamble() (auth byte, err error) {
	var b [preambleLength]byte
	n, err := io.ReadAtLeast(c.nc, b[:], 4)
	if err != nil {
		return 0, err
	}
	switch string(b[:4]) {
	case "GET ":
		return 0, &violation{reason: "http", err: Errorf(IPCException, "an HTTP request"), raw: notHTTP}
	case "hrpc":
	default:
		return 0, &violation{reason: "not hadoop rpc", err: Errorf(IPCException, "begins with %q", b[:4]), silent: true}
	}
	if _, err := io.ReadFull(c.nc, b[n:]); err != nil {
		return 0, err
	}
	if b[4] != rpcVersion {
		return 0, &violation{reason: "version", detail: wire.RpcResponseHeaderProto_FATAL_VERSION_MISMATCH, callID: noCallID,
			err: Errorf(VersionMismatch, "Server IPC version %d cannot communicate with client version %d", rpcVersion, b[4])}
	}
	return b[6], nil
}

// packet reads the next packet into a call. No more memory is taken than twice what has arrived.
func (c *conn) packet() (*call, error) {
	head, err := c.in.Peek(4)
	if err != nil {
		return nil, err
	}
	length := int32(binary.BigEndian.Uint32(head))
	limit := c.s.o.Limits.MaxFrame
	if c.user == nil {
		limit = c.s.o.Limits.MaxGreeting
	}
	switch {
	case length <= 0:
		return nil, invalidHeader(noCallID, "Unexpected data length %d", length)
	case int(length) > limit:
		return nil, &violation{reason: "packet too long", detail: wire.RpcResponseHeaderProto_FATAL_INVALID_RPC_HEADER, callID: noCallID,
			err: Errorf(fatalServerException, "Requested data length %d is longer than maximum configured RPC length %d", length, limit)}
	}
	_, _ = c.in.Discard(4)
	k := newCall(c)
	if int(length) > largePacket {
		select {
		case c.large <- struct{}{}:
			k.isLarge = true
		case <-c.ctx.Done():
			k.release()
			return nil, c.ctx.Err()
		}
	}
	if err := c.fill(k, int(length)); err != nil {
		k.release()
		return nil, err
	}
	return k, nil
}

func (c *conn) fill(k *call, length int) error {
	first := min(length, firstChunk)
	if !k.grow(first) {
		return c.full()
	}
	partial := c.in.Buffered() < length
	if partial {
		c.reading.Store(c.d.now.Load())
		defer c.reading.Store(0)
	}
	for len(k.buf) < length {
		if len(k.buf) == cap(k.buf) && !k.grow(min(length, 2*cap(k.buf))) {
			return c.full()
		}
		from := len(k.buf)
		to := min(length, cap(k.buf), from+readChunk)
		if _, err := io.ReadFull(c.in, k.buf[from:to]); err != nil {
			return err
		}
		k.buf = k.buf[:to]
		if partial {
			c.reading.Store(c.d.now.Load())
		}
	}
	return nil
}

func (c *conn) full() error {
	return &violation{reason: "out of memory", detail: wire.RpcResponseHeaderProto_FATAL_UNKNOWN, callID: noCallID,
		err: Errorf(RetriableException, "the server's memory for requests is full")}
}

// handle looks at a packet. started says that a call now owns it.
func (c *conn) handle(k *call) (started bool, err error) {
	head, rest, err := delimited(k.buf)
	if err != nil {
		return false, unreadable(noCallID, "rpc header: %v", err)
	}
	h, err := parseRequestHeader(head)
	switch {
	case err != nil:
		return false, unreadable(noCallID, "rpc header: %v", err)
	case h.op == -1:
		return false, invalidHeader(h.callID, " IPC Server: No rpc op in rpcRequestHeader")
	case h.op != opFinalPacket:
		return false, invalidHeader(h.callID, "IPC Server does not implement rpc header operation %d", h.op)
	case h.kind == -1:
		return false, invalidHeader(h.callID, " IPC Server: No rpc kind in rpcRequestHeader")
	case h.callID < 0:
		return false, c.outOfBand(h.callID, rest)
	case c.user == nil:
		return false, invalidHeader(h.callID, "Connection context not established")
	case h.kind != kindProtobuf:
		return false, invalidHeader(h.callID, "Unknown rpc kind in rpc header%d", h.kind)
	}
	k.head = h
	return c.start(k, rest)
}

// start finds the method and runs it.
func (c *conn) start(k *call, rest []byte) (bool, error) {
	head, rest, err := delimited(rest)
	if err == nil {
		k.to, err = parseCallHeader(head)
	}
	if err == nil {
		k.request, _, err = delimited(rest)
	}
	if err != nil {
		return false, unreadable(k.head.callID, "IPC server unable to read call parameters: %v", err)
	}
	m, e := c.s.find(k.to)
	if e != nil {
		c.s.metrics.refused.WithLabelValues("unknown call").Inc()
		c.s.refusals.note(c.nc.RemoteAddr(), "unknown call", e.Class, e.Error())
		c.sendException(&k.head, e)
		return false, nil
	}
	select {
	case c.slots <- struct{}{}:
	default:
		select {
		case c.slots <- struct{}{}:
		case <-c.ctx.Done():
			return false, c.ctx.Err()
		}
	}
	k.method = m
	c.active.Add(1)
	c.lastCall.Store(c.d.now.Load())
	c.calls.Add(1)
	c.d.run(k)
	return true, nil
}

// outOfBand handles packets that are no calls.
func (c *conn) outOfBand(callID int32, body []byte) error {
	switch callID {
	case pingCallID:
		return nil
	case contextCallID:
		return c.context(body)
	case saslCallID:
		message, _, err := delimited(body)
		if err != nil {
			return unreadable(callID, "sasl: %v", err)
		}
		return c.negotiate(message)
	}
	return invalidHeader(callID, "Unknown out of band call #%d", callID)
}

func (c *conn) String() string { return fmt.Sprint(c.nc.RemoteAddr()) }
