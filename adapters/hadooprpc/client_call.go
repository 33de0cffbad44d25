package hadooprpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// ownID asks for the connection's next call id.
const ownID = -1

// outgoing is a call to be sent.
type outgoing struct {
	id, retry int32
	method    string
	message   proto.Message
	bytes     []byte // of a message, instead of it
}

// waiter is a call that waits for its answer.
type waiter struct {
	response proto.Message // nil: it is not wanted
	raw      bool          // its bytes are
	answer   []byte
	gone     bool // the caller does not wait any more; under the client's mu
	done     chan error
}

// appendPacket appends a packet that is no call to what goes out next.
func (c *Client) appendPacket(callID int32, m proto.Message) error {
	from := c.begin(callID, -1)
	err := c.appendMessage(m)
	c.end(from)
	return err
}

// begin appends a packet's header to what goes out next; end tells its length.
func (c *Client) begin(callID, retry int32) (from int) {
	client := c.clientID[:]
	if callID == saslCallID {
		client = nil
	}
	var h []byte
	h = append(protowire.AppendTag(h, 1, protowire.VarintType), kindProtobuf)
	h = append(protowire.AppendTag(h, 2, protowire.VarintType), opFinalPacket)
	h = protowire.AppendVarint(protowire.AppendTag(h, 3, protowire.VarintType), protowire.EncodeZigZag(int64(callID)))
	h = protowire.AppendBytes(protowire.AppendTag(h, 4, protowire.BytesType), client)
	h = protowire.AppendVarint(protowire.AppendTag(h, 5, protowire.VarintType), protowire.EncodeZigZag(int64(retry)))
	from = len(c.out)
	c.out = protowire.AppendBytes(append(c.out, 0, 0, 0, 0), h)
	return from
}

func (c *Client) end(from int) { binary.BigEndian.PutUint32(c.out[from:], uint32(len(c.out)-from-4)) }

func (c *Client) appendMessage(m proto.Message) (err error) {
	c.out = protowire.AppendVarint(c.out, uint64(proto.Size(m)))
	c.out, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(c.out, m)
	return err
}

// appendCall appends a call, or nothing.
func (c *Client) appendCall(q *outgoing) error {
	from := c.begin(q.id, q.retry)
	err := c.appendMessage(&wire.RequestHeaderProto{MethodName: proto.String(q.method), DeclaringClassProtocolName: proto.String(c.o.Protocol), ClientProtocolVersion: proto.Uint64(c.o.Version)})
	switch {
	case err != nil:
	case q.message != nil:
		err = c.appendMessage(q.message)
	default:
		c.out = protowire.AppendBytes(c.out, q.bytes)
	}
	if err != nil {
		c.out = c.out[:from]
		return err
	}
	c.end(from)
	return nil
}

