package hdfstest

import (
	"path"
	"sort"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	rpcwire "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hdfs/wire"
)

const (
	notFound  = "java.io.FileNotFoundException"
	exists    = "org.apache.hadoop.fs.FileAlreadyExistsException"
	noAccess  = "org.apache.hadoop.security.AccessControlException"
	notFolder = "org.apache.hadoop.fs.ParentNotDirectoryException"
)

type inode struct {
	id        uint64
	dir       bool
	perm      uint32
	owner     string
	changed   time.Time
	blocks    []*block
	blockSize int64
	copies    int
	writing   bool
	encrypted bool
	erasure   bool
	committed uint64 // the last block, by its id, as the client has named it
}

type block struct {
	id       uint64
	length   int64
	replicas []*replica
	done     bool
}

type replica struct {
	node *dataNode
	data []byte
	sums []byte
}

func (n *inode) length() (total int64) {
	for _, b := range n.blocks {
		total += b.length
	}
	return total
}

func (n *inode) status(name string) *wire.FileStatus {
	kind := wire.FileStatus_IS_FILE
	if n.dir {
		kind = wire.FileStatus_IS_DIR
	}
	s := &wire.FileStatus{FileType: &kind, Path: []byte(name), Length: proto.Uint64(uint64(n.length())),
		Permission: &wire.FsPermission{Perm: proto.Uint32(n.perm)}, Owner: proto.String(n.owner), Group: proto.String("supergroup"),
		ModificationTime: proto.Uint64(uint64(n.changed.UnixMilli())), AccessTime: proto.Uint64(0),
		Replication: proto.Uint32(uint32(n.copies)), BlockSize: proto.Uint64(uint64(n.blockSize)), FileId: proto.Uint64(n.id)}
	if n.encrypted {
		s.Encryption = encryption()
	}
	if n.erasure {
		s.EcPolicy = erasureCoding()
	}
	return s
}

func encryption() *wire.FileEncryptionInfo {
	return &wire.FileEncryptionInfo{Suite: proto.Uint32(2), CryptoProtocolVersion: proto.Uint32(2), Key: []byte("k"), Iv: []byte("i"),
		KeyName: proto.String("name"), EzKeyVersionName: proto.String("name@0")}
}

func erasureCoding() *wire.ErasureCodingPolicy {
	return &wire.ErasureCodingPolicy{Name: proto.String("RS-6-3-1024k"), Id: proto.Uint32(1)}
}

func (c *Cluster) getFileInfo(_ string, q *wire.GetFileInfoRequest) (proto.Message, *hadooprpc.Exception) {
	n := c.tree[q.GetSrc()]
	if n == nil {
		return &wire.GetFileInfoResponse{}, nil
	}
	return &wire.GetFileInfoResponse{Fs: n.status("")}, nil
}

func (c *Cluster) getListing(user string, q *wire.GetListingRequest) (proto.Message, *hadooprpc.Exception) {
	n := c.tree[q.GetSrc()]
	if n == nil {
		return &wire.GetListingResponse{}, nil
	}
	if thrown := n.check(user, q.GetSrc(), 4, "READ_EXECUTE"); thrown != nil {
		return nil, thrown
	}
	list := &wire.DirectoryListing{RemainingEntries: proto.Uint32(0)}
	if !n.dir {
		list.PartialListing = append(list.PartialListing, n.status(""))
		return &wire.GetListingResponse{DirList: list}, nil
	}
	var names []string
	for p := range c.tree {
		if p != "/" && path.Dir(p) == q.GetSrc() && path.Base(p) > string(q.GetStartAfter()) {
			names = append(names, path.Base(p))
		}
	}
	sort.Strings(names)
	if extra := len(names) - c.o.PageSize; extra > 0 {
		names, list.RemainingEntries = names[:c.o.PageSize], proto.Uint32(uint32(extra))
	}
	for _, name := range names {
		list.PartialListing = append(list.PartialListing, c.tree[path.Join(q.GetSrc(), name)].status(name))
	}
	return &wire.GetListingResponse{DirList: list}, nil
}

