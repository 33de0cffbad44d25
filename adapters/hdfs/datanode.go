package hdfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// The data transfer protocol, version 28 (org.apache.hadoop.hdfs.protocol.datatransfer).
const (
	transferVersion = 28
	opWriteBlock    = 80
	opReadBlock     = 81

	maxOpResponse   = 1 << 20  // bytes
	maxPacketHeader = 1 << 10  // bytes
	maxPacketData   = 16 << 20 // bytes, as in Hadoop
	maxChunk        = 1 << 20  // bytes under one checksum

	reuseTime = 2 * time.Second // a DataNode keeps a connection for 4 s after a finished read
	avoidTime = time.Minute     // how long a DataNode that failed is tried last
	inBuffer  = 128 << 10       // bytes; the most sequential throughput per cpu (measured)
	maxKept   = 16              // connections kept for reuse
	dialShare = 3               // a dial may take a third of the timeout, so that another replica still has a chance
)

// datanodes connects to DataNodes, keeps connections for a short while and remembers who failed.
type datanodes struct {
	c *cluster

	mu     sync.Mutex
	kept   []*dataConn
	failed map[string]time.Time // address: until when it is tried last
	closed bool
}

func newDatanodes(c *cluster) *datanodes {
	return &datanodes{c: c, failed: make(map[string]time.Time)}
}

// dataConn is a connection to a DataNode. Each read and write has the timeout; the end of the context given to bind ends
// them at once.
type dataConn struct {
	conn    net.Conn
	in      *bufio.Reader
	addr    string
	timeout time.Duration
	since   time.Time // when it was kept

	ctx  context.Context
	stop func() bool
}

func (d *dataConn) bind(ctx context.Context) {
	d.ctx = ctx
	d.stop = context.AfterFunc(ctx, func() { d.conn.Close() })
}

func (d *dataConn) Read(p []byte) (int, error) {
	d.conn.SetReadDeadline(time.Now().Add(d.timeout))
	n, err := d.conn.Read(p)
	if err != nil && d.ctx.Err() != nil {
		err = d.ctx.Err()
	}
	return n, err
}

func (d *dataConn) Write(p []byte) (int, error) {
	d.conn.SetWriteDeadline(time.Now().Add(d.timeout))
	n, err := d.conn.Write(p)
	if err != nil && d.ctx.Err() != nil {
		err = d.ctx.Err()
	}
	return n, err
}

func (d *dataConn) Close() error {
	d.stop()
	return d.conn.Close()
}

// address returns where a DataNode serves.
func (d *datanodes) address(id *wire.DatanodeID) string {
	host := id.GetIpAddr()
	if d.c.useHostname || host == "" {
		host = id.GetHostName()
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(id.GetXferPort()), 10))
}

// dial returns a connection to addr; old tells that it was used before and may be dead.
func (d *datanodes) dial(ctx context.Context, addr string, fresh bool) (conn *dataConn, old bool, err error) {
	if !fresh {
		if conn := d.reuse(addr); conn != nil {
			conn.bind(ctx)
			return conn, true, nil
		}
	}
	dialer := net.Dialer{Timeout: d.c.timeout / dialShare}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, false, err
	}
	conn = &dataConn{conn: raw, addr: addr, timeout: d.c.timeout}
	conn.bind(ctx)
	conn.in = bufio.NewReaderSize(conn, inBuffer)
	return conn, false, nil
}

func (d *datanodes) reuse(addr string) *dataConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found *dataConn
	kept := d.kept[:0]
	for _, conn := range d.kept {
		switch {
		case time.Since(conn.since) > reuseTime:
			conn.conn.Close()
		case conn.addr == addr && found == nil:
			found = conn
		default:
			kept = append(kept, conn)
		}
	}
	clear(d.kept[len(kept):])
	d.kept = kept
	return found
}

// keep takes a connection whose last exchange has ended properly.
func (d *datanodes) keep(conn *dataConn) {
	if !conn.stop() || conn.in.Buffered() > 0 {
		conn.conn.Close()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.kept) >= maxKept {
		conn.conn.Close()
		return
	}
	conn.since = time.Now()
	d.kept = append(d.kept, conn)
	if len(d.kept) == 1 {
		time.AfterFunc(2*reuseTime, d.sweep)
	}
}

// sweep closes what was kept too long.
func (d *datanodes) sweep() {
	d.reuse("")
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.kept) > 0 {
		time.AfterFunc(2*reuseTime, d.sweep)
	}
}

// avoid notes a failure of the DataNode at addr.
func (d *datanodes) avoid(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.failed) > 10_000 {
		clear(d.failed)
	}
	d.failed[addr] = time.Now().Add(avoidTime)
}

func (d *datanodes) avoided(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.failed[addr])
}

func (d *datanodes) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, conn := range d.kept {
		conn.conn.Close()
	}
	d.kept = nil
}

// appendOp appends a request of the data transfer protocol.
func appendOp(b []byte, op byte, request proto.Message) []byte {
	b = binary.BigEndian.AppendUint16(b, transferVersion)
	return appendDelimited(append(b, op), request)
}

func appendDelimited(b []byte, m proto.Message) []byte {
	b = protowire.AppendVarint(b, uint64(proto.Size(m)))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		panic(fmt.Sprintf("hdfs: %T is incomplete: %v", m, err)) // we filled it
	}
	return b
}

// readDelimited reads a message of at most maxOpResponse bytes that is preceded by its length.
func readDelimited(r *bufio.Reader, m proto.Message) error {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isContext(err) || isTransport(err) {
			return err
		}
		return fmt.Errorf("not a DataNode: %w", err)
	}
	if length > maxOpResponse {
		return fmt.Errorf("not a DataNode: answer of %d bytes", length)
	}
	buf := make([]byte, length)
	if _, err := io.ReadFull(r, buf); err != nil {
		return noEOF(err)
	}
	if err := proto.Unmarshal(buf, m); err != nil {
		return fmt.Errorf("not a DataNode: %w", err)
	}
	return nil
}

func isTransport(err error) bool {
	var ne net.Error
	return errors.As(err, &ne)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// opError is a refusal by a DataNode.
func opError(r *wire.BlockOpResponse) error {
	if r.GetStatus() == wire.Status_ERROR_ACCESS_TOKEN {
		return errors.New("block token refused")
	}
	if m := firstLine(r.GetMessage()); m != "" {
		return errors.New(m)
	}
	return fmt.Errorf("status %v", r.GetStatus())
}

// brief shortens an error of the network for lists of replicas tried.
func brief(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return firstLine(err.Error())
}
