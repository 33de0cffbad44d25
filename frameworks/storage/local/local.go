package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"fairway/frameworks/storage"
)

// Opener returns the opener of file:// URLs. The authority must be empty or "localhost".
func Opener() storage.Opener {
	return func(_ context.Context, authority, _ string) (storage.FS, error) {
		if authority != "" && authority != "localhost" {
			return nil, fmt.Errorf("file://%s/: a file URL names no host: write file:///path", authority)
		}
		return New(), nil
	}
}

// New returns the host's file system.
func New() storage.FS { return &host{names: make(map[string]string)} }

type host struct {
	mu    sync.Mutex
	names map[string]string // "u1000", "g100": name of the account, looked up once
}

func (h *host) Stat(ctx context.Context, p string) (storage.Info, error) {
	if err := check(ctx, "stat", p); err != nil {
		return storage.Info{}, err
	}
	fi, err := os.Stat(p)
	if err != nil {
		return storage.Info{}, wrap("stat", p, err)
	}
	return h.info(path.Clean(p), fi), nil
}

func (h *host) List(ctx context.Context, p string) ([]storage.Info, error) {
	if err := check(ctx, "list", p); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, wrap("list", p, err)
	}
	infos := make([]storage.Info, 0, len(entries))
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := path.Join(p, entry.Name())
		fi, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			fi, err = os.Lstat(name) // a dangling link is listed as itself
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, wrap("list", name, err)
		}
		infos = append(infos, h.info(name, fi))
	}
	return infos, nil
}

func (h *host) Open(ctx context.Context, p string) (storage.File, error) {
	if err := check(ctx, "open", p); err != nil {
		return nil, err
	}
	// O_NONBLOCK, or opening a pipe without a writer would hang for ever.
	f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, wrap("open", p, err)
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
		err = wrap("open", p, err)
	case fi.IsDir():
		err = wrap("open", p, syscall.EISDIR)
	case !fi.Mode().IsRegular():
		err = wrap("open", p, fmt.Errorf("%w: not a regular file", storage.ErrUnsupported))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{f: f, path: p, ctx: ctx}, nil
}

func (h *host) Create(ctx context.Context, p string, o storage.CreateOptions) (io.WriteCloser, error) {
	if err := check(ctx, "create", p); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path.Dir(p), 0o755); err != nil {
		return nil, wrap("create", p, err)
	}
	perm := o.Perm
	if perm == 0 {
		perm = 0o644
	}
	flags := os.O_WRONLY | os.O_CREATE | syscall.O_NONBLOCK
	if o.Overwrite {
		flags |= os.O_TRUNC
	} else {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(p, flags, perm.Perm())
	if err != nil {
		return nil, wrap("create", p, err)
	}
	return &file{f: f, path: p, ctx: ctx}, nil
}

func (h *host) Rename(ctx context.Context, from, to string) error {
	if err := check(ctx, "rename", from); err != nil {
		return err
	}
	if err := check(ctx, "rename", to); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = renameChecked(from, to) // a file system without RENAME_NOREPLACE, or a move into itself
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return wrap("rename", to, err)
	}
	return wrap("rename", from, err)
}

// renameChecked looks before it moves; between the two another process may make the target.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return syscall.EEXIST
	}
	return os.Rename(from, to)
}

func (h *host) Mkdir(ctx context.Context, p string, perm fs.FileMode) error {
	if err := check(ctx, "mkdir", p); err != nil {
		return err
	}
	if perm == 0 {
		perm = 0o755
	}
	if err := os.MkdirAll(p, perm.Perm()); err != nil {
		return wrap("mkdir", p, err)
	}
	return nil
}

func (h *host) Remove(ctx context.Context, p string) error {
	if err := check(ctx, "remove", p); err != nil {
		return err
	}
	if path.Clean(p) == "/" {
		return wrap("remove", p, errors.New("the root folder is never removed"))
	}
	if err := os.RemoveAll(p); err != nil {
		return wrap("remove", p, err)
	}
	return nil
}

// Blocks returns the whole file as one block without replicas; an empty file has none.
func (h *host) Blocks(ctx context.Context, p string) ([]storage.Block, error) {
	info, err := h.Stat(ctx, p)
	if err != nil {
		return nil, err
	}
	if info.IsDir {
		return nil, wrap("blocks", p, syscall.EISDIR)
	}
	if info.Size == 0 {
		return nil, nil
	}
	return []storage.Block{{Length: info.Size}}, nil
}

func (h *host) Close() error { return nil }

func (h *host) info(p string, fi fs.FileInfo) storage.Info {
	info := storage.Info{Path: p, IsDir: fi.IsDir(), Mode: fi.Mode(), ModTime: fi.ModTime()}
	if !info.IsDir {
		info.Size = fi.Size()
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		info.Owner = h.name("u", st.Uid)
		info.Group = h.name("g", st.Gid)
	}
	return info
}

// name returns the name of an account or group, or its number if it has none.
func (h *host) name(kind string, id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	h.mu.Lock()
	defer h.mu.Unlock()
	if name, ok := h.names[kind+number]; ok {
		return name
	}
	name := number
	if kind == "u" {
		if u, err := user.LookupId(number); err == nil {
			name = u.Username
		}
	} else if g, err := user.LookupGroupId(number); err == nil {
		name = g.Name
	}
	h.names[kind+number] = name
	return name
}

// check refuses a relative path and an ended context.
func check(ctx context.Context, op, p string) error {
	if !path.IsAbs(p) {
		return wrap(op, p, errors.New("path is not absolute"))
	}
	return ctx.Err()
}

// wrap makes the error a *fs.PathError that names the URL, without the path twice.
func wrap(op, p string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &fs.PathError{Op: op, Path: "file://" + p, Err: err}
}

// file checks the context at each call and names the URL in its errors.
type file struct {
	f    *os.File
	path string
	ctx  context.Context
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.f.Read(p)
	return n, f.fix("read", err)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.f.ReadAt(p, off)
	return n, f.fix("read", err)
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	n, err := f.f.Seek(offset, whence)
	return n, f.fix("seek", err)
}

func (f *file) Write(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.f.Write(p)
	return n, f.fix("write", err)
}

func (f *file) Close() error { return f.fix("close", f.f.Close()) }

func (f *file) fix(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return wrap(op, f.path, err)
}