func (n *inode) check(user, p string, bit uint32, access string) *hadooprpc.Exception {
	if user == "root" || n.perm&bit != 0 || user == n.owner && n.perm&(bit<<6) != 0 {
		return nil
	}
	return hadooprpc.Errorf(noAccess, "Permission denied: user=%s, access=%s, inode=%q:%s:supergroup:%o", user, access, p, n.owner, n.perm)
}

func (c *Cluster) getBlockLocations(user string, q *wire.GetBlockLocationsRequest) (proto.Message, *hadooprpc.Exception) {
	n := c.tree[q.GetSrc()]
	if n == nil {
		return nil, hadooprpc.Errorf(notFound, "File does not exist: %s", q.GetSrc())
	}
	if n.dir {
		return nil, hadooprpc.Errorf(notFound, "Path is not a file: %s", q.GetSrc())
	}
	if thrown := n.check(user, q.GetSrc(), 4, "READ"); thrown != nil {
		return nil, thrown
	}
	l := &wire.LocatedBlocks{FileLength: proto.Uint64(uint64(n.length())), UnderConstruction: &n.writing, IsLastBlockComplete: proto.Bool(!n.writing)}
	if n.encrypted {
		l.Encryption = encryption()
	}
	if n.erasure {
		l.EcPolicy = erasureCoding()
	}
	offset := int64(0)
	for _, b := range n.blocks {
		l.Blocks = append(l.Blocks, b.located(offset))
		offset += b.length
	}
	return &wire.GetBlockLocationsResponse{Locations: l}, nil
}

func (b *block) extended() *wire.ExtendedBlock {
	return &wire.ExtendedBlock{PoolId: proto.String("BP-1"), BlockId: &b.id, GenerationStamp: proto.Uint64(1001), NumBytes: proto.Uint64(uint64(b.length))}
}

func (b *block) located(offset int64) *wire.LocatedBlock {
	l := &wire.LocatedBlock{B: b.extended(), Offset: proto.Uint64(uint64(offset)), Corrupt: proto.Bool(false),
		BlockToken: &rpcwire.TokenProto{Identifier: []byte{}, Password: []byte{}, Kind: proto.String(""), Service: proto.String("")}}
	for _, r := range b.replicas {
		l.Locs = append(l.Locs, r.node.info())
		l.StorageTypes = append(l.StorageTypes, wire.StorageType_DISK)
		l.StorageIds = append(l.StorageIds, "DS-"+r.node.node.Host)
	}
	return l
}

func (c *Cluster) getServerDefaults(string, *wire.GetServerDefaultsRequest) (proto.Message, *hadooprpc.Exception) {
	return &wire.GetServerDefaultsResponse{ServerDefaults: &wire.FsServerDefaults{
		BlockSize: proto.Uint64(uint64(c.o.BlockSize)), BytesPerChecksum: proto.Uint32(512), WritePacketSize: proto.Uint32(65536),
		Replication: proto.Uint32(uint32(c.o.Replication)), FileBufferSize: proto.Uint32(4096), ChecksumType: wire.ChecksumType_CHECKSUM_CRC32C.Enum()}}, nil
}

func (c *Cluster) getDatanodeReport(string, *wire.GetDatanodeReportRequest) (proto.Message, *hadooprpc.Exception) {
	r := &wire.GetDatanodeReportResponse{}
	for _, d := range c.nodes {
		r.Di = append(r.Di, d.info())
	}
	return r, nil
}

// makeFolders makes p and its parents.
func (c *Cluster) makeFolders(user, p string, perm uint32) *hadooprpc.Exception {
	if n := c.tree[p]; n != nil {
		if !n.dir {
			return hadooprpc.Errorf(notFolder, "%s is not a directory", p)
		}
		return nil
	}
	parent := path.Dir(p)
	if thrown := c.makeFolders(user, parent, perm); thrown != nil {
		return thrown
	}
	if thrown := c.tree[parent].check(user, parent, 2, "WRITE"); thrown != nil {
		return thrown
	}
	c.nextInode++
	c.tree[p] = &inode{id: c.nextInode, dir: true, perm: perm, owner: user, changed: time.Now()}
	return nil
}

