package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"
	"time"

	stock "github.com/colinmarc/hdfs/v2"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

// firstAsk is how much of the next block a sequential reader asks for at first: a reader of a split looks only for the
// end of its last line there, and the rest of the block would be sent for nothing.
const firstAsk = 256 << 10

// Open implements storage.FS.
func (f *fileSystem) Open(ctx context.Context, p string) (storage.File, error) {
	o := &file{fs: f, ctx: ctx, path: p}
	o.main.file, o.aside.file = o, o
	if err := o.open(); err != nil {
		return nil, f.pathError("open", p, err)
	}
	return o, nil
}

// file is an open file of one goroutine.
type file struct {
	fs     *fileSystem
	ctx    context.Context
	path   string
	s      *bound
	blocks []*wire.LocatedBlock
	size   int64
	closed bool

	pos         int64
	main, aside stream // of Read, and of ReadAt
}

// stream is a reader of the client, which reads on from where it is and changes replicas by itself.
type stream struct {
	file *file
	r    *stock.FileReader
	at   int64     // where r is
	want int64     // bytes to ask a DataNode for; it is asked for the rest of the block if they are more
	conn *dataConn // that r uses

	trials trials
}

// trials are the replicas of one block that failed.
type trials struct {
	block     int
	why       map[string]string // by address
	corrupt   bool
	refreshed bool
}

func (f *file) open() error {
	if err := f.locate(); err != nil {
		return err
	}
	var err error
	if f.s, err = f.fs.take(f.ctx); err != nil {
		return err
	}
	f.answerBlocks()
	if f.main.r, err = f.s.client.Open(f.path); err != nil {
		return f.s.settle(err)
	}
	f.size = min(f.size, f.main.r.Stat().Size()) // they differ while the file is being written
	return nil
}

// locate asks for the blocks: the client would not do so before the first read, too late to say that the user may not.
func (f *file) locate() error {
	l, err := f.fs.located(f.ctx, f.path)
	if err != nil {
		return err
	}
	f.blocks, f.size = l.Blocks, int64(l.GetFileLength())
	return nil
}

// answerBlocks has the client's question for the blocks answered by what is known.
func (f *file) answerBlocks() {
	l := &wire.LocatedBlocks{FileLength: proto.Uint64(uint64(f.size)), UnderConstruction: proto.Bool(false), IsLastBlockComplete: proto.Bool(true)}
	for _, b := range f.blocks {
		b = proto.Clone(b).(*wire.LocatedBlock)
		for _, d := range b.Locs {
			host := d.GetId().GetIpAddr()
			if f.fs.c.useHostname || host == "" {
				host = d.GetId().GetHostName()
			}
			host = marked(host, time.Now())
			d.Id.IpAddr, d.Id.HostName = &host, &host
		}
		l.Blocks = append(l.Blocks, b)
	}
	f.s.mu.Lock()
	f.s.located = &wire.GetBlockLocationsResponse{Locations: l}
	f.s.mu.Unlock()
}

func (f *file) err(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return f.fs.pathError(op, f.path, err)
}

// Read implements io.Reader. It returns as soon as bytes have arrived.
func (f *file) Read(p []byte) (int, error) {
	if f.closed {
		return 0, f.err("read", fs.ErrClosed)
	}
	n, err := f.main.read(p, f.pos)
	f.pos += int64(n)
	return n, f.err("read", err)
}

// read reads at pos.
func (t *stream) read(p []byte, pos int64) (int, error) {
	f := t.file
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	if pos >= f.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b := f.find(pos); t.trials.why == nil || t.trials.block != b {
		t.trials = trials{block: b, why: make(map[string]string)}
	}
	for {
		n, err := t.try(p[:min(int64(len(p)), f.size-pos)], pos)
		switch {
		case n > 0:
			return n, nil
		case f.ctx.Err() != nil:
			return 0, f.ctx.Err()
		case err == nil:
			err = io.ErrNoProgress
		}
		if failure := f.s.broken(); failure != nil {
			return 0, failure
		}
		if t.trials.refreshed {
			return 0, f.exhausted(t, pos, err)
		}
		if err := t.refresh(); err != nil {
			return 0, err
		}
	}
}

func (s *session) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// try has the client read once. It tries all replicas.
func (t *stream) try(p []byte, pos int64) (int, error) {
	f := t.file
	f.s.setReading(t)
	defer f.s.setReading(nil)
	if t.r == nil {
		r, err := f.s.client.Open(f.path)
		if err != nil {
			return 0, f.s.reason(err)
		}
		t.r, t.at = r, 0
	}
	end := f.ask(t, len(p), pos)
	if t.at != pos {
		if t.at != 0 {
			t.r.Seek(0, io.SeekStart) // drops the connection; a client that skips ahead takes the end of a range for a failure
		}
		if _, err := t.r.Seek(pos, io.SeekStart); err != nil {
			return 0, err
		}
		t.at = pos
	}
	t.want = end - pos
	n, err := t.r.Read(p)
	t.at += int64(n)
	return n, err
}

