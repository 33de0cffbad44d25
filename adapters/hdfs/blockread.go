package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// blockStream reads a range of one replica.
type blockStream struct {
	dn   *datanodes
	conn *dataConn
	sum  checksum

	next int64 // offset in the block of the next byte for the reader
	end  int64 // where the range ends
	wire int64 // offset in the block of the next packet

	rest    []byte // verified bytes of the current packet not yet taken
	buf     []byte // holds packets that do not fit the reader's buffer
	scratch [maxPacketHeader]byte
	sums    []byte
}

// openBlock asks the DataNode at addr for [offset, end) of the block.
func openBlock(ctx context.Context, dn *datanodes, client, addr string, b *wire.LocatedBlock, offset, end int64) (*blockStream, error) {
	conn, old, err := dn.dial(ctx, addr, false)
	if err != nil {
		return nil, err
	}
	s, err := startRead(dn, conn, client, b, offset, end)
	if err != nil && old && ctx.Err() == nil {
		conn.Close()
		if conn, _, err = dn.dial(ctx, addr, true); err != nil {
			return nil, err
		}
		s, err = startRead(dn, conn, client, b, offset, end)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func startRead(dn *datanodes, conn *dataConn, client string, b *wire.LocatedBlock, offset, end int64) (*blockStream, error) {
	request := appendOp(nil, opReadBlock, &wire.OpReadBlock{
		Header: &wire.ClientOperationHeader{
			BaseHeader: &wire.BaseHeader{Block: b.GetB(), Token: b.GetBlockToken()}, ClientName: &client},
		Offset: proto.Uint64(uint64(offset)), Len: proto.Uint64(uint64(end - offset)),
		CachingStrategy: &wire.CachingStrategy{},
	})
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	answer := &wire.BlockOpResponse{}
	if err := readDelimited(conn.in, answer); err != nil {
		return nil, err
	}
	if answer.GetStatus() != wire.Status_SUCCESS {
		return nil, opError(answer)
	}
	sum, err := newChecksum(answer.GetReadOpChecksumInfo().GetChecksum())
	if err != nil {
		return nil, err
	}
	start := answer.GetReadOpChecksumInfo().GetChunkOffset()
	if start > uint64(offset) || uint64(offset)-start >= uint64(sum.chunk) {
		return nil, fmt.Errorf("DataNode starts at %d instead of %d", start, offset)
	}
	return &blockStream{dn: dn, conn: conn, sum: sum, next: offset, end: end, wire: int64(start)}, nil
}

// Read fills p with verified bytes, as many as the current packets give. It returns io.EOF at the end of the range.
func (s *blockStream) Read(p []byte) (int, error) {
	total := 0
	for total < len(p) && s.next < s.end {
		if len(s.rest) > 0 {
			n := copy(p[total:], s.rest)
			s.rest = s.rest[n:]
			s.next += int64(n)
			total += n
			continue
		}
		// Do not wait for the network with something in hand, unless it is there already.
		if total > 0 && s.conn.in.Buffered() == 0 {
			break
		}
		n, err := s.packet(p[total:])
		total += n
		if err != nil {
			if total > 0 && !errors.Is(err, errChecksum) {
				return total, nil // the error comes again with the next call
			}
			return total, err
		}
	}
	if total == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return total, nil
}

// packet reads the next packet: straight into p if it fits there whole, else into the stream's own buffer.
func (s *blockStream) packet(p []byte) (int, error) {
	h, err := readPacketHead(s.conn.in, s.sum, s.scratch[:])
	if err != nil {
		return 0, err
	}
	if h.offset != s.wire {
		return 0, fmt.Errorf("packet at %d instead of %d", h.offset, s.wire)
	}
	if h.data == 0 {
		if h.last {
			return 0, io.ErrUnexpectedEOF // the replica is shorter than it should be
		}
		return 0, nil // a heartbeat
	}
	if cap(s.sums) < h.sums {
		s.sums = make([]byte, h.sums)
	}
	sums := s.sums[:h.sums]
	if _, err := io.ReadFull(s.conn.in, sums); err != nil {
		return 0, noEOF(err)
	}
	skip := int(s.next - s.wire) // of the first packet, which starts at a chunk
	direct := skip == 0 && h.data <= len(p) && int64(h.data) <= s.end-s.next
	data := p[:min(h.data, len(p))]
	if !direct {
		if cap(s.buf) < h.data {
			s.buf = make([]byte, h.data)
		}
		data = s.buf[:h.data]
	}
	if _, err := io.ReadFull(s.conn.in, data); err != nil {
		return 0, noEOF(err)
	}
	if err := s.sum.verify(data, sums); err != nil {
		return 0, err
	}
	s.wire += int64(h.data)
	if direct {
		s.next += int64(h.data)
		return h.data, nil
	}
	if skip >= len(data) {
		return 0, fmt.Errorf("packet ends at %d, before the range", s.wire)
	}
	s.rest = data[skip:]
	if extra := s.wire - s.end; extra > 0 { // the last chunk is sent whole
		s.rest = s.rest[:int64(len(s.rest))-extra]
	}
	return 0, nil
}

// Close gives the connection back if the range was read to its end, and closes it otherwise.
func (s *blockStream) Close() {
	if s.next < s.end || !s.finish() {
		s.conn.Close()
		return
	}
	s.dn.keep(s.conn)
}

// finish reads the empty last packet and tells the DataNode that all checksums were right.
func (s *blockStream) finish() bool {
	h, err := readPacketHead(s.conn.in, s.sum, s.scratch[:])
	if err != nil || h.data != 0 || !h.last {
		return false
	}
	status := wire.Status_CHECKSUM_OK
	_, err = s.conn.Write(appendDelimited(nil, &wire.ClientReadStatus{Status: &status}))
	return err == nil
}