func (c *Cluster) mkdirs(user string, q *wire.MkdirsRequest) (proto.Message, *hadooprpc.Exception) {
	if n := c.tree[q.GetSrc()]; n != nil && !n.dir {
		return nil, hadooprpc.Errorf(exists, "Path is not a directory: %s", q.GetSrc())
	}
	return &wire.MkdirsResponse{Result: proto.Bool(true)}, c.makeFolders(user, q.GetSrc(), q.GetMasked().GetPerm())
}

func (c *Cluster) create(user string, q *wire.CreateRequest) (proto.Message, *hadooprpc.Exception) {
	p := q.GetSrc()
	if n := c.tree[p]; n != nil && (n.dir || q.GetCreateFlag()&2 == 0) {
		return nil, hadooprpc.Errorf(exists, "%s for client 127.0.0.1 already exists", p)
	}
	if thrown := c.makeFolders(user, path.Dir(p), 0o755); thrown != nil {
		return nil, thrown
	}
	if thrown := c.tree[path.Dir(p)].check(user, path.Dir(p), 2, "WRITE"); thrown != nil {
		return nil, thrown
	}
	c.nextInode++
	n := &inode{id: c.nextInode, perm: q.GetMasked().GetPerm(), owner: user, changed: time.Now(), writing: true,
		blockSize: int64(q.GetBlockSize()), copies: int(q.GetReplication())}
	parent := c.tree[path.Dir(p)]
	n.encrypted, n.erasure = parent.encrypted, parent.erasure
	c.tree[p] = n
	return &wire.CreateResponse{Fs: n.status(path.Base(p))}, nil
}

func (c *Cluster) addBlock(_ string, q *wire.AddBlockRequest) (proto.Message, *hadooprpc.Exception) {
	n := c.tree[q.GetSrc()]
	if n == nil || !n.writing || n.id != q.GetFileId() && q.GetFileId() != 0 {
		return nil, hadooprpc.Errorf(notFound, "File does not exist: %s (inode %d)", q.GetSrc(), q.GetFileId())
	}
	if i := len(n.blocks) - 1; i >= 0 && !n.blocks[i].done && (i == 0 && q.Previous == nil || i > 0 && n.blocks[i-1].id == q.GetPrevious().GetBlockId()) {
		b := n.blocks[i] // the call is repeated
		return &wire.AddBlockResponse{Block: b.located(n.length())}, nil
	}
	b := &block{id: c.nextBlock}
	c.nextBlock++
	for i := 0; i < len(c.nodes) && len(b.replicas) < n.copies; i++ {
		d := c.nodes[(c.turn+i)%len(c.nodes)]
		excluded := false
		for _, e := range q.GetExcludeNodes() {
			excluded = excluded || e.GetId().GetDatanodeUuid() == d.node.Host
		}
		if !excluded {
			b.replicas = append(b.replicas, &replica{node: d})
		}
	}
	c.turn++
	if len(b.replicas) == 0 {
		return nil, hadooprpc.Errorf(hadooprpc.IOException, "File %s could only be written to 0 of the 1 minReplication nodes. There are %d datanode(s) running and %d node(s) are excluded in this operation.",
			q.GetSrc(), len(c.nodes), len(q.GetExcludeNodes()))
	}
	c.blocks[b.id] = b
	n.blocks = append(n.blocks, b)
	return &wire.AddBlockResponse{Block: b.located(n.length())}, nil
}

func (c *Cluster) abandonBlock(_ string, q *wire.AbandonBlockRequest) (proto.Message, *hadooprpc.Exception) {
	if n := c.tree[q.GetSrc()]; n != nil {
		for i, b := range n.blocks {
			if b.id == q.GetB().GetBlockId() {
				n.blocks = append(n.blocks[:i], n.blocks[i+1:]...)
				break
			}
		}
	}
	return &wire.AbandonBlockResponse{}, nil
}

