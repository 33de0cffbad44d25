package hadooprpc

import (
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

const (
	writeChunk    = 256 << 10 // a write of this size must end within Limits.Stall
	keptOut       = 4 << 10   // an idle connection keeps a buffer up to this size
	maxMessage    = 32 << 10  // bytes of an exception's message
	maxReply      = 128 << 20 // bytes: clients' default of ipc.maximum.response.length
	maxRelieved   = 64        // connections that are closed for one reply at most
	replyOverhead = 64
)

// outbox collects replies until they are written.
type outbox struct {
	mu       sync.Mutex
	changed  sync.Cond // of mu: there is room, the flush has ended or all is over
	buf      []byte    // not yet handed to a write
	spare    []byte
	flushing bool
	dead     bool // writing failed or the reader is too slow: replies are dropped

	unsent  atomic.Int64 // bytes in buf and in the write that is under way; changed under mu
	crowded atomic.Int64 // since when replies wait for room, by the door's clock; 0: they do not
}

// lock waits for room: who sends more than a peer reads is held up, and the door closes a connection where that lasts.
func (c *conn) lock() *outbox {
	o := &c.out
	o.mu.Lock()
	for o.unsent.Load() > int64(c.s.o.Limits.Unsent) && !o.dead {
		if o.crowded.Load() == 0 {
			o.crowded.Store(c.d.now.Load())
		}
		o.changed.Wait()
	}
	return o
}

// sendReply answers a call with a message.
func (c *conn) sendReply(h *requestHeader, m proto.Message) {
	o := c.lock()
	from := len(o.buf)
	o.buf = appendReply(o.buf, &responseHeader{callID: h.callID, status: int32(wire.RpcResponseHeaderProto_SUCCESS), clientID: h.clientID, retry: h.retry})
	var why error
	if m != nil {
		size := proto.Size(m)
		if size > maxReply-replyOverhead {
			why = Errorf(RPCServerException, "the answer has %d bytes, more than the %d that clients take", size, maxReply)
		} else {
			o.buf = protowire.AppendVarint(o.buf, uint64(size))
			o.buf, why = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(o.buf, m)
		}
	} else {
		o.buf = append(o.buf, 0)
	}
	if why != nil {
		e := &Exception{Class: RPCServerException, Message: why.Error()}
		o.buf = appendReply(o.buf[:from], &responseHeader{callID: h.callID, status: int32(wire.RpcResponseHeaderProto_ERROR), clientID: h.clientID, retry: h.retry,
			exception: e, detail: int32(wire.RpcResponseHeaderProto_ERROR_SERIALIZING_RESPONSE)})
	}
	c.flush(from)
}

// sendException answers a call with an exception; the connection goes on.
func (c *conn) sendException(h *requestHeader, e *Exception) {
	c.s.metrics.errors.WithLabelValues(e.Class).Inc()
	c.send(&responseHeader{callID: h.callID, status: int32(wire.RpcResponseHeaderProto_ERROR), clientID: h.clientID, retry: h.retry, exception: bounded(e), detail: detailOf(e.Class)}, nil)
}

// sendFatal says why the connection ends.
func (c *conn) sendFatal(v *violation) {
	c.send(&responseHeader{callID: v.callID, status: int32(wire.RpcResponseHeaderProto_FATAL), retry: -1, exception: bounded(v.err), detail: int32(v.detail)}, nil)
}

func (c *conn) sendSasl(m *wire.RpcSaslProto) {
	body, err := proto.Marshal(m)
	if err != nil {
		panic("hadooprpc: " + err.Error()) // all that is required is set
	}
	c.send(&responseHeader{callID: saslCallID, status: int32(wire.RpcResponseHeaderProto_SUCCESS), retry: -1}, protowire.AppendBytes(nil, body))
}

func (c *conn) send(h *responseHeader, body []byte) {
	o := c.lock()
	from := len(o.buf)
	o.buf = append(appendReply(o.buf, h), body...)
	c.flush(from)
}

func (c *conn) sendRaw(s string) {
	o := c.lock()
	from := len(o.buf)
	o.buf = append(o.buf, s...)
	c.queue(from)
}

// appendReply appends a packet up to its header; flush fills its length in.
func appendReply(b []byte, h *responseHeader) []byte {
	b = append(b, 0, 0, 0, 0)
	// The header's length is a varint of one byte mostly; it is moved up if it is longer.
	at := len(b)
	b = h.append(append(b, 0))
	size := len(b) - at - 1
	if n := protowire.SizeVarint(uint64(size)); n > 1 {
		b = append(b, make([]byte, n-1)...)
		copy(b[at+n:], b[at+1:at+1+size])
	}
	protowire.AppendVarint(b[:at], uint64(size))
	return b
}

// flush completes the packet that begins at from and writes what is there, unless somebody does. The outbox is locked
// before and unlocked after.
func (c *conn) flush(from int) {
	size := len(c.out.buf) - from - 4
	if size > math.MaxInt32 {
		panic("hadooprpc: a reply of 2 GiB")
	}
	binary.BigEndian.PutUint32(c.out.buf[from:], uint32(size))
	c.queue(from)
}

// queue accounts for what was appended from on, and writes.
func (c *conn) queue(from int) {
	o := &c.out
	added := len(o.buf) - from
	if o.dead || !c.s.reserve(added) && !c.relieve(added) {
		o.buf = o.buf[:min(from, len(o.buf))]
		o.mu.Unlock()
		return
	}
	o.unsent.Add(int64(added))
	if o.flushing {
		o.mu.Unlock()
		return
	}
	o.flushing = true
	for len(o.buf) > 0 && !o.dead {
		b := o.buf
		o.buf, o.spare = o.spare[:0], nil
		c.write(b)
		if cap(b) <= keptOut {
			o.spare = b[:0]
		}
	}
	if cap(o.buf) > keptOut {
		o.buf = nil
	}
	o.flushing = false
	o.changed.Broadcast()
	o.mu.Unlock()
}

// write writes b, with the outbox unlocked meanwhile.
func (c *conn) write(b []byte) {
	o := &c.out
	for len(b) > 0 && !o.dead {
		n := min(len(b), writeChunk)
		o.mu.Unlock()
		c.writing.Store(c.d.now.Load())
		_, err := c.nc.Write(b[:n])
		c.writing.Store(0)
		o.mu.Lock()
		switch {
		case o.dead:
		case err != nil:
			o.die(c)
		default:
			c.s.release(n)
			if o.unsent.Add(int64(-n)) <= int64(c.s.o.Limits.Unsent) && o.crowded.Load() != 0 {
				o.crowded.Store(0)
				o.changed.Broadcast()
			}
		}
		b = b[n:]
	}
}

// die drops what waits; the connection cannot go on. The outbox is locked.
func (o *outbox) die(c *conn) {
	if o.dead {
		return
	}
	o.dead = true
	c.s.release(int(o.unsent.Swap(0)))
	o.buf = nil
	o.crowded.Store(0)
	o.changed.Broadcast()
	c.cancel()
}

// relieve finds memory for a reply by closing those connections of this listener that read slowest. The outbox is locked.
func (c *conn) relieve(bytes int) bool {
	for range maxRelieved {
		slowest := c.d.slowest()
		if slowest == nil {
			return false
		}
		if slowest == c {
			c.out.die(c)
			c.d.refused(c.nc, "slow reader", "has most of the server's memory for replies, which is full")
			return false
		}
		if slowest.out.mu.TryLock() { // it may be where we are, and wait for us
			slowest.out.die(slowest)
			slowest.out.mu.Unlock()
			c.d.refused(slowest.nc, "slow reader", "has most of the server's memory for replies, which is full")
		}
		if c.s.reserve(bytes) {
			return true
		}
	}
	c.out.die(c)
	c.d.refused(c.nc, "out of memory", "the server's memory for replies is full")
	return false
}

// wait returns when nothing is being written any more.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.flushing {
		o.changed.Wait()
	}
}

// bounded keeps a message within what a header should hold.
func bounded(e *Exception) *Exception {
	if len(e.Message) <= maxMessage {
		return e
	}
	return &Exception{Class: e.Class, Message: strings.ToValidUTF8(e.Message[:maxMessage], "")}
}

func detailOf(class string) int32 {
	switch class {
	case NoSuchMethod:
		return int32(wire.RpcResponseHeaderProto_ERROR_NO_SUCH_METHOD)
	case NoSuchProtocol:
		return int32(wire.RpcResponseHeaderProto_ERROR_NO_SUCH_PROTOCOL)
	case VersionMismatch:
		return int32(wire.RpcResponseHeaderProto_ERROR_RPC_VERSION_MISMATCH)
	case RPCServerException:
		return int32(wire.RpcResponseHeaderProto_ERROR_RPC_SERVER)
	}
	return int32(wire.RpcResponseHeaderProto_ERROR_APPLICATION)
}