// readPacket reads a packet, without its length, into buf or a larger buffer, which grows as bytes arrive: a false length
// costs nothing.
func readPacket(in io.Reader, buf []byte, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if uint64(length) > uint64(limit) {
		return nil, &PeerError{fmt.Sprintf("a packet begins with %q, as if %d bytes followed", head[:], length)}
	}
	var err error
	if int(length) <= cap(buf) {
		buf = buf[:length]
		_, err = io.ReadFull(in, buf)
	} else {
		b := bytes.NewBuffer(buf[:0])
		_, err = io.CopyN(b, in, int64(length))
		buf = b.Bytes()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return buf, err
}

// header reads an answer's header; an answer that is no success is an *Exception.
func (c *Client) header(packet []byte) (*wire.RpcResponseHeaderProto, []byte, error) {
	head, body, err := delimited(packet)
	h := new(wire.RpcResponseHeaderProto)
	if err == nil {
		err = proto.Unmarshal(head, h)
	}
	if err != nil {
		return nil, nil, &PeerError{"the header of an answer does not parse: " + err.Error()}
	}
	if h.GetStatus() != wire.RpcResponseHeaderProto_SUCCESS {
		return h, body, &Exception{Class: h.GetExceptionClassName(), Message: h.GetErrorMsg(), Fatal: h.GetStatus() == wire.RpcResponseHeaderProto_FATAL}
	}
	return h, body, nil
}

// Call calls a method and waits for its answer or the end of ctx. An answer of the server that is no success is an
// *Exception; any other error ends the connection.
func (c *Client) Call(ctx context.Context, method string, request, response proto.Message) error {
	return c.call(ctx, &outgoing{id: ownID, method: method, message: request}, &waiter{response: response})
}

func (c *Client) call(ctx context.Context, q *outgoing, w *waiter) error {
	w.done = make(chan error, 1)
	if err := c.expect(q, w); err != nil {
		return err
	}
	if err := c.send(ctx, q); err != nil {
		c.mu.Lock()
		delete(c.waiting, q.id)
		c.mu.Unlock()
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if !c.leave(q.id) {
			return <-w.done // the answer is being written into response
		}
		return ctx.Err()
	}
}

// expect notes that the answer to q is for w.
func (c *Client) expect(q *outgoing, w *waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if q.id == ownID {
		if c.next == math.MaxInt32 {
			c.next = 0
		}
		q.id = c.next
		c.next++
	}
	c.waiting[q.id] = w
	return nil
}

// send writes a call. An error tells that nothing of it was sent; what fails later ends the connection, and the reader
// tells all who wait.
func (c *Client) send(ctx context.Context, q *outgoing) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.over() {
		return nil // a packet may have been cut short: nothing may follow it
	}
	if err := c.appendCall(q); err != nil {
		return err
	}
	err := c.write(ctx)
	c.out = c.out[:0]
	if err != nil {
		c.mu.Lock()
		if c.err == nil {
			c.err = fmt.Errorf("hadooprpc: %w", err)
		}
		c.mu.Unlock()
		// The server may have said why before it closed: the reader finds it.
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	}
	return nil
}

// write writes what waits to go out, until the end of ctx.
func (c *Client) write(ctx context.Context) error {
	if ctx.Done() == nil {
		_, err := c.nc.Write(c.out)
		return err
	}
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.nc.SetWriteDeadline(time.Unix(1, 0))
		close(late)
	})
	_, err := c.nc.Write(c.out)
	if !stop() {
		<-late
		_ = c.nc.SetWriteDeadline(time.Time{})
	}
	return err
}

// leave says whether the call still waited. Its answer will be dropped.
func (c *Client) leave(id int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waiting[id]
	if w == nil {
		return false
	}
	w.gone = true
	return true
}

// over says whether no call is possible any more.
func (c *Client) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// read gives answers to those who wait, until the connection ends; then all fail.
func (c *Client) read() {
	defer close(c.done)
	err := c.answers()
	defer c.nc.Close() // after the reason is noted: a write that this breaks has none of its own
	var e *Exception
	said := errors.As(err, &e)
	if !said {
		err = fmt.Errorf("hadooprpc: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil || said && c.err != ErrClosed {
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
		packet, err := readPacket(c.in, buf, c.o.MaxReply)
		if err != nil {
			return err
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
			return &PeerError{"an answer is for another client"}
		}
		id := int32(h.GetCallId())
		c.mu.Lock()
		w := c.waiting[id]
		delete(c.waiting, id)
		gone := w != nil && w.gone
		c.mu.Unlock()
		switch {
		case w == nil:
			return &PeerError{fmt.Sprintf("call %d is answered, which was not made", id)}
		case gone:
			continue
		case err == nil:
			if err = w.take(body); w.raw {
				buf = nil // it is the caller's now
			}
		}
		w.done <- err
	}
}

// take takes the answer out of what follows a header.
func (w *waiter) take(body []byte) error {
	message, rest, err := delimited(body)
	switch {
	case err != nil:
		return &PeerError{fmt.Sprintf("an answer of %d bytes is %v", len(body), err)}
	case len(rest) != 0:
		return &PeerError{fmt.Sprintf("%d bytes follow an answer", len(rest))}
	case w.raw:
		w.answer = message
	case w.response != nil:
		return proto.Unmarshal(message, w.response)
	}
	return nil
}
