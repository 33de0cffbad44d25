package hdfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

const stageCreate = 6 // a pipeline for a new block

// pipeline writes one block through a chain of DataNodes.
type pipeline struct {
	conn  *dataConn
	block *wire.ExtendedBlock
	nodes []string // host names, for errors
	sum   checksum
	sent  int64 // bytes of data
	seqno int64 // of the next packet

	final  atomic.Int64  // seqno of the last packet, once it is known; before that heartbeat
	acked  chan struct{} // closed by the reader of acks at its end
	ackErr error         // valid after acked
}

// openPipeline gets a block from the NameNode and connects to its first DataNode. DataNodes that cannot be reached are
// left out, and others asked for.
func (w *writer) openPipeline() (*pipeline, error) {
	var excluded []*wire.DatanodeInfo
	var reasons []string
	for {
		b, err := w.addBlock(excluded)
		var remote *remoteError
		if errors.As(err, &remote) && len(reasons) > 0 {
			return nil, fmt.Errorf("%w; DataNodes tried: %s", w.fs.meaning(remote), strings.Join(reasons, ", "))
		}
		if err != nil {
			return nil, err
		}
		if len(b.Locs) == 0 {
			return nil, errors.New("the NameNode gave a block without DataNodes")
		}
		p, bad, err := w.connect(b)
		if err == nil {
			return p, nil
		}
		if w.ctx.Err() != nil {
			return nil, w.ctx.Err()
		}
		reasons = append(reasons, fmt.Sprintf("%s: %s", bad.GetId().GetHostName(), brief(err)))
		if len(reasons) >= maxSetups {
			return nil, fmt.Errorf("no DataNode takes a block: %s", strings.Join(reasons, ", "))
		}
		excluded = append(excluded, bad)
		abandon := &wire.AbandonBlockRequest{B: b.GetB(), Src: &w.path, Holder: &w.fs.client, FileId: &w.fileID}
		if err := w.fs.nn.call(w.ctx, "abandonBlock", abandon, &wire.AbandonBlockResponse{}); err != nil {
			return nil, err
		}
	}
}

// addBlock asks for the next block, again while the NameNode has not heard of the one before from a DataNode.
func (w *writer) addBlock(excluded []*wire.DatanodeInfo) (*wire.LocatedBlock, error) {
	wait := 5 * time.Millisecond
	deadline := time.Now().Add(w.fs.c.timeout)
	for {
		answer := &wire.AddBlockResponse{}
		err := w.fs.nn.call(w.ctx, "addBlock", &wire.AddBlockRequest{
			Src: &w.path, ClientName: &w.fs.client, Previous: w.last, ExcludeNodes: excluded, FileId: &w.fileID}, answer)
		var remote *remoteError
		if err == nil || !errors.As(err, &remote) || !isClass(remote, "NotReplicatedYetException") || time.Now().After(deadline) {
			return answer.GetBlock(), err
		}
		if err := pause(w.ctx, &wait); err != nil {
			return nil, err
		}
	}
}

// connect sets the pipeline up. On failure it names the DataNode to leave out.
func (w *writer) connect(b *wire.LocatedBlock) (*pipeline, *wire.DatanodeInfo, error) {
	first := b.Locs[0]
	conn, _, err := w.fs.dn.dial(w.ctx, w.fs.dn.address(first.GetId()), true)
	if err != nil {
		return nil, first, err
	}
	request := &wire.OpWriteBlock{
		Header: &wire.ClientOperationHeader{
			BaseHeader: &wire.BaseHeader{Block: b.GetB(), Token: b.GetBlockToken()}, ClientName: &w.fs.client},
		Targets: b.Locs[1:], Stage: proto.Uint32(stageCreate), PipelineSize: proto.Uint32(uint32(len(b.Locs))),
		MinBytesRcvd: proto.Uint64(0), MaxBytesRcvd: proto.Uint64(0), LatestGenerationStamp: proto.Uint64(0),
		RequestedChecksum: w.sum.message(), CachingStrategy: &wire.CachingStrategy{},
	}
	if len(b.StorageTypes) == len(b.Locs) {
		request.StorageType, request.TargetStorageTypes = &b.StorageTypes[0], b.StorageTypes[1:]
	}
	if len(b.StorageIds) == len(b.Locs) {
		request.StorageId, request.TargetStorageIds = &b.StorageIds[0], b.StorageIds[1:]
	}
	answer := &wire.BlockOpResponse{}
	if _, err = conn.Write(appendOp(nil, opWriteBlock, request)); err == nil {
		err = readDelimited(conn.in, answer)
	}
	bad := first
	if err == nil && answer.GetStatus() != wire.Status_SUCCESS {
		err = opError(answer)
		if link := answer.GetFirstBadLink(); link != "" {
			for _, d := range b.Locs {
				if link == fmt.Sprintf("%s:%d", d.GetId().GetIpAddr(), d.GetId().GetXferPort()) {
					bad = d
				}
			}
		}
	}
	if err != nil {
		conn.Close()
		return nil, bad, err
	}
	p := &pipeline{conn: conn, block: proto.Clone(b.GetB()).(*wire.ExtendedBlock), sum: w.sum, acked: make(chan struct{})}
	p.final.Store(heartbeat)
	for _, d := range b.Locs {
		p.nodes = append(p.nodes, d.GetId().GetHostName())
	}
	// A heartbeat goes down an idle pipeline every liveTime, so an ack comes at least that often.
	conn.timeout = w.fs.c.timeout + liveTime
	go p.readAcks()
	return p, nil, nil
}

