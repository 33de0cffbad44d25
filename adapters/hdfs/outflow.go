package hdfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

const (
	packetData     = 512 << 10        // bytes of data in a packet: less costs the DataNode more, and more is no faster (measured)
	packetHeader   = 25               // bytes of the header as we write it: every field has a fixed length
	clientQueue    = 5                // packets that the client has under way at most
	heartbeatEvery = 30 * time.Second // that the client sends one, so an answer comes at least that often
	heartbeat      = -1               // seqno of a packet that only says that we live
)

// outflow is the way of one block's packets to a DataNode. The client's packets hold 64 KiB, and it stops after five that
// were not acknowledged, which leaves a DataNode idle for most of the time (measured: a third of the throughput). So their
// bytes and checksums leave in larger packets, and the client is answered at once for all but the last packet of the
// block: that answer comes when the DataNodes have acknowledged the whole block.
type outflow struct {
	c      *dataConn
	offset int64 // in the block, of the next packet
	seqno  int64 // of the next packet
	sums   []byte
	buf    []byte // room for head and checksums, then data, so that a packet leaves in one piece

	early chan int64    // seqnos of the client's packets to be answered
	final atomic.Int64  // that of its last packet, once it is known; before that heartbeat
	last  atomic.Int64  // seqno of our last packet, likewise
	done  chan struct{} // closed by the reader of acks at its end
	whole bool          // all was acknowledged; valid after done
}

const room = packetLengths + packetHeader + packetData/chunkData*4

func newOutflow(c *dataConn) *outflow {
	o := &outflow{c: c, early: make(chan int64, 2*clientQueue), done: make(chan struct{}), buf: make([]byte, room)}
	o.final.Store(heartbeat)
	o.last.Store(heartbeat)
	go o.readAcks()
	return o
}

// packet takes a packet of the client.
func (o *outflow) packet(p []byte) error {
	var h wire.PacketHeader
	head := packetLengths
	if len(p) >= packetLengths {
		head += int(binary.BigEndian.Uint16(p[4:]))
	}
	if len(p) < head || proto.Unmarshal(p[packetLengths:head], &h) != nil || int(h.GetDataLen()) > len(p)-head {
		return errors.New("a packet of the HDFS client does not parse")
	}
	if h.GetSeqno() == heartbeat {
		return o.c.send(p)
	}
	data := p[len(p)-int(h.GetDataLen()):]
	if have := len(o.buf) - room; have+len(data) > packetData || have%chunkData != 0 {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if len(data) > packetData {
		return errors.New("a packet of the HDFS client is too large")
	}
	o.sums, o.buf = append(o.sums, p[head:len(p)-len(data)]...), append(o.buf, data...)
	if h.GetLastPacketInBlock() {
		if err := o.flush(); err != nil {
			return err
		}
		o.last.Store(o.seqno)
		o.final.Store(h.GetSeqno())
		if err := o.send(true); err != nil {
			return err
		}
	}
	o.early <- h.GetSeqno()
	return nil
}

// flush sends what was gathered.
func (o *outflow) flush() error {
	if len(o.buf) == room {
		return nil
	}
	return o.send(false)
}

func (o *outflow) send(last bool) error {
	data := len(o.buf) - room
	start := room - len(o.sums) - packetLengths - packetHeader
	if start < 0 {
		return errors.New("the HDFS client sends too many checksums")
	}
	appendPacketHead(o.buf[start:start], o.offset, o.seqno, last, len(o.sums), data)
	copy(o.buf[room-len(o.sums):], o.sums)
	err := o.c.send(o.buf[start:])
	o.seqno++
	o.offset += int64(data)
	o.sums, o.buf = o.sums[:0], o.buf[:room]
	return err
}

// appendPacketHead appends lengths and header: int32 length of (itself, checksums, data), int16 length of the header.
func appendPacketHead(b []byte, offset, seqno int64, last bool, sums, data int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(4+sums+data))
	b = binary.BigEndian.AppendUint16(b, packetHeader)
	b = binary.LittleEndian.AppendUint64(append(b, 1<<3|1), uint64(offset)) // offset_in_block, 64 bits
	b = binary.LittleEndian.AppendUint64(append(b, 2<<3|1), uint64(seqno))  // seqno, 64 bits
	b = append(b, 3<<3, 0)                                                  // last_packet_in_block
	if last {
		b[len(b)-1] = 1
	}
	return binary.LittleEndian.AppendUint32(append(b, 4<<3|5), uint32(data)) // data_len, 32 bits
}

// ack makes the answer to the client's next packet pending.
func (o *outflow) ack(c *dataConn) error {
	var seqno int64
	select {
	case seqno = <-o.early:
	case <-o.done:
		if !o.whole {
			return io.ErrUnexpectedEOF
		}
		seqno = <-o.early // the answer came before we had noted the packet
	}
	if seqno == o.final.Load() {
		if <-o.done; !o.whole {
			return io.ErrUnexpectedEOF
		}
	}
	c.s.mu.Lock()
	failure := c.failure
	c.s.mu.Unlock()
	if failure != nil {
		return failure
	}
	text, err := proto.Marshal(&wire.PipelineAck{Seqno: &seqno, Reply: []wire.Status{wire.Status_SUCCESS}})
	c.pending = protowire.AppendBytes(nil, text)
	return err
}

// readAcks reads until the ack of the last packet, or a failure. It ends when the connection is closed, at the latest.
func (o *outflow) readAcks() {
	defer close(o.done)
	for next := int64(0); ; {
		var ack wire.PipelineAck
		if _, err := readDelimited(o.c.in, &ack); err != nil {
			o.c.lost(err)
			return
		}
		for i, reply := range ack.GetReply() {
			if reply != wire.Status_SUCCESS && reply != wire.Status_IN_PROGRESS {
				o.c.lost(fmt.Errorf("DataNode %d of the pipeline answered %v", i+1, reply))
				return
			}
		}
		if ack.GetSeqno() == heartbeat {
			continue
		}
		if ack.GetSeqno() != next {
			o.c.lost(fmt.Errorf("ack %d instead of %d", ack.GetSeqno(), next))
			return
		}
		if next == o.last.Load() {
			o.whole = true
			return
		}
		next++
	}
}
