package localize

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"fairway/frameworks/storage"
)

// Kind is what becomes of a resource.
type Kind int

const (
	File    Kind = iota // as it is
	Archive             // unpacked into a folder if its name says that it is one
	Pattern             // a jar of which what fits the pattern is unpacked, beside the jar itself
)

// Visibility is who may see a copy.
type Visibility int

const (
	Public Visibility = iota
	Private
	Application
)

// Resource is a file or folder that a container needs.
type Resource struct {
	URL        string // hdfs://namenode:8020/a/b.jar, file:///a/b.jar; without scheme: of the default file system
	Timestamp  int64  // milliseconds: its modification time must be this
	Kind       Kind
	Pattern    string // a Java regular expression, for Pattern
	Visibility Visibility
}

// name is the last element of its path.
func (r *Resource) name() string {
	if n := path.Base(r.URL); n != "." && n != "/" && n != ".." {
		return n
	}
	return "resource"
}

// key tells copies apart within a scope.
func (r *Resource) key() string {
	return strconv.FormatInt(r.Timestamp, 10) + "\x00" + strconv.Itoa(int(r.Kind)) + "\x00" + r.Pattern + "\x00" + r.URL
}

// source reads a file system with a user's rights. A storage.FS is one.
type source interface {
	Stat(ctx context.Context, path string) (storage.Info, error)
	List(ctx context.Context, path string) ([]storage.Info, error)
	Open(ctx context.Context, path string) (storage.File, error)
}

// ErrChanged: the resource is not the one that was meant.
var ErrChanged = errors.New("changed on src filesystem")

// changed words it as Hadoop does.
func changed(url string, want int64, is time.Time) error {
	return &resourceError{"Resource " + url + " changed on src filesystem - expected: \"" + stamp(time.UnixMilli(want)) +
		"\", was: \"" + stamp(is) + "\", current time: \"" + stamp(time.Now()) + "\"", ErrChanged}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-0700") }

type resourceError struct {
	text string
	kind error
}

func (e *resourceError) Error() string { return e.text }
func (e *resourceError) Unwrap() error { return e.kind }

// checkPublic says whether everybody may read p (of a folder: all that is in it) and pass through the folders above it.
func checkPublic(ctx context.Context, s source, url, p string, info storage.Info, depth int) error {
	if depth > maxDepth {
		return errors.New("folders of " + url + " are nested too deep")
	}
	need := fs.FileMode(0o004)
	if info.IsDir {
		need = 0o005
	}
	public := info.Mode.Perm()&need == need
	for dir := path.Dir(p); depth == 0 && public; dir = path.Dir(dir) {
		above, err := s.Stat(ctx, dir)
		if err != nil {
			return err
		}
		public = above.Mode.Perm()&0o001 != 0
		if dir == "/" {
			break
		}
	}
	if !public {
		return &resourceError{"Resource " + url + " is not publicly accessible and as such cannot be part of the public cache.", fs.ErrPermission}
	}
	if !info.IsDir {
		return nil
	}
	entries, err := s.List(ctx, p)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := checkPublic(ctx, s, url, path.Join(p, path.Base(e.Path)), e, depth+1); err != nil {
			return err
		}
	}
	return nil
}

const maxDepth = 100

// archive says how the file of this name is unpacked.
func archive(name string) string {
	name = strings.ToLower(name)
	for _, suffix := range []string{".jar", ".zip"} {
		if strings.HasSuffix(name, suffix) {
			return "zip"
		}
	}
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz"} {
		if strings.HasSuffix(name, suffix) {
			return "tar"
		}
	}
	return ""
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
