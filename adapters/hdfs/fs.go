package hdfs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

const maxListing = 10_000_000 // entries of one folder; HDFS itself holds about a million by default

// fileSystem is one HDFS for one user.
type fileSystem struct {
	c      *cluster
	nn     *namenode
	dn     *datanodes
	client string // name of this client as a holder of leases

	mu       sync.Mutex
	defaults *wire.FsServerDefaults // nil until asked for
	renewed  time.Time              // when the lease was last renewed
}

func newFileSystem(c *cluster) *fileSystem {
	nn := newNamenode(c)
	return &fileSystem{c: c, nn: nn, dn: newDatanodes(c), client: "fairway_" + hex.EncodeToString(nn.clientID)}
}

func (f *fileSystem) url(path string) string { return "hdfs://" + f.c.authority + path }

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func checkPath(ctx context.Context, p string) (string, error) {
	if !path.IsAbs(p) {
		return p, errors.New("path is not absolute")
	}
	return path.Clean(p), ctx.Err()
}

// Stat implements storage.FS.
func (f *fileSystem) Stat(ctx context.Context, p string) (storage.Info, error) {
	status, err := f.status(ctx, p)
	if err != nil {
		return storage.Info{}, f.pathError("stat", p, err)
	}
	return info(path.Clean(p), status), nil
}

func (f *fileSystem) status(ctx context.Context, p string) (*wire.FileStatus, error) {
	p, err := checkPath(ctx, p)
	if err != nil {
		return nil, err
	}
	answer := &wire.GetFileInfoResponse{}
	if err := f.nn.call(ctx, "getFileInfo", &wire.GetFileInfoRequest{Src: &p}, answer); err != nil {
		return nil, err
	}
	if answer.Fs == nil {
		return nil, fs.ErrNotExist
	}
	return answer.Fs, nil
}

func info(p string, s *wire.FileStatus) storage.Info {
	perm := s.GetPermission().GetPerm()
	i := storage.Info{
		Path: p, IsDir: s.GetFileType() == wire.FileStatus_IS_DIR, Mode: fs.FileMode(perm & 0o777),
		Owner: s.GetOwner(), Group: s.GetGroup(), ModTime: time.UnixMilli(int64(min(s.GetModificationTime(), math.MaxInt64))),
	}
	if perm&0o1000 != 0 {
		i.Mode |= fs.ModeSticky
	}
	switch s.GetFileType() {
	case wire.FileStatus_IS_DIR:
		i.Mode |= fs.ModeDir
	case wire.FileStatus_IS_SYMLINK:
		i.Mode |= fs.ModeSymlink
	default:
		i.Size = int64(min(s.GetLength(), math.MaxInt64))
		i.BlockSize = int64(min(s.GetBlockSize(), math.MaxInt64))
	}
	return i
}

// List implements storage.FS.
func (f *fileSystem) List(ctx context.Context, p string) ([]storage.Info, error) {
	var infos []storage.Info
	err := f.list(ctx, p, false, func(i storage.Info, _ *wire.FileStatus) { infos = append(infos, i) })
	if err != nil {
		return nil, f.pathError("list", p, err)
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Path < infos[j].Path })
	return infos, nil
}

// list visits the entries of a folder, a page of the NameNode's choice (1,000 by default) for each call.
func (f *fileSystem) list(ctx context.Context, p string, located bool, visit func(storage.Info, *wire.FileStatus)) error {
	p, err := checkPath(ctx, p)
	if err != nil {
		return err
	}
	after, total := []byte{}, 0
	for {
		answer := &wire.GetListingResponse{}
		request := &wire.GetListingRequest{Src: &p, StartAfter: after, NeedLocation: &located}
		if err := f.nn.call(ctx, "getListing", request, answer); err != nil {
			return err
		}
		if answer.DirList == nil {
			return fs.ErrNotExist
		}
		page := answer.DirList.GetPartialListing()
		for _, s := range page {
			if len(s.GetPath()) == 0 { // a file lists as itself
				return syscall.ENOTDIR
			}
			visit(info(path.Join(p, string(s.GetPath())), s), s)
		}
		if total += len(page); total > maxListing {
			return fmt.Errorf("more than %d entries", maxListing)
		}
		if answer.DirList.GetRemainingEntries() == 0 || len(page) == 0 {
			return nil
		}
		after = page[len(page)-1].GetPath()
	}
}