func (c checksum) message() *wire.Checksum {
	kind := wire.ChecksumType_CHECKSUM_NULL
	switch c.table {
	case nil:
	case castagnoli:
		kind = wire.ChecksumType_CHECKSUM_CRC32C
	default:
		kind = wire.ChecksumType_CHECKSUM_CRC32
	}
	return &wire.Checksum{Type: &kind, BytesPerChecksum: proto.Uint32(uint32(c.chunk))}
}

// send sends a packet of data.
func (p *pipeline) send(packet *outPacket) error {
	sums := p.sum.size(packet.n)
	start := packet.data - sums
	p.sum.fill(packet.buf[start:packet.data], packet.buf[packet.data:packet.data+packet.n])
	head := start - packetLengths - packetHeader
	putPacketHead(packet.buf[head:start], p.sent, p.seqno, false, sums, packet.n)
	if err := p.write(packet.buf[head : packet.data+packet.n]); err != nil {
		return err
	}
	p.sent += int64(packet.n)
	p.seqno++
	return nil
}

func (p *pipeline) heartbeat() error {
	var head [packetLengths + packetHeader]byte
	putPacketHead(head[:], 0, heartbeat, false, 0, 0)
	return p.write(head[:])
}

// write prefers the reason in the acks over the broken connection that follows from it.
func (p *pipeline) write(b []byte) error {
	_, err := p.conn.Write(b)
	if err == nil {
		return nil
	}
	p.conn.Close()
	<-p.acked
	if isContext(err) {
		return err
	}
	if p.ackErr != nil {
		return p.ackErr
	}
	return p.failure(err)
}

func (p *pipeline) failure(err error) error {
	return fmt.Errorf("block %d was lost while it was written to %s: %s", p.block.GetBlockId(), strings.Join(p.nodes, ", "), brief(err))
}

// finish sends the empty last packet and waits for its ack.
func (p *pipeline) finish(ctx context.Context) error {
	var head [packetLengths + packetHeader]byte
	putPacketHead(head[:], p.sent, p.seqno, true, 0, 0)
	p.final.Store(p.seqno)
	if err := p.write(head[:]); err != nil {
		return err
	}
	<-p.acked
	p.conn.Close()
	if ctx.Err() != nil && p.ackErr != nil {
		return ctx.Err()
	}
	p.block.NumBytes = proto.Uint64(uint64(p.sent))
	return p.ackErr
}

// readAcks reads until the ack of the last packet, or a failure. It ends when the connection is closed, at the latest.
func (p *pipeline) readAcks() {
	defer close(p.acked)
	next := int64(0)
	for {
		var ack wire.PipelineAck
		if err := readDelimited(p.conn.in, &ack); err != nil {
			p.ackErr = p.failure(err)
			return
		}
		for i, reply := range ack.GetReply() {
			if reply == wire.Status_SUCCESS || reply == wire.Status_IN_PROGRESS {
				continue
			}
			node := "a DataNode"
			if i < len(p.nodes) {
				node = p.nodes[i]
			}
			p.ackErr = p.failure(fmt.Errorf("%s answered %v", node, reply))
			p.conn.conn.Close()
			return
		}
		if ack.GetSeqno() == heartbeat {
			continue
		}
		if ack.GetSeqno() != next {
			p.ackErr = p.failure(fmt.Errorf("ack %d instead of %d", ack.GetSeqno(), next))
			p.conn.conn.Close()
			return
		}
		if next == p.final.Load() {
			return
		}
		next++
	}
}
