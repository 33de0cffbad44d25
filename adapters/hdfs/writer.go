package hdfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

const (
	packetData   = 512 << 10        // bytes of data in a packet: less costs the DataNode more, and more is no faster (measured)
	firstPacket  = 32 << 10         // of the first packet, so that a small file takes little memory
	packetsAhead = 4                // filled packets that wait for the network
	leaseTime    = 20 * time.Second // the NameNode lets others take a file over after a minute without renewal
	liveTime     = 10 * time.Second // after which an idle pipeline gets a heartbeat; DataNodes give up after a minute
	maxSetups    = 6                // DataNodes tried for one block

	flagCreate    = 1
	flagOverwrite = 2
)

// Create implements storage.FS. The context governs the writer until Close; if it ends before, the file stays
// incomplete.
func (f *fileSystem) Create(ctx context.Context, p string, o storage.CreateOptions) (io.WriteCloser, error) {
	w, err := f.create(ctx, p, o)
	if err != nil {
		return nil, f.pathError("create", p, err)
	}
	return w, nil
}

func (f *fileSystem) create(ctx context.Context, p string, o storage.CreateOptions) (*writer, error) {
	p, err := checkPath(ctx, p)
	if err != nil {
		return nil, err
	}
	defaults, err := f.serverDefaults(ctx)
	if err != nil {
		return nil, err
	}
	sum, err := newChecksum(&wire.Checksum{Type: defaults.ChecksumType, BytesPerChecksum: defaults.BytesPerChecksum})
	if err != nil {
		return nil, fmt.Errorf("server defaults: %w", err)
	}
	blockSize := firstOf(o.BlockSize, f.c.blockSize, int64(defaults.GetBlockSize()))
	if blockSize <= 0 || blockSize%int64(sum.chunk) != 0 {
		return nil, fmt.Errorf("block size %d is not a multiple of the %d bytes under a checksum", blockSize, sum.chunk)
	}
	flag := uint32(flagCreate)
	if o.Overwrite {
		flag |= flagOverwrite
	}
	perm := o.Perm
	if perm == 0 {
		perm = 0o644
	}
	answer := &wire.CreateResponse{}
	err = f.nn.call(ctx, "create", &wire.CreateRequest{
		Src: &p, Masked: permission(perm), ClientName: &f.client, CreateFlag: &flag, CreateParent: proto.Bool(true),
		Replication: proto.Uint32(uint32(firstOf(int64(o.Replication), int64(f.c.replication), int64(defaults.GetReplication())))),
		BlockSize:   proto.Uint64(uint64(blockSize))}, answer)
	if err != nil {
		return nil, err
	}
	if s := answer.GetFs(); s.GetEncryption() != nil || s.GetEcPolicy() != nil {
		f.nn.call(ctx, "delete", &wire.DeleteRequest{Src: &p, Recursive: proto.Bool(false)}, &wire.DeleteResponse{})
		return nil, unsupported("the folder makes encrypted or erasure-coded files")
	}
	w := &writer{fs: f, ctx: ctx, path: p, fileID: answer.GetFs().GetFileId(), blockSize: blockSize, sum: sum, packetSize: sum.whole(firstPacket),
		queue: make(chan *outPacket, packetsAhead), free: make(chan *outPacket, packetsAhead+2), done: make(chan struct{})}
	go w.stream()
	return w, nil
}

// whole returns about n bytes in whole chunks.
func (c checksum) whole(n int) int { return max(n/c.chunk, 1) * c.chunk }

// firstOf returns the first number that is not zero.
func firstOf(values ...int64) int64 {
	for _, v := range values {
		if v != 0 {
			return v
		}
	}
	return 0
}

// writer fills packets and hands them to its streamer, which owns the connection. Both end with Close or the context.
type writer struct {
	fs         *fileSystem
	ctx        context.Context
	path       string
	fileID     uint64
	blockSize  int64
	sum        checksum
	packetSize int // of the next packet to be made

	current *outPacket // being filled
	inBlock int64      // bytes of the block handed over, without current
	closed  bool

	queue chan *outPacket
	free  chan *outPacket
	done  chan struct{} // closed when the streamer has ended
	last  *wire.ExtendedBlock
	err   error // of the streamer; valid after done
}

// outPacket has room for head and checksums before its data, so that it leaves in one piece.
type outPacket struct {
	buf  []byte
	data int // where the data begins
	size int // room for data
	n    int // bytes of data
	end  bool
}

func (w *writer) take() *outPacket {
	select {
	case p := <-w.free:
		p.n, p.end = 0, false
		return p
	default:
	}
	size := w.packetSize
	w.packetSize = w.sum.whole(packetData)
	room := packetLengths + packetHeader + w.sum.size(size)
	return &outPacket{buf: make([]byte, room+size), data: room, size: size}
}

