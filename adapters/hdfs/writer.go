package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	stock "github.com/colinmarc/hdfs/v2"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

const (
	chunkData   = 512       // bytes under a checksum, which the client has fixed
	bufferData  = 512 << 10 // bytes handed to the client at once: eight of its packets
	firstBuffer = 32 << 10  // of the first buffer, so that a small file takes little memory
	ahead       = 4         // filled buffers that wait for the network
	maxSetups   = 6         // DataNodes tried for one block

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
	s, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{fs: f, ctx: ctx, path: p, s: s, size: firstBuffer,
		queue: make(chan []byte, ahead), free: make(chan []byte, ahead+2), done: make(chan struct{})}
	if err := w.begin(o); err != nil {
		if err = s.settle(err); errors.Is(err, storage.ErrUnsupported) {
			f.Remove(ctx, p)
		}
		return nil, err
	}
	go w.stream()
	return w, nil
}

// begin creates the file.
func (w *writer) begin(o storage.CreateOptions) error {
	defaults, err := w.s.client.ServerDefaults()
	if err != nil {
		return err
	}
	c := w.fs.c
	blockSize := firstOf(o.BlockSize, c.blockSize, defaults.BlockSize)
	if blockSize <= 0 || blockSize%chunkData != 0 {
		return fmt.Errorf("block size %d is not a multiple of the %d bytes under a checksum", blockSize, chunkData)
	}
	perm := o.Perm
	if perm == 0 {
		perm = 0o644
	}
	w.s.replace = o.Overwrite
	replication := int(firstOf(int64(o.Replication), int64(c.replication), int64(defaults.Replication)))
	if w.out, err = w.s.client.CreateFile(w.path, replication, blockSize, bits(perm)); err != nil {
		return err
	}
	info, err := w.s.client.Stat(w.path)
	if err != nil {
		return err
	}
	if status, ok := info.Sys().(*stock.FileStatus); ok && (status.GetFileEncryptionInfo() != nil || status.GetEcPolicy() != nil) {
		return unsupported("the folder makes encrypted or erasure-coded files")
	}
	w.place.w = w
	w.s.mu.Lock()
	w.s.writing, w.s.renewed = &w.place, time.Now()
	w.s.mu.Unlock()
	return nil
}

// firstOf returns the first number that is not zero.
func firstOf(values ...int64) int64 {
	for _, v := range values {
		if v != 0 {
			return v
		}
	}
	return 0
}

// writer fills buffers and hands them to its streamer, which alone uses the client's writer. Both end with Close or the
// context.
type writer struct {
	fs   *fileSystem
	ctx  context.Context
	path string
	s    *bound
	size int // of the next buffer to be made

	current []byte // being filled
	closed  bool

	queue chan []byte
	free  chan []byte
	done  chan struct{} // closed when the streamer has ended
	err   error         // of the streamer; valid after done

	// Of the streamer.
	out   *stock.FileWriter
	place placement
}

func (w *writer) take() []byte {
	select {
	case b := <-w.free:
		return b[:0]
	default:
	}
	b := make([]byte, 0, w.size)
	w.size = bufferData
	return b
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
		n := min(len(p), cap(w.current)-len(w.current))
		w.current = append(w.current, p[:n]...)
		p = p[n:]
		if len(w.current) == cap(w.current) {
			if err := w.hand(); err != nil {
				return total - len(p), w.fs.pathError("write", w.path, err)
			}
		}
	}
	return total, nil
}

// hand gives the current buffer to the streamer.
func (w *writer) hand() error {
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
	if len(w.current) > 0 {
		w.hand() // if it fails, the streamer has the reason
	}
	close(w.queue)
	<-w.done
	return w.fs.pathError("close", w.path, w.err)
}

// stream writes until the queue is closed, the context ends or something fails.
func (w *writer) stream() {
	defer close(w.done)
	err := w.drain()
	if err != nil {
		// The client's goroutines end only when its writer is closed, which must not complete the file.
		w.place.abandoning = true
		w.s.fail(err)
		w.s.end()
		w.out.Close()
	}
	w.err = w.s.settle(err)
}

func (w *writer) drain() error {
	for {
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case b, ok := <-w.queue:
			if !ok {
				return w.complete()
			}
			if err := w.write(b); err != nil {
				return err
			}
			if cap(b) == bufferData {
				select {
				case w.free <- b:
				default:
				}
			}
		}
	}
}

