package hdfstest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"sync"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

const (
	chunkSize  = 512
	packetSize = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type dataNode struct {
	cluster *Cluster
	node    Node

	mu       sync.Mutex
	listener net.Listener
	port     uint32
	hang     int // so many operations are not answered
	refuse   bool
	cutAfter int64
}

func (d *dataNode) start(l net.Listener) {
	d.set(func(d *dataNode) { d.listener, d.port = l, uint32(l.Addr().(*net.TCPAddr).Port) })
	d.cluster.serve(l, d.serve)
}

func (d *dataNode) stop() { d.set(func(d *dataNode) { d.listener.Close() }) }

func (d *dataNode) set(f func(*dataNode)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *dataNode) info() *wire.DatanodeInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &wire.DatanodeInfo{Location: &d.node.Rack, Id: &wire.DatanodeID{IpAddr: proto.String("127.0.0.1"), HostName: &d.node.Host,
		DatanodeUuid: &d.node.Host, XferPort: proto.Uint32(d.port), InfoPort: proto.Uint32(0), IpcPort: proto.Uint32(0)}}
}

// serve answers operations until the connection ends.
func (d *dataNode) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		var head [3]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		var hang, refuse bool
		var left int64
		d.set(func(d *dataNode) {
			hang, refuse, left = d.hang > 0, d.refuse, d.cutAfter
			d.hang = max(d.hang-1, 0)
		})
		if left == 0 {
			left = 1 << 62
		}
		if hang {
			<-d.cluster.ctx.Done()
			return
		}
		var err error
		switch head[2] {
		case 81:
			err = d.read(conn, in, left)
		case 80:
			err = d.write(conn, in, refuse, left)
			if err == nil {
				return // one block for each connection
			}
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

func respond(conn net.Conn, r *wire.BlockOpResponse) error {
	var b bytes.Buffer
	if _, err := protodelim.MarshalTo(&b, r); err != nil {
		return err
	}
	_, err := conn.Write(b.Bytes())
	return err
}

var errCut = errors.New("cut")

func (d *dataNode) read(conn net.Conn, in *bufio.Reader, left int64) error {
	var q wire.OpReadBlock
	if err := protodelim.UnmarshalFrom(in, &q); err != nil {
		return err
	}
	data, sums := d.replica(q.GetHeader().GetBaseHeader().GetBlock().GetBlockId())
	start, end := int64(q.GetOffset()), int64(q.GetOffset()+q.GetLen())
	if data == nil || end > int64(len(data)) {
		respond(conn, &wire.BlockOpResponse{Status: wire.Status_ERROR.Enum(), Message: proto.String("replica not found")})
		return errCut
	}
	start = start / chunkSize * chunkSize
	end = min((end+chunkSize-1)/chunkSize*chunkSize, int64(len(data)))
	err := respond(conn, &wire.BlockOpResponse{Status: wire.Status_SUCCESS.Enum(), ReadOpChecksumInfo: &wire.ReadOpChecksumInfo{
		Checksum: &wire.Checksum{Type: wire.ChecksumType_CHECKSUM_CRC32C.Enum(), BytesPerChecksum: proto.Uint32(chunkSize)}, ChunkOffset: proto.Uint64(uint64(start))}})
	seqno := int64(0)
	for ; err == nil && start < end; seqno++ {
		n := min(packetSize, end-start)
		packet := packetOf(start, seqno, false, sums[start/chunkSize*4:(start+n+chunkSize-1)/chunkSize*4], data[start:start+n])
		if left < n {
			conn.Write(packet[:len(packet)/2])
			return errCut
		}
		_, err = conn.Write(packet)
		start, left = start+n, left-n
	}
	if err == nil {
		_, err = conn.Write(packetOf(start, seqno, true, nil, nil))
	}
	if err != nil {
		return err
	}
	return protodelim.UnmarshalFrom(in, &wire.ClientReadStatus{})
}

// replica returns the bytes and the checksums that were made when they were written.
func (d *dataNode) replica(id uint64) (data, sums []byte) {
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	b := d.cluster.blocks[id]
	if b == nil {
		return nil, nil
	}
	for _, r := range b.replicas {
		if r.node == d {
			return r.data, r.sums
		}
	}
	return nil, nil
}

func packetOf(offset, seqno int64, last bool, sums, data []byte) []byte {
	head, err := proto.Marshal(&wire.PacketHeader{OffsetInBlock: &offset, Seqno: &seqno, LastPacketInBlock: &last, DataLen: proto.Int32(int32(len(data)))})
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(sums)+len(data)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(head)))
	return append(append(append(b, head...), sums...), data...)
}

