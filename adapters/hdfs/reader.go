package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sort"
	"strings"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

// firstAsk is how much of the next block a sequential reader asks for at first: a reader of a split looks only for the
// end of its last line there, and the rest of the block would be sent for nothing.
const firstAsk = 256 << 10

// located asks for the blocks of a file and checks that they are whole and readable.
func (f *fileSystem) located(ctx context.Context, p string) (*wire.LocatedBlocks, error) {
	p, err := checkPath(ctx, p)
	if err != nil {
		return nil, err
	}
	answer := &wire.GetBlockLocationsResponse{}
	request := &wire.GetBlockLocationsRequest{Src: &p, Offset: proto.Uint64(0), Length: proto.Uint64(math.MaxInt64)}
	if err := f.nn.call(ctx, "getBlockLocations", request, answer); err != nil {
		return nil, err
	}
	l := answer.Locations
	if l == nil {
		return nil, fs.ErrNotExist
	}
	return l, checkBlocks(l)
}

// checkBlocks refuses files that would be read wrong and lists of blocks that do not join. The last block of a file
// under construction may be missing or longer than the length says.
func checkBlocks(l *wire.LocatedBlocks) error {
	if l.Encryption != nil {
		return unsupported("the file is encrypted (encryption zone)")
	}
	if l.EcPolicy != nil {
		return unsupported("the file is erasure-coded (" + l.EcPolicy.GetName() + ")")
	}
	if l.GetFileLength() > math.MaxInt64 {
		return fmt.Errorf("NameNode says that the file has %d bytes", l.GetFileLength())
	}
	end := uint64(0)
	for _, b := range l.Blocks {
		if b.GetOffset() != end || b.GetB().GetNumBytes() > math.MaxInt64-end {
			return fmt.Errorf("NameNode says that a block starts at %d, after one that ends at %d", b.GetOffset(), end)
		}
		end += b.GetB().GetNumBytes()
	}
	if end < l.GetFileLength() {
		if !l.GetUnderConstruction() {
			return fmt.Errorf("NameNode names blocks of %d bytes for a file of %d", end, l.GetFileLength())
		}
		l.FileLength = &end // what can be read now
	}
	return nil
}

// Blocks implements storage.FS.
func (f *fileSystem) Blocks(ctx context.Context, p string) ([]storage.Block, error) {
	l, err := f.located(ctx, p)
	if err != nil {
		return nil, f.pathError("blocks", p, err)
	}
	return blocksOf(l), nil
}

func blocksOf(l *wire.LocatedBlocks) []storage.Block {
	blocks := make([]storage.Block, 0, len(l.Blocks))
	for _, b := range l.Blocks {
		length := min(b.GetB().GetNumBytes(), l.GetFileLength()-min(b.GetOffset(), l.GetFileLength()))
		if length == 0 {
			continue
		}
		block := storage.Block{Offset: int64(b.GetOffset()), Length: int64(length), Corrupt: b.GetCorrupt(),
			Replicas: make([]storage.Replica, 0, len(b.Locs))}
		for _, d := range b.Locs {
			block.Replicas = append(block.Replicas, storage.Replica{
				Host: strings.ToLower(d.GetId().GetHostName()), Address: d.GetId().GetIpAddr(), Rack: d.GetLocation()})
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// Open implements storage.FS.
func (f *fileSystem) Open(ctx context.Context, p string) (storage.File, error) {
	l, err := f.located(ctx, p)
	if err != nil {
		return nil, f.pathError("open", p, err)
	}
	return &file{fs: f, ctx: ctx, path: p, blocks: l.Blocks, size: int64(l.GetFileLength())}, nil
}

// file is an open file of one goroutine.
type file struct {
	fs     *fileSystem
	ctx    context.Context
	path   string
	blocks []*wire.LocatedBlock
	size   int64
	closed bool

	pos    int64
	stream *blockStream // nil, or positioned at pos
	block  int          // of stream
	addr   string       // of stream
	asked  int64        // where the last stream ended, to see that reading goes on
	trials trials
}

// trials are the replicas of one block that failed.
type trials struct {
	block     int
	failed    map[string]string // address: why
	corrupt   bool
	refreshed bool
}

func (f *file) err(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return f.fs.pathError(op, f.path, err)
}

// Read implements io.Reader. It returns as soon as bytes have arrived; buffers of 256 KiB and more are filled well.
func (f *file) Read(p []byte) (int, error) {
	if f.closed {
		return 0, f.err("read", fs.ErrClosed)
	}
	n, err := f.read(p)
	return n, f.err("read", err)
}

func (f *file) read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if f.pos >= f.size {
			f.drop()
			return 0, io.EOF
		}
		if f.stream == nil {
			if err := f.openAt(f.pos, f.ask(len(p))); err != nil {
				return 0, err
			}
		}
		n, err := f.stream.Read(p)
		f.pos += int64(n)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF:
			f.drop() // on to the next range
		case f.ctx.Err() != nil:
			f.drop()
			return 0, f.ctx.Err()
		default:
			f.failed(f.addr, err)
			f.drop()
		}
	}
}

