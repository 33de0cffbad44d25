package hdfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	rpcwire "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hdfs/wire"
)

// scripted is a connection whose peer says one thing.
type scripted struct {
	net.Conn
	text io.Reader
}

func (c scripted) Read(p []byte) (int, error)        { return c.text.Read(p) }
func (c scripted) Close() error                      { return nil }
func (c scripted) SetReadDeadline(t time.Time) error { return nil }

func packetOf(head *wire.PacketHeader, body int) []byte {
	text, _ := proto.Marshal(head)
	b := binary.BigEndian.AppendUint32(nil, uint32(4+body))
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(append(b, text...), make([]byte, body)...)
}

func delimited(m proto.Message) []byte {
	text, _ := proto.Marshal(m)
	return protowire.AppendBytes(nil, text)
}

// Whatever a DataNode sends, the client gets no more than was sent, and what it gets is in the lengths that it believes.
func FuzzDataNode(f *testing.F) {
	answer := delimited(&wire.BlockOpResponse{Status: wire.Status_SUCCESS.Enum(), ReadOpChecksumInfo: &wire.ReadOpChecksumInfo{
		Checksum: &wire.Checksum{Type: wire.ChecksumType_CHECKSUM_CRC32C.Enum(), BytesPerChecksum: proto.Uint32(512)}, ChunkOffset: proto.Uint64(0)}})
	head := func(offset int64, data int32, last bool) *wire.PacketHeader {
		return &wire.PacketHeader{OffsetInBlock: &offset, Seqno: proto.Int64(0), LastPacketInBlock: &last, DataLen: &data}
	}
	f.Add(true, bytes.Join([][]byte{answer, packetOf(head(0, 600, false), 608), packetOf(head(600, 0, true), 0)}, nil))
	f.Add(true, append(answer, packetOf(head(0, -5, false), 608)...))
	f.Add(true, append(answer, packetOf(head(0, 1<<30, true), 1)...))
	f.Add(true, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(false, append(delimited(&wire.BlockOpResponse{Status: wire.Status_SUCCESS.Enum()}), delimited(&wire.PipelineAck{Seqno: proto.Int64(1), Reply: []wire.Status{wire.Status_SUCCESS}})...))
	f.Add(false, delimited(&wire.BlockOpResponse{Status: wire.Status_ERROR.Enum(), FirstBadLink: proto.String("1.2.3.4:5")}))
	f.Fuzz(func(t *testing.T, read bool, text []byte) {
		s := &session{conns: make(map[*dataConn]bool)}
		c := &dataConn{Conn: scripted{text: bytes.NewReader(text)}, s: s, timeout: time.Second, phase: opAnswer, op: opWriteBlock}
		if read {
			c.op = opReadBlock
		}
		c.in = bufio.NewReader(readTimeout{c})
		n, err := io.Copy(io.Discard, c)
		if n > int64(len(text))+8 {
			t.Fatalf("%d bytes of %d, %v", n, len(text), err)
		}
	})
}

func TestAddressesOfTheClient(t *testing.T) {
	now := time.Now()
	for host, want := range map[string]string{"10.0.0.1": "10.0.0.1:9866", "node1": "node1:9866", "fe80::1": "[fe80::1]:9866"} {
		if got := plainAddress(marked(host, now) + ":9866"); got != want {
			t.Errorf("%s: %s", host, got)
		}
		if marked(host, now) == marked(host, now.Add(time.Minute)) {
			t.Errorf("%s is remembered for ever", host)
		}
	}
}

// Blocks of a file come from the NameNode: whatever it says, what we make of it is in order and inside the file.
func FuzzBlocks(f *testing.F) {
	add := func(length uint64, blocks ...uint64) {
		l := &wire.LocatedBlocks{FileLength: &length, UnderConstruction: proto.Bool(false), IsLastBlockComplete: proto.Bool(true)}
		offset := uint64(0)
		for _, n := range blocks {
			l.Blocks = append(l.Blocks, &wire.LocatedBlock{Offset: proto.Uint64(offset), Corrupt: proto.Bool(false), BlockToken: &rpcwire.TokenProto{},
				B: &wire.ExtendedBlock{PoolId: proto.String("p"), BlockId: proto.Uint64(1), GenerationStamp: proto.Uint64(1), NumBytes: proto.Uint64(n)}})
			offset += n
		}
		text, _ := proto.MarshalOptions{AllowPartial: true}.Marshal(l)
		f.Add(text)
	}
	add(10, 5, 5)
	add(10, 5, 1<<63, 1<<63)
	add(1<<63, 5)
	f.Fuzz(func(t *testing.T, text []byte) {
		l := &wire.LocatedBlocks{}
		if (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(text, l) != nil || checkBlocks(l) != nil {
			return
		}
		end := int64(0)
		for _, b := range blocksOf(l) {
			if b.Offset < end || b.Length <= 0 || b.Offset+b.Length > int64(l.GetFileLength()) {
				t.Fatalf("%+v after %d of %d", b, end, l.GetFileLength())
			}
			end = b.Offset + b.Length
		}
	})
}