func (c *Cluster) updateBlockForPipeline(_ string, q *wire.UpdateBlockForPipelineRequest) (proto.Message, *hadooprpc.Exception) {
	b := c.blocks[q.GetBlock().GetBlockId()]
	if b == nil {
		return nil, hadooprpc.Errorf(hadooprpc.IOException, "no block %d", q.GetBlock().GetBlockId())
	}
	return &wire.UpdateBlockForPipelineResponse{Block: b.located(0)}, nil
}

func (c *Cluster) complete(_ string, q *wire.CompleteRequest) (proto.Message, *hadooprpc.Exception) {
	n := c.tree[q.GetSrc()]
	if n == nil {
		return nil, hadooprpc.Errorf(notFound, "File does not exist: %s", q.GetSrc())
	}
	no := &wire.CompleteResponse{Result: proto.Bool(false)}
	if len(n.blocks) > 1 && c.unheard > 0 { // as the real one: without a look at the last block
		c.unheard--
		return no, nil
	}
	if q.Last != nil {
		n.committed = q.Last.GetBlockId()
	}
	if i := len(n.blocks) - 1; i >= 0 && n.committed != n.blocks[i].id {
		return no, nil
	}
	for _, b := range n.blocks {
		if !b.done {
			return no, nil
		}
	}
	n.writing, n.changed = false, time.Now()
	return &wire.CompleteResponse{Result: proto.Bool(true)}, nil
}

func (c *Cluster) rename2(user string, q *wire.Rename2Request) (proto.Message, *hadooprpc.Exception) {
	from, to := q.GetSrc(), q.GetDst()
	switch n := c.tree[from]; {
	case n == nil:
		return nil, hadooprpc.Errorf(notFound, "rename source %s is not found.", from)
	case c.tree[to] != nil && c.tree[to].dir != n.dir:
		return nil, hadooprpc.Errorf(hadooprpc.IOException, "Source %s and destination %s must both be directories", from, to)
	case c.tree[to] != nil:
		return nil, hadooprpc.Errorf(exists, "rename destination %s already exists", to)
	case c.tree[path.Dir(to)] == nil:
		return nil, hadooprpc.Errorf(notFound, "rename destination parent %s not found.", path.Dir(to))
	case strings.HasPrefix(to, from+"/"):
		return nil, hadooprpc.Errorf(hadooprpc.IOException, "Rename destination %s is a directory or file under source %s", to, from)
	}
	if thrown := c.tree[path.Dir(from)].check(user, path.Dir(from), 2, "WRITE"); thrown != nil {
		return nil, thrown
	}
	for p, n := range c.tree {
		if p == from || strings.HasPrefix(p, from+"/") {
			delete(c.tree, p)
			defer func() { c.tree[to+p[len(from):]] = n }()
		}
	}
	return &wire.Rename2Response{}, nil
}

func (c *Cluster) remove(user string, q *wire.DeleteRequest) (proto.Message, *hadooprpc.Exception) {
	src := q.GetSrc()
	if c.tree[src] == nil {
		return &wire.DeleteResponse{Result: proto.Bool(false)}, nil
	}
	if thrown := c.tree[path.Dir(src)].check(user, path.Dir(src), 2, "WRITE"); thrown != nil {
		return nil, thrown
	}
	for p := range c.tree {
		if p == src || strings.HasPrefix(p, src+"/") {
			delete(c.tree, p)
		}
	}
	return &wire.DeleteResponse{Result: proto.Bool(true)}, nil
}

func (c *Cluster) renewLease(string, *wire.RenewLeaseRequest) (proto.Message, *hadooprpc.Exception) {
	return &wire.RenewLeaseResponse{}, nil
}

func (c *Cluster) reportBadBlocks(string, *wire.ReportBadBlocksRequest) (proto.Message, *hadooprpc.Exception) {
	return &wire.ReportBadBlocksResponse{}, nil
}