func (s *session) setReading(t *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = t
}

// ask returns where a range from pos ends: that of ReadAt with what is wanted, a sequential one with the block, or a
// little way into it if the reader has just crossed a border.
func (f *file) ask(t *stream, want int, pos int64) int64 {
	b := f.blocks[f.find(pos)]
	start := int64(b.GetOffset())
	end := min(start+int64(b.GetB().GetNumBytes()), f.size)
	switch {
	case t == &f.aside:
		end = min(end, pos+int64(want))
	case t.at == pos && pos == start && pos > 0:
		end = min(end, pos+int64(max(firstAsk, want)))
	}
	return end
}

// find returns the index of the block that holds the byte at pos, which is below size.
func (f *file) find(pos int64) int {
	return sort.Search(len(f.blocks), func(i int) bool { return int64(f.blocks[i].GetOffset()) > pos }) - 1
}

// leave closes what the client has forgotten when it turns to another DataNode.
func (t *stream) leave() {
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
}

// corrupt tells the NameNode that the data at addr are wrong, so that it makes a new replica from a good one. Its answer
// does not matter here.
func (t *stream) corrupt(addr string) {
	f := t.file
	t.trials.corrupt = true
	b := f.blocks[t.trials.block]
	for i, d := range b.Locs {
		if plainAddress(f.fs.c.address(d.GetId())) != addr {
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

func (t *stream) failed(addr string, err error) {
	if f := t.file; f.ctx.Err() == nil {
		f.fs.c.log.Warn("a DataNode does not serve a block: another way is tried", zap.String("path", f.path), zap.String("datanode", addr), zap.Error(err))
	}
	t.trials.why[addr] = brief(err)
	if errors.Is(err, errChecksum) {
		t.corrupt(addr)
	}
}

// refresh asks the NameNode again, once for each block: replicas move, and those that failed by a broken connection get a
// second chance.
func (t *stream) refresh() error {
	f := t.file
	t.trials.refreshed = true
	old, size := f.blocks, f.size
	if err := f.locate(); err != nil {
		return err
	}
	i := t.trials.block
	if len(f.blocks) <= i || f.blocks[i].GetB().GetBlockId() != old[i].GetB().GetBlockId() {
		return errors.New("the file was replaced while it was read")
	}
	f.size = min(f.size, size)
	f.answerBlocks()
	t.r.Close()
	t.r, t.conn = nil, nil
	return nil
}

// exhausted says what was tried.
func (f *file) exhausted(t *stream, pos int64, last error) error {
	b := f.blocks[t.trials.block]
	var tried []string
	for _, d := range b.Locs {
		addr := plainAddress(f.fs.c.address(d.GetId()))
		why := t.trials.why[addr]
		if why == "" {
			why = brief(last)
		}
		tried = append(tried, fmt.Sprintf("%s (%s): %s", d.GetId().GetHostName(), addr, why))
	}
	what := fmt.Sprintf("block %d at offset %d cannot be read at %d", b.GetB().GetBlockId(), b.GetOffset(), pos)
	if len(tried) == 0 {
		what += ": no live DataNode holds it; start the DataNodes, or restore the file"
	} else {
		what += "; replicas tried: " + strings.Join(tried, ", ")
	}
	if t.trials.corrupt || b.GetCorrupt() {
		return &kinded{fmt.Sprintf("%v: %s", storage.ErrCorrupt, what), storage.ErrCorrupt}
	}
	return errors.New(what)
}

// ReadAt implements io.ReaderAt. It does not move the position of Read, and asks DataNodes for the range only.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if f.closed {
		return 0, f.err("read", fs.ErrClosed)
	}
	if off < 0 {
		return 0, f.err("read", fs.ErrInvalid)
	}
	total := 0
	for total < len(p) {
		n, err := f.aside.read(p[total:], off+int64(total))
		total += n
		if err != nil {
			return total, f.err("read", err)
		}
	}
	if t := &f.aside; t.r != nil && t.at != 0 {
		t.r.Seek(0, io.SeekStart) // a range was read: its connection is of no more use
		t.at = 0
	}
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
	f.pos = offset
	return offset, nil
}

// Close implements io.Closer.
func (f *file) Close() error {
	if f.closed {
		return f.err("close", fs.ErrClosed)
	}
	f.closed = true
	for _, t := range []*stream{&f.main, &f.aside} {
		if t.r != nil {
			t.r.Close()
		}
	}
	f.s.settle(nil)
	return nil
}
