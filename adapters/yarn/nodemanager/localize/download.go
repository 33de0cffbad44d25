package localize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"fairway/frameworks/storage"
)

// download makes a copy in a folder beside its place and moves it there. It returns what the copy takes.
func (c *Cache) download(ctx context.Context, e *entry, r *Resource, who User) (int64, error) {
	found, p, err := c.o.Files(ctx, r.URL, who.Name)
	if err != nil {
		return 0, err
	}
	from := source(found)
	if l, err := storage.Parse(r.URL); err == nil && l.Scheme == "file" {
		from = asAccount{found, who.Account}
	}
	info, err := from.Stat(ctx, p)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, &resourceError{"File does not exist: " + r.URL, fs.ErrNotExist}
		}
		return 0, err
	}
	if info.ModTime.UnixMilli() != r.Timestamp {
		return 0, changed(r.URL, r.Timestamp, info.ModTime)
	}
	if r.Visibility == Public {
		if err := checkPublic(ctx, from, r.URL, p, info, 0); err != nil {
			return 0, err
		}
	}
	scoped, err := c.scoped(e, who)
	if err != nil {
		return 0, err
	}
	defer scoped.Close()
	final := path.Join(folder, path.Base(path.Dir(e.Path)))
	temp := final + ".tmp"
	if err := scoped.Mkdir(temp, 0o700); err != nil {
		return 0, err
	}
	dir, err := scoped.OpenRoot(temp)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	w := &writer{ctx: ctx, from: from, into: dir, entries: maxEntries}
	name := path.Base(e.Path)
	if err := w.resource(r, p, name, info); err != nil {
		return 0, fmt.Errorf("localize %s: %w", r.URL, err)
	}
	size, err := settle(dir, who, r.Visibility == Public)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return size, scoped.Rename(temp, final)
}

// scoped opens the folder that holds a copy's filecache. Folders that hold others' are the agent's own, so that nobody can
// lead it elsewhere; an application's folder belongs to its user, and nothing leaves it.
func (c *Cache) scoped(e *entry, who User) (*os.Root, error) {
	at := "."
	if e.Scope != "" {
		at = e.Scope
	}
	if !e.application() {
		if err := c.root.MkdirAll(at, 0o711); err != nil {
			return nil, err
		}
	}
	scoped, err := c.root.OpenRoot(at)
	if err != nil {
		return nil, err
	}
	if err := scoped.Mkdir(folder, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, errors.Join(err, scoped.Close())
	}
	return scoped, nil
}

// writer copies what is in a source.
type writer struct {
	ctx     context.Context
	from    source
	into    *os.Root
	entries int // still allowed
}

func (w *writer) resource(r *Resource, p, name string, info storage.Info) error {
	if info.IsDir {
		return w.tree(p, name, 0)
	}
	format := archive(name)
	switch {
	case r.Kind == Archive && format != "":
		const packed = ".packed"
		if err := w.file(p, packed); err != nil {
			return err
		}
		if err := unpack(w.ctx, w.into, packed, name, format, nil); err != nil {
			return err
		}
		return w.into.Remove(packed)
	case r.Kind == Pattern && strings.HasSuffix(strings.ToLower(name), ".jar"):
		only, err := compile(r.Pattern)
		if err != nil {
			return err
		}
		if err := w.into.Mkdir(name, 0o700); err != nil {
			return err
		}
		jar := path.Join(name, name)
		if err := w.file(p, jar); err != nil {
			return err
		}
		return unpack(w.ctx, w.into, jar, name, "zip", only)
	}
	return w.file(p, name)
}

func (w *writer) tree(p, name string, depth int) error {
	if depth > maxDepth {
		return errors.New("folders are nested too deep")
	}
	if err := w.into.Mkdir(name, 0o700); err != nil {
		return err
	}
	list, err := w.from.List(w.ctx, p)
	if err != nil {
		return err
	}
	for _, i := range list {
		if w.entries--; w.entries < 0 {
			return fmt.Errorf("it holds more than %d files", maxEntries)
		}
		base := path.Base(i.Path)
		if i.IsDir {
			err = w.tree(path.Join(p, base), path.Join(name, base), depth+1)
		} else {
			err = w.file(path.Join(p, base), path.Join(name, base))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) file(p, name string) error {
	f, err := w.from.Open(w.ctx, p)
	if err != nil {
		return err
	}
	defer f.Close()
	to, err := w.into.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, contextReader{w.ctx, f}, make([]byte, 256<<10))
	return errors.Join(err, to.Close())
}

// settle gives a finished copy to who reads it, and returns its bytes.
func settle(dir *os.Root, who User, public bool) (int64, error) {
	folders, files := fs.FileMode(0o700), fs.FileMode(0o500)
	if public {
		folders, files = 0o755, 0o555
	}
	var size int64
	err := fs.WalkDir(dir.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			err = dir.Chmod(p, folders)
		case d.Type().IsRegular():
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				size += info.Size()
				err = dir.Chmod(p, files)
			}
		}
		if err == nil && !public && who.Account.Switch {
			err = dir.Lchown(p, who.Account.UID, who.Account.GID)
		}
		return err
	})
	return size, err
}