// Write implements io.Writer. Errors may be of earlier bytes; after one the file is lost.
func (w *writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, w.fs.pathError("write", w.path, fs.ErrClosed)
	}
	total := len(p)
	for len(p) > 0 {
		if w.current == nil {
			w.current = w.take()
		}
		room := int(min(int64(w.current.size), w.blockSize-w.inBlock)) - w.current.n
		n := copy(w.current.buf[w.current.data+w.current.n:][:room], p)
		w.current.n += n
		p = p[n:]
		if n == room {
			if err := w.hand(); err != nil {
				return total - len(p), w.fs.pathError("write", w.path, err)
			}
		}
	}
	return total, nil
}

// hand gives the current packet to the streamer.
func (w *writer) hand() error {
	w.inBlock += int64(w.current.n)
	if w.inBlock == w.blockSize {
		w.current.end, w.inBlock = true, 0
	}
	select {
	case w.queue <- w.current:
		w.current = nil
		return nil
	case <-w.done:
		return w.err
	}
}

// Close implements io.Closer: all bytes are with the DataNodes, and the file is complete, when it returns nil.
func (w *writer) Close() error {
	if w.closed {
		return w.fs.pathError("close", w.path, fs.ErrClosed)
	}
	w.closed = true
	if w.current != nil && w.current.n > 0 {
		w.hand() // if it fails, the streamer has the reason
	}
	close(w.queue)
	<-w.done
	err := w.err
	if err == nil {
		err = w.complete()
	}
	return w.fs.pathError("close", w.path, err)
}

// complete asks until the NameNode has heard of the last block from a DataNode.
func (w *writer) complete() error {
	wait := 2 * time.Millisecond
	deadline := time.Now().Add(w.fs.c.timeout)
	for {
		answer := &wire.CompleteResponse{}
		request := &wire.CompleteRequest{Src: &w.path, ClientName: &w.fs.client, Last: w.last, FileId: &w.fileID}
		if err := w.fs.nn.call(w.ctx, "complete", request, answer); err != nil {
			return err
		}
		if answer.GetResult() {
			return nil
		}
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("no DataNode has confirmed the last block within %v", w.fs.c.timeout)
		}
		if err := pause(w.ctx, &wait); err != nil {
			return err
		}
	}
}

// pause waits, and doubles the wait up to a second.
func pause(ctx context.Context, wait *time.Duration) error {
	timer := time.NewTimer(*wait)
	defer timer.Stop()
	*wait = min(2**wait, time.Second)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream sends packets until the queue is closed, the context ends or something fails.
func (w *writer) stream() {
	defer close(w.done)
	var p *pipeline
	defer func() {
		if p != nil {
			p.conn.Close()
			<-p.acked
		}
	}()
	tick := time.NewTicker(liveTime)
	defer tick.Stop()
	for {
		select {
		case <-w.ctx.Done():
			w.err = w.ctx.Err()
			return
		case <-tick.C:
			if w.err = w.keepAlive(p); w.err != nil {
				return
			}
		case packet, ok := <-w.queue:
			switch {
			case ok:
				p, w.err = w.send(p, packet)
			case p != nil:
				p, w.err = nil, w.finish(p)
			}
			if !ok || w.err != nil {
				return
			}
		}
	}
}

// send sends a packet, opening a block if there is none and finishing it if the packet fills it.
func (w *writer) send(p *pipeline, packet *outPacket) (*pipeline, error) {
	if p == nil {
		var err error
		if p, err = w.openPipeline(); err != nil {
			return nil, err
		}
	}
	if err := p.send(packet); err != nil {
		return p, err
	}
	end := packet.end
	if packet.size > firstPacket { // the first, small one is not used again
		select {
		case w.free <- packet:
		default:
		}
	}
	if !end {
		return p, nil
	}
	return nil, w.finish(p)
}

// finish ends the block of p.
func (w *writer) finish(p *pipeline) error {
	if err := p.finish(w.ctx); err != nil {
		return err
	}
	w.last = p.block
	return nil
}

// keepAlive renews the lease, and sends a heartbeat down an open pipeline.
func (w *writer) keepAlive(p *pipeline) error {
	if err := w.fs.renewLease(w.ctx); err != nil {
		return err
	}
	if p == nil {
		return nil
	}
	return p.heartbeat()
}

// renewLease renews for all writers of the file system at once.
func (f *fileSystem) renewLease(ctx context.Context) error {
	f.mu.Lock()
	due := time.Since(f.renewed) >= leaseTime
	if due {
		f.renewed = time.Now()
	}
	f.mu.Unlock()
	if !due {
		return nil
	}
	return f.nn.call(ctx, "renewLease", &wire.RenewLeaseRequest{ClientName: &f.client}, &wire.RenewLeaseResponse{})
}
