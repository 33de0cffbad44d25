package hdfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// A packet on the wire: int32 length of (itself, checksums, data), int16 length of the header, header, checksums, data.
const (
	packetLengths = 6
	packetHeader  = 25 // bytes of the header as we write it: every field has a fixed length
	heartbeat     = -1 // seqno of a packet that only says that we live
)

var errChecksum = errors.New("checksum mismatch")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is how a stream is protected.
type checksum struct {
	table *crc32.Table // nil: no checksums
	chunk int          // bytes under each
}

func newChecksum(c *wire.Checksum) (checksum, error) {
	chunk := c.GetBytesPerChecksum()
	if chunk == 0 || chunk > maxChunk {
		return checksum{}, fmt.Errorf("%d bytes per checksum", chunk)
	}
	switch c.GetType() {
	case wire.ChecksumType_CHECKSUM_NULL:
		return checksum{nil, int(chunk)}, nil
	case wire.ChecksumType_CHECKSUM_CRC32:
		return checksum{crc32.IEEETable, int(chunk)}, nil
	case wire.ChecksumType_CHECKSUM_CRC32C:
		return checksum{castagnoli, int(chunk)}, nil
	}
	return checksum{}, fmt.Errorf("unknown checksum type %d", c.GetType())
}

// size returns how many bytes of checksums cover n bytes of data.
func (c checksum) size(n int) int {
	if c.table == nil {
		return 0
	}
	return (n + c.chunk - 1) / c.chunk * 4
}

// verify compares data with its checksums.
func (c checksum) verify(data, sums []byte) error {
	if c.table == nil {
		return nil
	}
	for len(data) > 0 {
		n := min(c.chunk, len(data))
		if crc32.Checksum(data[:n], c.table) != binary.BigEndian.Uint32(sums) {
			return errChecksum
		}
		data, sums = data[n:], sums[4:]
	}
	return nil
}

// fill computes the checksums of data into sums.
func (c checksum) fill(sums, data []byte) {
	if c.table == nil {
		return
	}
	for len(data) > 0 {
		n := min(c.chunk, len(data))
		binary.BigEndian.PutUint32(sums, crc32.Checksum(data[:n], c.table))
		data, sums = data[n:], sums[4:]
	}
}

// putPacketHead writes lengths and header into b, which has packetLengths+packetHeader bytes.
func putPacketHead(b []byte, offset, seqno int64, last bool, sums, data int) {
	binary.BigEndian.PutUint32(b, uint32(4+sums+data))
	binary.BigEndian.PutUint16(b[4:], packetHeader)
	b[6] = 1<<3 | 1 // offset_in_block, 64 bits
	binary.LittleEndian.PutUint64(b[7:], uint64(offset))
	b[15] = 2<<3 | 1 // seqno, 64 bits
	binary.LittleEndian.PutUint64(b[16:], uint64(seqno))
	b[24], b[25] = 3<<3, 0 // last_packet_in_block
	if last {
		b[25] = 1
	}
	b[26] = 4<<3 | 5 // data_len, 32 bits
	binary.LittleEndian.PutUint32(b[27:], uint32(data))
}

// packetHead is the start of a packet that was read.
type packetHead struct {
	offset, seqno int64
	last          bool
	sums, data    int // bytes that follow
}

// readPacketHead reads lengths and header; scratch has at least maxPacketHeader bytes.
func readPacketHead(r io.Reader, sum checksum, scratch []byte) (packetHead, error) {
	if _, err := io.ReadFull(r, scratch[:packetLengths]); err != nil {
		return packetHead{}, noEOF(err)
	}
	length := int64(int32(binary.BigEndian.Uint32(scratch)))
	headLength := int(binary.BigEndian.Uint16(scratch[4:]))
	if headLength > maxPacketHeader {
		return packetHead{}, fmt.Errorf("packet header of %d bytes", headLength)
	}
	if _, err := io.ReadFull(r, scratch[:headLength]); err != nil {
		return packetHead{}, noEOF(err)
	}
	var m wire.PacketHeader
	if err := proto.Unmarshal(scratch[:headLength], &m); err != nil {
		return packetHead{}, fmt.Errorf("packet header: %w", err)
	}
	h := packetHead{offset: m.GetOffsetInBlock(), seqno: m.GetSeqno(), last: m.GetLastPacketInBlock(), data: int(m.GetDataLen())}
	if h.data < 0 || h.data > maxPacketData {
		return packetHead{}, fmt.Errorf("packet of %d bytes", h.data)
	}
	h.sums = sum.size(h.data)
	if length != int64(4+h.sums+h.data) {
		return packetHead{}, fmt.Errorf("packet of %d bytes for %d of data and %d of checksums", length, h.data, h.sums)
	}
	return h, nil
}
