package spark

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"fairway/adapters/spark/wire"
)

const (
	helloTime   = time.Minute // for a new connection's first request
	smallFrame  = 64 << 10    // a request up to this size is read without asking the budget
	readStep    = 64 << 10    // a large request's memory grows as its bytes arrive
	parseFactor = 8           // of a request's bytes, what its parsed form may take
	maxHeld     = 4 << 10     // bytes of each buffer that an idle connection may keep
)

// conn is one connection, owned by the goroutine that serves it.
type conn struct {
	s   *Server
	tcp *net.TCPConn
	raw syscall.RawConn

	plain *bufio.Reader
	in    io.Reader // plain, or what opens what is sealed
	seal  sealer    // nil: what is sent is not sealed

	login   *saslLogin
	client  string // the application that it authenticated as; empty: none
	streams map[int64]*stream
	body    []byte
	out     []byte
}

// errBye says that the connection ends, with nothing to tell.
var errBye = errors.New("connection ends")

func newConn(s *Server, tcp *net.TCPConn) *conn {
	plain := bufio.NewReaderSize(tcp, 4096)
	return &conn{s: s, tcp: tcp, plain: plain, in: plain, streams: map[int64]*stream{}}
}

// serve answers one request after the other until the connection ends.
func (c *conn) serve() {
	defer func() {
		c.tcp.Close()
		for _, st := range c.streams {
			c.s.memory.give(st.cost)
		}
	}()
	var err error
	if c.raw, err = c.tcp.SyscallConn(); err != nil {
		return
	}
	c.tcp.SetReadDeadline(time.Now().Add(helloTime))
	for err == nil {
		err = c.next()
	}
	if !errors.Is(err, errBye) && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		c.s.metrics.refused.WithLabelValues("connection ended").Inc()
		c.s.warn("spark shuffle connection ended", c.tcp.RemoteAddr(), err)
	}
}

// next reads and answers one request. A connection may be silent for as long as it likes between two, as in Spark.
func (c *conn) next() error {
	var head [wire.HeadSize]byte
	if _, err := io.ReadFull(c.in, head[:1]); err != nil {
		return err
	}
	c.tcp.SetReadDeadline(time.Now().Add(c.s.options.Patience))
	if _, err := io.ReadFull(c.in, head[1:]); err != nil {
		return unexpected(err)
	}
	kind, n, err := wire.ParseHead(head, c.s.options.MaxFrame)
	if err != nil {
		return err
	}
	if n > smallFrame {
		cost := int64(n) * parseFactor
		if !c.s.memory.take(cost) {
			c.s.metrics.refused.WithLabelValues("memory").Inc()
			return fmt.Errorf("a request of %d bytes while others take the memory for requests", n)
		}
		defer c.s.memory.give(cost)
	}
	if err := c.readBody(n); err != nil {
		return err
	}
	c.tcp.SetReadDeadline(time.Time{})
	f, err := wire.ParseFrame(kind, c.body)
	if err != nil {
		return err
	}
	err = c.handle(f)
	if cap(c.body) > maxHeld {
		c.body = nil
	}
	if cap(c.out) > maxHeld {
		c.out = nil
	}
	return err
}

func (c *conn) readBody(n int) error {
	c.body = c.body[:0]
	for len(c.body) < n {
		at := len(c.body)
		step := min(n-at, readStep)
		c.body = slices.Grow(c.body, step)[:at+step]
		if _, err := io.ReadFull(c.in, c.body[at:]); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *conn) handle(f wire.Frame) error {
	switch f.Kind {
	case wire.RPCRequest:
		return c.rpc(f.ID, f.Body)
	case wire.ChunkFetchRequest:
		c.s.metrics.requests.WithLabelValues("chunk").Inc()
		return c.chunk(f.ID, f.Chunk)
	case wire.StreamRequest:
		c.s.metrics.requests.WithLabelValues("stream").Inc()
		return c.stream(f.Name)
	case wire.OneWayMessage:
		return nil // Spark's service takes none either, and its sender awaits nothing
	case wire.UploadStream:
		// Only block pushes come so. As in Spark the connection ends, since nobody reads the body.
		err := c.refuse(f.ID, c.upload(f.Body))
		return errors.Join(err, errBye)
	case wire.MergedBlockMetaRequest:
		c.s.metrics.requests.WithLabelValues("merged").Inc()
		if _, err := c.application(f.Name); err != nil {
			return c.refuse(f.ID, err)
		}
		return c.refuse(f.ID, errMerge)
	}
	return fmt.Errorf("a frame of type %d is no request", f.Kind)
}

func (c *conn) upload(meta []byte) error {
	c.s.metrics.requests.WithLabelValues("upload").Inc()
	m, err := wire.Parse(meta)
	if err != nil {
		return err
	}
	push, ok := m.(*wire.Merge)
	if !ok || push.Tag != wire.TagPushBlock {
		return errors.New("java.lang.UnsupportedOperationException: Unexpected message with #receiveStream")
	}
	if _, err := c.application(push.App); err != nil {
		return err
	}
	return errMerge
}

// reply answers an RPC.
func (c *conn) reply(id int64, body []byte) error {
	c.out = wire.AppendRPC(c.out[:0], wire.RPCResponse, id, body)
	return c.write(c.out)
}

// refuse answers an RPC with an error.
func (c *conn) refuse(id int64, why error) error {
	c.s.metrics.refused.WithLabelValues("request").Inc()
	c.s.warn("spark shuffle request refused", c.tcp.RemoteAddr(), why)
	c.out = wire.AppendRPCFailure(c.out[:0], id, why.Error())
	return c.write(c.out)
}

// write sends bytes as the connection sends everything.
func (c *conn) write(b []byte) error {
	c.tcp.SetWriteDeadline(time.Now().Add(c.s.options.Patience))
	if c.seal != nil {
		return c.seal.write(c.tcp, b)
	}
	_, err := c.tcp.Write(b)
	return err
}
