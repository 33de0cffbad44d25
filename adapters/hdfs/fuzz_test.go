package hdfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

func FuzzResponse(f *testing.F) {
	id := uint32(7)
	ok := &wire.RpcResponseHeader{CallId: &id, Status: wire.RpcResponseHeader_SUCCESS.Enum()}
	f.Add(appendPacket(nil, ok, &wire.GetFileInfoResponse{}))
	f.Add(appendPacket(nil, &wire.RpcResponseHeader{CallId: &id, Status: wire.RpcResponseHeader_ERROR.Enum(), ExceptionClass: proto.String("a.b"), ErrorMessage: proto.String("x\ny")}))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{3, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		header, body, err := readResponse(bytes.NewReader(text))
		if err == nil && (header == nil || len(body) > len(text)) {
			t.Fatalf("%v, %d bytes of body from %d", header, len(body), len(text))
		}
	})
}

// A false length must not make us take the memory that it asks for.
func TestFalseLengthTakesNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	packet := binary.BigEndian.AppendUint32(nil, maxResponse)
	if _, _, err := readResponse(bytes.NewReader(append(packet, "short"...))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("took %d bytes", n)
	}
}

func FuzzPacketHead(f *testing.F) {
	head := make([]byte, packetLengths+packetHeader)
	putPacketHead(head, 512, 3, false, 4, 100)
	f.Add(head)
	putPacketHead(head, 1<<40, 9, true, 0, 0)
	f.Add(head)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, text []byte) {
		sum := checksum{castagnoli, 512}
		h, err := readPacketHead(bytes.NewReader(text), sum, make([]byte, maxPacketHeader))
		if err == nil && (h.data < 0 || h.data > maxPacketData || h.sums != sum.size(h.data)) {
			t.Fatalf("%+v", h)
		}
	})
}

func FuzzDelimited(f *testing.F) {
	f.Add(appendDelimited(nil, &wire.BlockOpResponse{Status: wire.Status_SUCCESS.Enum()}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, text []byte) {
		readDelimited(bufio.NewReader(bytes.NewReader(text)), &wire.BlockOpResponse{})
		readDelimited(bufio.NewReader(bytes.NewReader(text)), &wire.PipelineAck{})
	})
}

// Blocks of a file come from the NameNode: whatever it says, what we make of it is in order and inside the file.
func FuzzBlocks(f *testing.F) {
	add := func(length uint64, blocks ...uint64) {
		l := &wire.LocatedBlocks{FileLength: &length, UnderConstruction: proto.Bool(false), IsLastBlockComplete: proto.Bool(true)}
		offset := uint64(0)
		for _, n := range blocks {
			l.Blocks = append(l.Blocks, &wire.LocatedBlock{Offset: proto.Uint64(offset), Corrupt: proto.Bool(false), BlockToken: &wire.Token{},
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