// ask returns where a sequential stream from pos ends: the end of the block, or a little way into it if the reader has
// just crossed a border.
func (f *file) ask(want int) int64 {
	b := f.blocks[f.find(f.pos)]
	start := int64(b.GetOffset())
	end := min(start+int64(b.GetB().GetNumBytes()), f.size)
	if f.asked == f.pos && f.pos == start && f.pos > 0 {
		end = min(end, f.pos+int64(max(firstAsk, want)))
	}
	return end
}

// find returns the index of the block that holds the byte at pos, which is below size.
func (f *file) find(pos int64) int {
	return sort.Search(len(f.blocks), func(i int) bool { return int64(f.blocks[i].GetOffset()) > pos }) - 1
}

// openAt opens a stream of [pos, end), which lies in one block, on the first replica that answers.
func (f *file) openAt(pos, end int64) error {
	f.block = f.find(pos)
	if f.trials.failed == nil || f.trials.block != f.block {
		f.trials = trials{block: f.block, failed: make(map[string]string)}
	}
	for {
		b := f.blocks[f.block]
		start := int64(b.GetOffset())
		for _, addr := range f.replicas(b) {
			if f.trials.failed[addr] != "" {
				continue
			}
			stream, err := openBlock(f.ctx, f.fs.dn, f.fs.client, addr, b, pos-start, end-start)
			if err == nil {
				f.stream, f.addr, f.asked = stream, addr, end
				return nil
			}
			if f.ctx.Err() != nil {
				return f.ctx.Err()
			}
			f.failed(addr, err)
		}
		if f.trials.refreshed {
			return f.exhausted(b, pos)
		}
		if err := f.refresh(); err != nil {
			return err
		}
	}
}

// replicas returns addresses in the NameNode's order of distance, those that failed lately last.
func (f *file) replicas(b *wire.LocatedBlock) []string {
	addrs := make([]string, 0, len(b.Locs))
	for _, d := range b.Locs {
		addrs = append(addrs, f.fs.dn.address(d.GetId()))
	}
	sort.SliceStable(addrs, func(i, j int) bool { return !f.fs.dn.avoided(addrs[i]) && f.fs.dn.avoided(addrs[j]) })
	return addrs
}

func (f *file) failed(addr string, err error) {
	f.trials.failed[addr] = brief(err)
	if errors.Is(err, errChecksum) {
		f.trials.corrupt = true
		f.reportCorrupt(addr)
	} else {
		f.fs.dn.avoid(addr)
	}
}