// write hands bytes to the client. When a block finds no DataNode others are asked for.
func (w *writer) write(b []byte) error {
	for len(b) > 0 {
		n, err := w.out.Write(b)
		b = b[n:]
		if lost := w.place.lost(w.s.session); lost != nil {
			return lost
		}
		if err != nil {
			if err := w.place.again(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete ends the file. The client has it asked again while the NameNode has not heard of the last block.
func (w *writer) complete() error {
	wait := 2 * time.Millisecond
	deadline := time.Now().Add(w.fs.c.timeout)
	for {
		err := w.out.Close()
		if err == nil {
			return nil
		}
		if lost := w.place.lost(w.s.session); lost != nil {
			return lost
		}
		if !stock.IsErrReplicating(err) {
			return w.s.why(err)
		}
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("no DataNode has confirmed the last block within %v", w.fs.c.timeout)
		}
		if err := pause(w.ctx, &wait); err != nil {
			return err
		}
	}
}

// why is the exception behind an error of the client, if there is one.
func (s *session) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != nil:
		return s.failure
	case s.remote != nil:
		return s.remote
	}
	var exception stock.Error
	if errors.As(err, &exception) {
		return &hadooprpc.Exception{Class: exception.Exception(), Message: firstLine(exception.Message())}
	}
	return err
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

// placement finds DataNodes for the blocks of a file that is written, by completing what the client and the NameNode say
// to each other: the client itself gives up when the first DataNode of a block does not take it.
type placement struct {
	w          *writer
	block      *wire.LocatedBlock  // the current one
	previous   *wire.ExtendedBlock // the one before
	last       *wire.ExtendedBlock // of the file, once it is to be completed
	fileID     uint64
	excluded   []*wire.DatanodeInfo
	reasons    []string
	abandoning bool // the client closes a writer without there being a file to complete

	// Under the session's lock.
	began   bool  // the DataNode has taken the block
	failure error // of a block that had begun
}

// route carries requests about blocks.
func (p *placement) route(ctx context.Context, method string, request []byte) ([]byte, error) {
	switch {
	case method == "addBlock":
		return p.add(ctx, request)
	case method == "updateBlockForPipeline": // sent at the end of each block; the new stamp would not be used
		return proto.Marshal(&wire.UpdateBlockForPipelineResponse{Block: p.block})
	case p.abandoning:
		return proto.Marshal(&wire.CompleteResponse{Result: proto.Bool(false)})
	}
	return p.complete(ctx, request)
}

// complete asks for the end of the file. The client names the last block only the first time, and then the NameNode does
// not look at it if it has not heard from a DataNode of the block before: unless it is named each time, the file would never
// be complete.
func (p *placement) complete(ctx context.Context, request []byte) ([]byte, error) {
	q := &wire.CompleteRequest{}
	if err := proto.Unmarshal(request, q); err != nil {
		return nil, err
	}
	if q.Last != nil {
		p.last = q.Last
	}
	q.Last = p.last
	answer := &wire.CompleteResponse{}
	if err := p.w.fs.nn.call(ctx, "complete", q, answer); err != nil {
		return nil, err
	}
	return proto.Marshal(answer)
}

// add asks for the next block, again while the NameNode has not heard of the one before from a DataNode.
func (p *placement) add(ctx context.Context, request []byte) ([]byte, error) {
	q := &wire.AddBlockRequest{}
	if err := proto.Unmarshal(request, q); err != nil {
		return nil, err
	}
	if q.Previous != nil {
		p.previous = q.Previous
	}
	q.Previous, q.ExcludeNodes, p.fileID = p.previous, p.excluded, q.GetFileId()
	wait := 5 * time.Millisecond
	deadline := time.Now().Add(p.w.fs.c.timeout)
	for {
		answer := &wire.AddBlockResponse{}
		err := p.w.fs.nn.call(ctx, "addBlock", q, answer)
		var remote *hadooprpc.Exception
		if errors.As(err, &remote) && isClass(remote, "NotReplicatedYetException") && time.Now().Before(deadline) {
			if err := pause(ctx, &wait); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.block = answer.GetBlock(); len(p.block.GetLocs()) == 0 {
			return nil, errors.New("the NameNode gave a block without DataNodes")
		}
		p.w.s.mu.Lock()
		p.began = false
		p.w.s.mu.Unlock()
		return proto.Marshal(answer)
	}
}

// lost tells what became of a block that had begun.
func (p *placement) lost(s *session) error {
	s.mu.Lock()
	failure := p.failure
	s.mu.Unlock()
	if failure == nil {
		return nil
	}
	if err := p.w.ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("block %d was lost while it was written to %s: %s", p.block.GetB().GetBlockId(), p.names(), brief(failure))
}

func (p *placement) names() string {
	var names []string
	for _, d := range p.block.GetLocs() {
		names = append(names, d.GetId().GetHostName())
	}
	return strings.Join(names, ", ")
}

// again gives the current block up, which no bytes were written to, and makes the client ask for another one without the
// DataNode that did not take it.
func (p *placement) again(err error) error {
	s := p.w.s
	if ctxErr := p.w.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	s.mu.Lock()
	began, failure, remote := p.began, s.failure, s.remote
	bad := ""
	for c := range s.conns {
		if c.bad != "" {
			bad = c.bad
		}
		if c.failure != nil {
			err = c.failure
		}
	}
	s.mu.Unlock()
	switch {
	case failure != nil:
		return failure
	case remote != nil && len(p.reasons) > 0:
		return fmt.Errorf("%w; DataNodes tried: %s", p.w.fs.meaning(remote), strings.Join(p.reasons, ", "))
	case remote != nil:
		return remote
	case began || p.block == nil:
		return s.why(err)
	}
	node := p.block.Locs[0]
	for _, d := range p.block.Locs {
		if bad == fmt.Sprintf("%s:%d", d.GetId().GetIpAddr(), d.GetId().GetXferPort()) {
			node = d
		}
	}
	p.reasons = append(p.reasons, fmt.Sprintf("%s: %s", node.GetId().GetHostName(), brief(err)))
	if len(p.reasons) >= maxSetups {
		return fmt.Errorf("no DataNode takes a block: %s", strings.Join(p.reasons, ", "))
	}
	p.excluded = append(p.excluded, node)
	s.closeData()
	p.abandoning = true
	p.w.out.Close() // so that its next write starts a block
	p.abandoning = false
	name := s.client.Name()
	return p.w.fs.nn.call(p.w.ctx, "abandonBlock", &wire.AbandonBlockRequest{B: p.block.GetB(), Src: &p.w.path, Holder: &name, FileId: &p.fileID}, &wire.AbandonBlockResponse{})
}
