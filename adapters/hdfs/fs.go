package hdfs

import (
	"context"
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

	stock "github.com/colinmarc/hdfs/v2"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hdfs/wire"
	"fairway/frameworks/storage"
)

// Hadoop's types of files.
const (
	typeDir  = 1
	typeLink = 3
)

// fileSystem is one HDFS for one user.
type fileSystem struct {
	c  *cluster
	nn *namenode

	mu       sync.Mutex
	defaults *wire.FsServerDefaults // nil until asked for
	idle     []*session
	busy     map[*session]bool
	timer    *time.Timer // ends idle sessions; nil when there are none
	closed   bool
}

func newFileSystem(c *cluster) *fileSystem {
	return &fileSystem{c: c, nn: newNamenode(c), busy: make(map[*session]bool)}
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
	p, err := checkPath(ctx, p)
	if err != nil {
		return storage.Info{}, f.pathError("stat", p, err)
	}
	var i storage.Info
	err = f.do(ctx, func(s *bound) error {
		found, err := s.client.Stat(p)
		if err == nil {
			i, err = info(p, found)
		}
		return err
	})
	return i, f.pathError("stat", p, err)
}

// info reads the NameNode's own words: what the client makes of them has no block size and another sticky bit.
func info(p string, i fs.FileInfo) (storage.Info, error) {
	s, ok := i.Sys().(*stock.FileStatus)
	if !ok {
		return storage.Info{}, fmt.Errorf("the HDFS client describes a file by %T", i.Sys())
	}
	return describe(p, s), nil
}

func describe(p string, s *stock.FileStatus) storage.Info {
	perm := s.GetPermission().GetPerm()
	i := storage.Info{
		Path: p, IsDir: s.GetFileType() == typeDir, Mode: fs.FileMode(perm & 0o777),
		Owner: s.GetOwner(), Group: s.GetGroup(), ModTime: time.UnixMilli(int64(min(s.GetModificationTime(), math.MaxInt64))),
	}
	if perm&sticky != 0 {
		i.Mode |= fs.ModeSticky
	}
	switch s.GetFileType() {
	case typeDir:
		i.Mode |= fs.ModeDir
	case typeLink:
		i.Mode |= fs.ModeSymlink
	default:
		i.Size = int64(min(s.GetLength(), math.MaxInt64))
		i.BlockSize = int64(min(s.GetBlocksize(), math.MaxInt64))
	}
	return i
}

// List implements storage.FS.
func (f *fileSystem) List(ctx context.Context, p string) ([]storage.Info, error) {
	p, err := checkPath(ctx, p)
	if err != nil {
		return nil, f.pathError("list", p, err)
	}
	var infos []storage.Info
	err = f.do(ctx, func(s *bound) error {
		found, err := s.client.Stat(p)
		if err != nil {
			return err
		}
		if !found.IsDir() {
			return syscall.ENOTDIR
		}
		entries, err := s.client.ReadDir(p)
		if err != nil {
			return err
		}
		infos = make([]storage.Info, len(entries))
		for n, e := range entries {
			if infos[n], err = info(path.Join(p, e.Name()), e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, f.pathError("list", p, err)
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Path < infos[j].Path })
	return infos, nil
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
	err = f.do(ctx, func(s *bound) error { return s.client.MkdirAll(p, bits(perm)) })
	var remote *hadooprpc.Exception
	switch {
	case errors.As(err, &remote) && isClass(remote, "FileAlreadyExistsException"):
		err = &kinded{"a file is in the way: " + remote.Message, syscall.ENOTDIR}
	case errors.Is(err, fs.ErrExist):
		err = &kinded{"a file is in the way", syscall.ENOTDIR}
	}
	return f.pathError("mkdir", p, err)
}

const sticky = 0o1000

// bits gives a mode as the client sends it: Hadoop's bits, not Go's.
func bits(perm fs.FileMode) fs.FileMode {
	b := perm.Perm()
	if perm&fs.ModeSticky != 0 {
		b |= sticky
	}
	return b
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
	err = f.pathError("remove", p, f.do(ctx, func(s *bound) error { return s.client.RemoveAll(p) }))
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
		if _, err := f.Stat(ctx, from); err != nil {
			return err
		}
		return f.pathError("rename", to, fs.ErrExist)
	}
	err = f.do(ctx, func(s *bound) error { return s.client.Rename(from, to) })
	var remote *hadooprpc.Exception
	if errors.As(err, &remote) && strings.Contains(remote.Message, "must both be") { // a file onto a folder, or the reverse
		err = &kinded{remote.Message, fs.ErrExist}
	}
	if err = f.pathError("rename", from, err); errors.Is(err, fs.ErrExist) {
		var pe *fs.PathError
		errors.As(err, &pe)
		pe.Path = f.url(to)
	}
	return err
}

func isClass(e *hadooprpc.Exception, class string) bool {
	return e.Class == class || len(e.Class) > len(class) && e.Class[len(e.Class)-len(class)-1:] == "."+class
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
	if answer.GetServerDefaults().GetEncryptDataTransfer() {
		return nil, unsupported("the cluster encrypts data transfer")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.defaults = answer.GetServerDefaults()
	return f.defaults, nil
}