// Mkdir implements storage.FS.
func (f *fileSystem) Mkdir(ctx context.Context, p string, perm fs.FileMode) error {
	p, err := checkPath(ctx, p)
	if err != nil {
		return f.pathError("mkdir", p, err)
	}
	if perm == 0 {
		perm = 0o755
	}
	answer := &wire.MkdirsResponse{}
	err = f.nn.call(ctx, "mkdirs", &wire.MkdirsRequest{
		Src: &p, Masked: permission(perm), CreateParent: proto.Bool(true)}, answer)
	if err == nil && !answer.GetResult() {
		err = errors.New("the NameNode did not make the folder")
	}
	var remote *remoteError
	if errors.As(err, &remote) && isClass(remote, "FileAlreadyExistsException") {
		err = &kinded{"a file is in the way: " + remote.message, syscall.ENOTDIR}
	}
	return f.pathError("mkdir", p, err)
}

func permission(perm fs.FileMode) *wire.FsPermission {
	bits := uint32(perm.Perm())
	if perm&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return &wire.FsPermission{Perm: &bits}
}

// Remove implements storage.FS.
func (f *fileSystem) Remove(ctx context.Context, p string) error {
	p, err := checkPath(ctx, p)
	if err != nil {
		return f.pathError("remove", p, err)
	}
	if p == "/" {
		return f.pathError("remove", p, errors.New("the root folder is never removed"))
	}
	err = f.nn.call(ctx, "delete", &wire.DeleteRequest{Src: &p, Recursive: proto.Bool(true)}, &wire.DeleteResponse{})
	err = f.pathError("remove", p, err)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Rename implements storage.FS.
func (f *fileSystem) Rename(ctx context.Context, from, to string) error {
	from, err := checkPath(ctx, from)
	if err != nil {
		return f.pathError("rename", from, err)
	}
	if to, err = checkPath(ctx, to); err != nil {
		return f.pathError("rename", to, err)
	}
	if from == to { // HDFS would call it a success or an error by version
		if _, err := f.status(ctx, from); err != nil {
			return f.pathError("rename", from, err)
		}
		return f.pathError("rename", to, fs.ErrExist)
	}
	request := &wire.Rename2Request{Src: &from, Dst: &to, OverwriteDest: proto.Bool(false)}
	err = f.nn.call(ctx, "rename2", request, &wire.Rename2Response{})
	var remote *remoteError
	if errors.As(err, &remote) && strings.Contains(remote.message, "must both be") { // a file onto a folder, or the reverse
		err = &kinded{remote.message, fs.ErrExist}
	}
	if err = f.pathError("rename", from, err); errors.Is(err, fs.ErrExist) {
		var pe *fs.PathError
		errors.As(err, &pe)
		pe.Path = f.url(to)
	}
	return err
}

func isClass(e *remoteError, class string) bool {
	return e.class == class || len(e.class) > len(class) && e.class[len(e.class)-len(class)-1:] == "."+class
}

// serverDefaults asks the NameNode once.
func (f *fileSystem) serverDefaults(ctx context.Context) (*wire.FsServerDefaults, error) {
	f.mu.Lock()
	known := f.defaults
	f.mu.Unlock()
	if known != nil {
		return known, nil
	}
	answer := &wire.GetServerDefaultsResponse{}
	if err := f.nn.call(ctx, "getServerDefaults", &wire.GetServerDefaultsRequest{}, answer); err != nil {
		return nil, err
	}
	d := answer.GetServerDefaults()
	if d.GetEncryptDataTransfer() {
		return nil, unsupported("the cluster encrypts data transfer")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.defaults = d
	return d, nil
}

// Close implements storage.FS.
func (f *fileSystem) Close() error {
	f.nn.close()
	f.dn.close()
	return nil
}
