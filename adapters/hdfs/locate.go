package hdfs

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

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
