package hdfs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// The data transfer protocol, version 28 (org.apache.hadoop.hdfs.protocol.datatransfer), as far as it is watched here.
const (
	transferVersion = 28
	opWriteBlock    = 80
	opReadBlock     = 81

	maxOpResponse   = 1 << 20  // bytes
	maxPacketHeader = 1 << 10  // bytes
	maxPacketData   = 16 << 20 // bytes, as in Hadoop
	maxChunk        = 1 << 20  // bytes under one checksum
	packetLengths   = 6        // int32 length of itself, checksums and data; int16 length of the header

	inBuffer  = 8 << 10 // bytes; the data of a packet go past it (measured: faster than a large one)
	shortWait = 3       // the part of the timeout, one in so many, after which there may be a better way
)

var (
	errChecksum = errors.New("checksum mismatch")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// phase is what a DataNode is to send next.
type phase int

const (
	greeting phase = iota // nothing is known yet
	opAnswer              // the answer to a request
	packets               // of a block that is read
	acks                  // of a block that is written
	finished
)

// dataConn is a connection of a client to a DataNode. Each read and write has the timeout, and it is closed when its
// session's life ends. What the DataNode sends is checked before the client sees it, for the client believes any length.
type dataConn struct {
	net.Conn
	s       *session
	in      *bufio.Reader // of the connection, with deadlines
	addr    string        // as dialled
	timeout time.Duration
	stop    func() bool
	op      byte

	phase   phase
	offset  int64        // in the block: what the client asked for, then that of the next packet
	table   *crc32.Table // nil: no checksums
	chunk   int          // bytes under each
	pending []byte       // checked, not yet taken
	body    int          // bytes of the packet that were not read yet
	sums    []byte       // of them
	room    []byte       // for sums
	part    []byte       // room for a chunk

	stream *stream  // that reads through it, or nil
	out    *outflow // of a block that is written, or nil

	// Kept under the session's lock.
	failure error
	bad     string // the DataNode of the pipeline that is to blame, "host:port"; "" is the first
	closed  bool
}

// dialDataNode is the client's way to a DataNode.
func (s *session) dialDataNode(_ context.Context, network, addr string) (net.Conn, error) {
	addr = plainAddress(addr)
	s.mu.Lock()
	stream := s.reading
	s.mu.Unlock()
	if stream != nil {
		stream.leave()
	}
	short := s.fs.c.timeout / shortWait // so that another replica still has a chance
	dialer := net.Dialer{Timeout: short}
	raw, err := dialer.DialContext(s.life, network, addr)
	if err != nil {
		if stream != nil {
			stream.failed(addr, err)
		}
		return nil, err
	}
	c := &dataConn{Conn: raw, s: s, addr: addr, timeout: s.fs.c.timeout, stream: stream}
	if stream != nil && !stream.trials.refreshed {
		c.timeout = short // what hangs may come at once by another connection, of which there will be at least one
	}
	c.in = bufio.NewReaderSize(readTimeout{c}, inBuffer)
	c.stop = context.AfterFunc(s.life, func() { raw.Close() })
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	if stream != nil {
		stream.conn = c
	}
	return c, nil
}

// readTimeout reads with the connection's timeout.
type readTimeout struct{ c *dataConn }

func (r readTimeout) Read(p []byte) (int, error) {
	timeout := r.c.timeout
	if r.c.phase == acks {
		timeout += heartbeatEvery
	}
	r.c.Conn.SetReadDeadline(time.Now().Add(timeout))
	return r.c.Conn.Read(p)
}

// Read gives the client what was checked.
func (c *dataConn) Read(p []byte) (int, error) {
	for {
		switch {
		case len(c.pending) > 0:
			n := copy(p, c.pending)
			c.pending = c.pending[n:]
			return n, nil
		case c.body > 0:
			n, err := c.data(p)
			if n > 0 || err != nil {
				return n, c.lost(err)
			}
			continue
		}
		if err := c.next(); err != nil {
			return 0, c.lost(err)
		}
	}
}

// next checks the next message and makes it pending.
func (c *dataConn) next() error {
	switch c.phase {
	case opAnswer:
		return c.opAnswer()
	case packets:
		return c.packet()
	case acks:
		return c.out.ack(c)
	}
	return io.EOF
}

// opAnswer reads what the DataNode says to a request.
func (c *dataConn) opAnswer() error {
	answer := &wire.BlockOpResponse{}
	text, err := readDelimited(c.in, answer)
	if err != nil {
		return err
	}
	if answer.GetStatus() != wire.Status_SUCCESS {
		c.s.mu.Lock()
		c.bad = answer.GetFirstBadLink()
		c.s.mu.Unlock()
		return opError(answer)
	}
	c.phase = acks
	if c.op == opWriteBlock {
		c.out = newOutflow(c)
		c.s.mu.Lock()
		if w := c.s.writing; w != nil {
			w.began = true
		}
		c.s.mu.Unlock()
	} else {
		c.phase = packets
		if err := c.checksums(answer.GetReadOpChecksumInfo()); err != nil {
			return err
		}
		// The client hands out data whose checksum is wrong if it was read along with other data, so it gets none to check.
		answer.ReadOpChecksumInfo.Checksum.Type = wire.ChecksumType_CHECKSUM_NULL.Enum()
		if text, err = proto.Marshal(answer); err != nil {
			return err
		}
		text = protowire.AppendBytes(nil, text)
	}
	c.pending = text
	return nil
}

func (c *dataConn) checksums(info *wire.ReadOpChecksumInfo) error {
	chunk := info.GetChecksum().GetBytesPerChecksum()
	if chunk == 0 || chunk > maxChunk {
		return fmt.Errorf("%d bytes per checksum", chunk)
	}
	c.chunk = int(chunk)
	switch kind := info.GetChecksum().GetType(); kind {
	case wire.ChecksumType_CHECKSUM_NULL:
	case wire.ChecksumType_CHECKSUM_CRC32:
		c.table = crc32.IEEETable
	case wire.ChecksumType_CHECKSUM_CRC32C:
		c.table = castagnoli
	default:
		return fmt.Errorf("unknown checksum type %d", kind)
	}
	start := info.GetChunkOffset()
	if start > uint64(c.offset) || uint64(c.offset)-start >= uint64(chunk) {
		return fmt.Errorf("DataNode starts at %d instead of %d", start, c.offset)
	}
	c.offset = int64(start)
	return nil
}

// packet reads a packet and verifies its data.
func (c *dataConn) packet() error {
	var lengths [packetLengths]byte
	if _, err := io.ReadFull(c.in, lengths[:]); err != nil {
		return noEOF(err)
	}
	headLength := int(binary.BigEndian.Uint16(lengths[4:]))
	if headLength > maxPacketHeader {
		return fmt.Errorf("packet header of %d bytes", headLength)
	}
	text := append(lengths[:], make([]byte, headLength)...)
	if _, err := io.ReadFull(c.in, text[packetLengths:]); err != nil {
		return noEOF(err)
	}
	var h wire.PacketHeader
	if err := proto.Unmarshal(text[packetLengths:], &h); err != nil {
		return fmt.Errorf("packet header: %w", err)
	}
	data := int(h.GetDataLen())
	if data < 0 || data > maxPacketData {
		return fmt.Errorf("packet of %d bytes", data)
	}
	sums := 0
	if c.table != nil {
		sums = (data + c.chunk - 1) / c.chunk * 4
	}
	if length := int64(int32(binary.BigEndian.Uint32(lengths[:]))); length != int64(4+sums+data) {
		return fmt.Errorf("packet of %d bytes for %d of data and %d of checksums", length, data, sums)
	}
	if data == 0 && !h.GetLastPacketInBlock() {
		return nil // a heartbeat
	}
	if h.GetOffsetInBlock() != c.offset {
		return fmt.Errorf("packet at %d instead of %d", h.GetOffsetInBlock(), c.offset)
	}
	if cap(c.room) < sums {
		c.room = make([]byte, sums)
	}
	c.sums = c.room[:sums]
	if _, err := io.ReadFull(c.in, c.sums); err != nil {
		return noEOF(err)
	}
	c.offset += int64(data)
	c.pending, c.body = text, data
	if h.GetLastPacketInBlock() {
		c.phase = finished
	}
	return nil
}

// data reads the rest of a packet in whole chunks, and verifies them where the client wants them.
func (c *dataConn) data(p []byte) (int, error) {
	n := min(c.body, len(p))
	if n < c.body {
		n -= n % c.chunk
	}
	if n == 0 { // the client wants less than a chunk
		if cap(c.part) < c.chunk {
			c.part = make([]byte, c.chunk)
		}
		n, err := c.data(c.part[:c.chunk])
		c.pending = c.part[:n]
		return 0, err
	}
	if _, err := io.ReadFull(c.in, p[:n]); err != nil {
		return 0, noEOF(err)
	}
	c.body -= n
	for data := p[:n]; len(data) > 0 && c.table != nil; c.sums = c.sums[4:] {
		chunk := data[:min(c.chunk, len(data))]
		if crc32.Checksum(chunk, c.table) != binary.BigEndian.Uint32(c.sums) {
			return 0, errChecksum
		}
		data = data[len(chunk):]
	}
	return n, nil
}

// Write passes requests and packets on. Once a block is being written no failure is told to the client, which would not
// end its goroutines then; the writer looks for it.
func (c *dataConn) Write(p []byte) (int, error) {
	text := p
	var err error
	if c.phase == greeting {
		if text, err = c.greet(p); err != nil {
			return 0, err
		}
	}
	c.s.mu.Lock()
	failure := c.failure
	c.s.mu.Unlock()
	if failure == nil {
		if c.out != nil {
			err = c.out.packet(p)
		} else {
			err = c.send(text)
		}
		if err == nil {
			return len(p), nil
		}
		err = c.lost(err)
	}
	if c.out != nil {
		return len(p), nil
	}
	return 0, errors.Join(failure, err)
}

func (c *dataConn) send(p []byte) error {
	c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	_, err := c.Conn.Write(p)
	return err
}

// greet sees what the client wants. A read is shortened to what will be used of it.
func (c *dataConn) greet(p []byte) ([]byte, error) {
	q := &wire.OpReadBlock{}
	switch {
	case len(p) >= 3 && binary.BigEndian.Uint16(p) == transferVersion && p[2] == opWriteBlock:
		c.phase, c.op = opAnswer, opWriteBlock
		return p, nil
	case len(p) >= 3 && binary.BigEndian.Uint16(p) == transferVersion && p[2] == opReadBlock:
		if text, n := protowire.ConsumeBytes(p[3:]); n != len(p)-3 || proto.Unmarshal(text, q) != nil {
			break
		}
		c.phase, c.op, c.offset = opAnswer, opReadBlock, int64(q.GetOffset())
		if c.stream != nil && c.stream.want > 0 && uint64(c.stream.want) < q.GetLen() {
			q.Len = proto.Uint64(uint64(c.stream.want))
			p = appendOp(nil, c.op, q)
		}
		return p, nil
	}
	return nil, errors.New("a request of the HDFS client to a DataNode does not parse")
}

// lost notes the first failure and closes the connection.
func (c *dataConn) lost(err error) error {
	if err == nil || err == io.EOF && c.phase == finished {
		return err
	}
	err = noEOF(err)
	c.s.mu.Lock()
	first := c.failure == nil && !c.closed
	if first {
		c.failure = err
		if w := c.s.writing; w != nil && w.began && w.failure == nil {
			w.failure = err
		}
	}
	c.s.mu.Unlock()
	if first {
		c.Conn.Close()
		if c.stream != nil {
			c.stream.failed(c.addr, err)
		}
	}
	return err
}

// Close implements net.Conn.
func (c *dataConn) Close() error {
	c.s.mu.Lock()
	c.closed = true
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	c.stop()
	return c.Conn.Close()
}

// The client's deadlines do not count.
func (c *dataConn) SetDeadline(time.Time) error      { return nil }
func (c *dataConn) SetReadDeadline(time.Time) error  { return nil }
func (c *dataConn) SetWriteDeadline(time.Time) error { return nil }

// closeData closes what the client forgot.
func (s *session) closeData() {
	s.mu.Lock()
	var left []*dataConn
	for c := range s.conns {
		left = append(left, c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
}

// address returns where a DataNode serves.
func (c *cluster) address(id *wire.DatanodeID) string {
	host := id.GetIpAddr()
	if c.useHostname || host == "" {
		host = id.GetHostName()
	}
	return fmt.Sprintf("%s:%d", host, id.GetXferPort())
}

// marked makes a host name that differs from minute to minute: the client remembers for ever which addresses failed, and
// tries them last.
func marked(host string, now time.Time) string { return fmt.Sprintf("%s#%d", host, now.Unix()/60) }

// plainAddress undoes marked, and makes an address of what the client joins with a colon.
func plainAddress(addr string) string {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr
	}
	host, _, _ := strings.Cut(addr[:i], "#")
	return net.JoinHostPort(strings.Trim(host, "[]"), addr[i+1:])
}

// appendOp appends a request of the data transfer protocol.
func appendOp(b []byte, op byte, request proto.Message) []byte {
	b = append(binary.BigEndian.AppendUint16(b, transferVersion), op)
	b = protowire.AppendVarint(b, uint64(proto.Size(request)))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, request)
	if err != nil {
		panic(fmt.Sprintf("hdfs: %T is incomplete: %v", request, err)) // it was complete before
	}
	return b
}

// readDelimited reads a message of at most maxOpResponse bytes that is preceded by its length. It returns both as bytes.
func readDelimited(r *bufio.Reader, m proto.Message) ([]byte, error) {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		var ne net.Error
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &ne) {
			return nil, noEOF(err)
		}
		return nil, fmt.Errorf("not a DataNode: %w", err)
	}
	if length > maxOpResponse {
		return nil, fmt.Errorf("not a DataNode: answer of %d bytes", length)
	}
	text := bytes.NewBuffer(binary.AppendUvarint(nil, length))
	head := text.Len()
	if _, err := io.CopyN(text, r, int64(length)); err != nil { // grows as bytes arrive
		return nil, noEOF(err)
	}
	if err := proto.Unmarshal(text.Bytes()[head:], m); err != nil {
		return nil, fmt.Errorf("not a DataNode: %w", err)
	}
	return text.Bytes(), nil
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
