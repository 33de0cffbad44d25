package fetch

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrArchive: an archive that is broken, or holds what may not be unpacked.
var ErrArchive = errors.New("bad archive")

// Limits bound what an archive may unpack to.
type Limits struct {
	Entries int   // 0: 200,000
	Bytes   int64 // of all files; 0: 32 GiB
	// Ratio bounds Bytes by the archive's own size: Ratio times that, but no less than 64 MiB. 0: 250.
	Ratio int64
}

func (l Limits) orDefault() Limits {
	if l.Entries == 0 {
		l.Entries = 200_000
	}
	if l.Bytes == 0 {
		l.Bytes = 32 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 250
	}
	return l
}

const ratioFloor = 64 << 20

// Unpack unpacks a tar, tar.gz or zip file, told apart by its first bytes, into a folder. Nothing is written outside of
// it: names must be relative and local, links must point inside, devices and the like are refused, and modes lose all but
// the permission bits. On an error what was unpacked so far is left.
func Unpack(ctx context.Context, from *os.File, into *os.Root, limits Limits) error {
	limits = limits.orDefault()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	u := &unpacker{ctx: ctx, into: into, entries: limits.Entries,
		bytes: min(limits.Bytes, max(ratioFloor, info.Size()*limits.Ratio))}
	var magic [4]byte
	n, err := from.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	switch m := string(magic[:n]); {
	case strings.HasPrefix(m, "PK"):
		return u.zip(from, info.Size())
	case strings.HasPrefix(m, "\x1f\x8b"):
		z, err := gzip.NewReader(bufio.NewReaderSize(from, 64<<10))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		return u.tar(z)
	}
	return u.tar(bufio.NewReaderSize(from, 64<<10))
}

type unpacker struct {
	ctx     context.Context
	into    *os.Root
	entries int   // still allowed
	bytes   int64 // still allowed
}

// name checks an entry's name; empty: the folder itself.
func (u *unpacker) name(raw string) (string, error) {
	if err := u.ctx.Err(); err != nil {
		return "", err
	}
	if u.entries--; u.entries < 0 {
		return "", fmt.Errorf("%w: it has too many entries", ErrArchive)
	}
	clean := path.Clean(raw)
	if raw == "" || !filepath.IsLocal(clean) || strings.ContainsAny(raw, "\x00\\") || len(clean) > 4000 {
		return "", fmt.Errorf("%w: entry %q would leave its folder", ErrArchive, raw)
	}
	return clean, nil
}

func (u *unpacker) tar(r io.Reader) error {
	// The reader of tar skips what is not read, so the whole stream counts, not only what is unpacked.
	stream := &io.LimitedReader{R: r, N: u.bytes + int64(u.entries)*1024 + 1<<20}
	t := tar.NewReader(stream)
	for first := true; ; first = false {
		h, err := t.Next()
		if err == io.EOF {
			if first {
				return fmt.Errorf("%w: it is empty, or no archive", ErrArchive)
			}
			return nil
		}
		if err != nil {
			if stream.N <= 0 {
				return fmt.Errorf("%w: it is too large", ErrArchive)
			}
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		name, err := u.name(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			err = u.file(name, fs.FileMode(h.Mode), t, h.Size)
		case tar.TypeDir:
			err = u.into.MkdirAll(name, 0o700)
		case tar.TypeSymlink:
			err = u.symlink(name, h.Linkname)
		case tar.TypeLink:
			err = u.link(name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("%w: entry %q is neither file, folder nor link", ErrArchive, h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) zip(from *os.File, size int64) error {
	z, err := zip.NewReader(from, size)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrArchive, err)
	}
	for _, f := range z.File {
		name, err := u.name(strings.TrimSuffix(f.Name, "/"))
		if err != nil {
			return err
		}
		mode := f.Mode()
		if strings.HasSuffix(f.Name, "/") || mode.IsDir() {
			if err := u.into.MkdirAll(name, 0o700); err != nil {
				return err
			}
			continue
		}
		if !mode.IsRegular() && mode.Type() != fs.ModeSymlink {
			return fmt.Errorf("%w: entry %q is neither file, folder nor link", ErrArchive, f.Name)
		}
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if mode.Type() == fs.ModeSymlink {
			var target []byte
			if target, err = io.ReadAll(io.LimitReader(r, 4097)); err == nil {
				err = u.symlink(name, string(target))
			}
		} else {
			err = u.file(name, mode, r, -1)
		}
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) parent(name string) error {
	if dir := path.Dir(name); dir != "." {
		return u.into.MkdirAll(dir, 0o700)
	}
	return nil
}

func (u *unpacker) file(name string, mode fs.FileMode, r io.Reader, size int64) error {
	if size > u.bytes {
		return fmt.Errorf("%w: it unpacks to too much", ErrArchive)
	}
	if err := u.parent(name); err != nil {
		return err
	}
	// A link of the same name is replaced, never written through.
	if err := u.into.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := u.into.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm()|0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, contextReader{u.ctx, io.LimitReader(r, u.bytes+1)})
	if u.bytes -= n; err == nil && u.bytes < 0 {
		err = fmt.Errorf("%w: it unpacks to too much", ErrArchive)
	} else if err != nil && u.ctx.Err() == nil && !errors.As(err, new(*fs.PathError)) {
		err = fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return errors.Join(err, f.Close())
}

// inside tells whether a relative link in the folder of name stays in the tree.
func inside(name, target string) bool {
	return target != "" && !path.IsAbs(target) && !strings.ContainsAny(target, "\x00\\") && len(target) <= 4096 &&
		filepath.IsLocal(path.Join(path.Dir(name), target))
}

func (u *unpacker) symlink(name, target string) error {
	if !inside(name, target) {
		return fmt.Errorf("%w: link %q points outside, to %q", ErrArchive, name, target)
	}
	if err := u.parent(name); err != nil {
		return err
	}
	// Through a link to a folder, name lies elsewhere than it says, and so does what the target is relative to.
	if dir := path.Dir(name); dir != "." {
		for at := dir; at != "."; at = path.Dir(at) {
			if info, err := u.into.Lstat(at); err != nil || !info.IsDir() {
				return fmt.Errorf("%w: link %q lies behind another link", ErrArchive, name)
			}
		}
	}
	if err := u.into.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return u.into.Symlink(target, name)
}

func (u *unpacker) link(name, target string) error {
	clean := path.Clean(target)
	if target == "" || !filepath.IsLocal(clean) {
		return fmt.Errorf("%w: link %q points outside, to %q", ErrArchive, name, target)
	}
	info, err := u.into.Lstat(clean)
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: link %q points to %q, which is no file of it", ErrArchive, name, target)
	}
	if err := u.parent(name); err != nil {
		return err
	}
	if clean == path.Clean(name) {
		return nil
	}
	if err := u.into.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return u.into.Link(clean, name)
}