func (d *dataNode) write(conn net.Conn, in *bufio.Reader, refuse bool, left int64) error {
	var q wire.OpWriteBlock
	if err := protodelim.UnmarshalFrom(in, &q); err != nil {
		return err
	}
	if refuse {
		respond(conn, &wire.BlockOpResponse{Status: wire.Status_ERROR.Enum(), Message: proto.String("disk full")})
		return errCut
	}
	if err := respond(conn, &wire.BlockOpResponse{Status: wire.Status_SUCCESS.Enum(), FirstBadLink: proto.String("")}); err != nil {
		return err
	}
	var data, sums []byte
	for {
		head, packetSums, packet, err := readPacket(in)
		if err != nil {
			return err
		}
		reply := wire.Status_SUCCESS
		if head.GetSeqno() >= 0 && (head.GetOffsetInBlock() != int64(len(data)) || !bytes.Equal(checksums(packet), packetSums)) {
			reply = wire.Status_ERROR_CHECKSUM
		}
		if left -= int64(len(packet)); left < 0 {
			return errCut
		}
		data, sums = append(data, packet...), append(sums, packetSums...)
		if head.GetLastPacketInBlock() {
			d.store(q.GetHeader().GetBaseHeader().GetBlock().GetBlockId(), data, sums)
		}
		ack := &wire.PipelineAck{Seqno: head.Seqno}
		for range 1 + len(q.GetTargets()) {
			ack.Reply = append(ack.Reply, reply)
		}
		var b bytes.Buffer
		protodelim.MarshalTo(&b, ack)
		if _, err := conn.Write(b.Bytes()); err != nil || head.GetLastPacketInBlock() {
			return err
		}
	}
}

func checksums(data []byte) (sums []byte) {
	for len(data) > 0 {
		n := min(chunkSize, len(data))
		sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(data[:n], castagnoli))
		data = data[n:]
	}
	return sums
}

func readPacket(in *bufio.Reader) (head *wire.PacketHeader, sums, data []byte, err error) {
	var lengths [6]byte
	if _, err = io.ReadFull(in, lengths[:]); err != nil {
		return nil, nil, nil, err
	}
	text := make([]byte, binary.BigEndian.Uint16(lengths[4:]))
	if _, err = io.ReadFull(in, text); err != nil {
		return nil, nil, nil, err
	}
	head = &wire.PacketHeader{}
	if err = proto.Unmarshal(text, head); err != nil {
		return nil, nil, nil, err
	}
	body := int(binary.BigEndian.Uint32(lengths[:])) - 4
	n := int(head.GetDataLen())
	if n < 0 || body != n+(n+chunkSize-1)/chunkSize*4 || body > 16<<20 {
		return nil, nil, nil, errCut
	}
	rest := make([]byte, body)
	_, err = io.ReadFull(in, rest)
	return head, rest[:body-n], rest[body-n:], err
}

// store ends a block: every DataNode of the pipeline has it.
func (d *dataNode) store(id uint64, data, sums []byte) {
	d.cluster.mu.Lock()
	defer d.cluster.mu.Unlock()
	b := d.cluster.blocks[id]
	if b == nil {
		return
	}
	b.length, b.done = int64(len(data)), true
	for _, r := range b.replicas {
		r.data, r.sums = data, sums
	}
}