// reportCorrupt tells the NameNode, so that it makes a new replica from a good one. Its answer does not matter here.
func (f *file) reportCorrupt(addr string) {
	b := f.blocks[f.block]
	for i, d := range b.Locs {
		if f.fs.dn.address(d.GetId()) != addr {
			continue
		}
		bad := proto.Clone(b).(*wire.LocatedBlock)
		bad.Locs = bad.Locs[i : i+1]
		if i < len(bad.StorageIds) {
			bad.StorageIds = bad.StorageIds[i : i+1]
		}
		if i < len(bad.StorageTypes) {
			bad.StorageTypes = bad.StorageTypes[i : i+1]
		}
		f.fs.nn.call(f.ctx, "reportBadBlocks", &wire.ReportBadBlocksRequest{Blocks: []*wire.LocatedBlock{bad}}, &wire.ReportBadBlocksResponse{})
	}
}

// refresh asks the NameNode again, once for each block: replicas move. Replicas that failed by a broken connection get a
// second chance.
func (f *file) refresh() error {
	f.trials.refreshed = true
	l, err := f.fs.located(f.ctx, f.path)
	if err != nil {
		return err
	}
	if len(l.Blocks) <= f.block || l.Blocks[f.block].GetB().GetBlockId() != f.blocks[f.block].GetB().GetBlockId() {
		return errors.New("the file was replaced while it was read")
	}
	f.blocks[f.block] = l.Blocks[f.block]
	for addr, why := range f.trials.failed {
		if why != errChecksum.Error() {
			delete(f.trials.failed, addr)
		}
	}
	return nil
}

// exhausted says what was tried.
func (f *file) exhausted(b *wire.LocatedBlock, pos int64) error {
	var tried []string
	for _, d := range b.Locs {
		addr := f.fs.dn.address(d.GetId())
		tried = append(tried, fmt.Sprintf("%s (%s): %s", d.GetId().GetHostName(), addr, f.trials.failed[addr]))
	}
	what := fmt.Sprintf("block %d at offset %d cannot be read at %d", b.GetB().GetBlockId(), b.GetOffset(), pos)
	if len(tried) == 0 {
		what += ": no live DataNode holds it; start the DataNodes, or restore the file"
	} else {
		what += "; replicas tried: " + strings.Join(tried, ", ")
	}
	if f.trials.corrupt || b.GetCorrupt() {
		return &kinded{fmt.Sprintf("%v: %s", storage.ErrCorrupt, what), storage.ErrCorrupt}
	}
	return errors.New(what)
}

func (f *file) drop() {
	if f.stream != nil {
		f.stream.Close()
		f.stream = nil
	}
}

// ReadAt implements io.ReaderAt. It does not move the position of Read, and asks DataNodes for the range only.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if f.closed {
		return 0, f.err("read", fs.ErrClosed)
	}
	if off < 0 {
		return 0, f.err("read", fs.ErrInvalid)
	}
	pos, stream, addr, block, asked := f.pos, f.stream, f.addr, f.block, f.asked
	f.stream = nil
	defer func() { f.pos, f.stream, f.addr, f.block, f.asked = pos, stream, addr, block, asked }()
	total := 0
	f.pos = off
	for total < len(p) {
		if f.pos >= f.size {
			return total, io.EOF
		}
		if f.stream == nil {
			b := f.blocks[f.find(f.pos)]
			end := min(f.pos+int64(len(p)-total), int64(b.GetOffset()+b.GetB().GetNumBytes()), f.size)
			if err := f.openAt(f.pos, end); err != nil {
				return total, f.err("read", err)
			}
		}
		n, err := f.read(p[total:])
		total += n
		if err != nil {
			f.drop()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return total, f.err("read", err)
		}
		if f.stream != nil && f.stream.next >= f.stream.end {
			f.drop()
		}
	}
	f.drop()
	return total, nil
}

// Seek implements io.Seeker.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.size
	default:
		return 0, f.err("seek", fs.ErrInvalid)
	}
	if offset < 0 {
		return 0, f.err("seek", fs.ErrInvalid)
	}
	if offset != f.pos {
		f.drop()
		f.asked = -1
	}
	f.pos = offset
	return offset, nil
}

// Close implements io.Closer.
func (f *file) Close() error {
	if f.closed {
		return f.err("close", fs.ErrClosed)
	}
	f.closed = true
	f.drop()
	return nil
}
