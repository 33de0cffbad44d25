package localize

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
	"regexp"
	"slices"
	"strings"
)

// ErrArchive: an archive that is broken, or holds what may not be unpacked.
var ErrArchive = errors.New("bad archive")

const (
	maxEntries = 200_000
	maxBytes   = 64 << 30
	maxRatio   = 250 // of unpacked to packed size
	ratioFloor = 64 << 20
)

// unpacker writes an archive's entries below a folder of root.
type unpacker struct {
	ctx     context.Context
	root    *os.Root // of the folder
	only    *regexp.Regexp
	entries int   // still allowed
	bytes   int64 // still allowed
}

// unpack unpacks a file (format "zip" or "tar", perhaps compressed) into the folder into of root, which it makes. only, if
// not nil, must match the whole name of each entry that is wanted.
func unpack(ctx context.Context, root *os.Root, file, into, format string, only *regexp.Regexp) error {
	f, err := root.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := root.Mkdir(into, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := root.OpenRoot(into)
	if err != nil {
		return err
	}
	defer dir.Close()
	u := &unpacker{ctx: ctx, root: dir, only: only, entries: maxEntries, bytes: min(maxBytes, max(ratioFloor, info.Size()*maxRatio))}
	if format == "zip" {
		return u.zip(f, info.Size())
	}
	b := bufio.NewReaderSize(f, 256<<10)
	if magic, _ := b.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		return u.tar(z)
	}
	return u.tar(b)
}

// name checks an entry's name. "." is the folder itself.
func (u *unpacker) name(raw string) (string, error) {
	if err := u.ctx.Err(); err != nil {
		return "", err
	}
	if u.entries--; u.entries < 0 {
		return "", fmt.Errorf("%w: more than %d entries", ErrArchive, maxEntries)
	}
	clean := path.Clean(raw)
	if raw == "" || !filepath.IsLocal(clean) || strings.IndexByte(raw, 0) >= 0 || len(clean) > 4000 {
		return "", fmt.Errorf("%w: entry %.200q would leave its folder", ErrArchive, raw)
	}
	return clean, nil
}

func (u *unpacker) wanted(raw string) bool { return u.only == nil || u.only.MatchString(raw) }

func (u *unpacker) zip(f *os.File, size int64) error {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrArchive, err)
	}
	for _, e := range z.File {
		name, err := u.name(e.Name)
		if err != nil {
			return err
		}
		mode := e.Mode()
		switch {
		case !u.wanted(e.Name):
		case strings.HasSuffix(e.Name, "/") || mode.IsDir():
			err = u.root.MkdirAll(name, 0o700)
		case mode.Type() == fs.ModeSymlink:
			var target string
			if target, err = zipLink(e); err == nil {
				err = u.symlink(name, target)
			}
		case mode.IsRegular():
			var r io.ReadCloser
			if r, err = e.Open(); err != nil {
				return fmt.Errorf("%w: %w", ErrArchive, err)
			}
			err = errors.Join(u.file(name, r), r.Close())
		default:
			err = fmt.Errorf("%w: entry %.200q is neither file, folder nor link", ErrArchive, e.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func zipLink(e *zip.File) (string, error) {
	r, err := e.Open()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrArchive, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxLink+1))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return string(b), nil
}

func (u *unpacker) tar(r io.Reader) error {
	// What is skipped counts too.
	limited := &io.LimitedReader{R: r, N: u.bytes + maxEntries*1024}
	t := tar.NewReader(limited)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if limited.N <= 0 {
				return fmt.Errorf("%w: it unpacks to too much", ErrArchive)
			}
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		name, err := u.name(h.Name)
		if err != nil {
			return err
		}
		switch {
		case h.Typeflag == tar.TypeXGlobalHeader || !u.wanted(h.Name):
		case h.Typeflag == tar.TypeDir:
			err = u.root.MkdirAll(name, 0o700)
		case h.Typeflag == tar.TypeReg:
			err = u.file(name, t)
		case h.Typeflag == tar.TypeSymlink:
			err = u.symlink(name, h.Linkname)
		case h.Typeflag == tar.TypeLink:
			err = u.link(name, h.Linkname)
		default:
			err = fmt.Errorf("%w: entry %.200q is neither file, folder nor link", ErrArchive, h.Name)
		}
		if err != nil {
			return err
		}
	}
}

// clear makes the folders above name and removes what has its name: a link is replaced, never written through.
func (u *unpacker) clear(name string) error {
	if dir := path.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := u.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (u *unpacker) file(name string, r io.Reader) error {
	if err := u.clear(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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

const maxLink = 4000

// inside says whether a link's target stays in the folder. Only its beginning may climb: behind another link ".." leads
// elsewhere than the names say.
func inside(name, target string) bool {
	if target == "" || path.IsAbs(target) || strings.IndexByte(target, 0) >= 0 || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
		return false
	}
	rest := target
	for strings.HasPrefix(rest, "../") {
		rest = strings.TrimLeft(rest[3:], "/")
	}
	return rest == ".." || !slices.Contains(strings.Split(rest, "/"), "..")
}

func (u *unpacker) symlink(name, target string) error {
	if len(target) > maxLink || !inside(name, target) {
		return fmt.Errorf("%w: link %.200q points outside, to %.200q", ErrArchive, name, target)
	}
	if err := u.clear(name); err != nil {
		return err
	}
	// Behind another link the name lies elsewhere than it says, and the target is relative to that.
	for at := path.Dir(name); at != "."; at = path.Dir(at) {
		if info, err := u.root.Lstat(at); err != nil || !info.IsDir() {
			return fmt.Errorf("%w: link %.200q lies behind another link", ErrArchive, name)
		}
	}
	return u.root.Symlink(target, name)
}

func (u *unpacker) link(name, target string) error {
	clean := path.Clean(target)
	if target == "" || !filepath.IsLocal(clean) {
		return fmt.Errorf("%w: link %.200q points outside, to %.200q", ErrArchive, name, target)
	}
	if info, err := u.root.Lstat(clean); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: link %.200q points to %.200q, which is no file of it", ErrArchive, name, target)
	}
	if clean == name {
		return nil
	}
	if err := u.clear(name); err != nil {
		return err
	}
	return u.root.Link(clean, name)
}

// compile makes a Java pattern that must match a whole name a Go one. Possessive quantifiers and look-around are refused.
func compile(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > 1000 {
		return nil, errors.New("the pattern is longer than 1000 bytes")
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return re, nil
}
