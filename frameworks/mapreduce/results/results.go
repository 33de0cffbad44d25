package results

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

const copySize = 256 << 10

// ErrUnfinished marks the folder of a job that is still running, or has died.
var ErrUnfinished = errors.New("the job that writes it has not finished")

// parts lists the files of a result: the file itself, or those of a folder but hidden ones, sorted by name.
func parts(ctx context.Context, fsys storage.FS, p string) ([]storage.Info, error) {
	info, err := fsys.Stat(ctx, p)
	if err != nil {
		return nil, err
	}
	if !info.IsDir {
		return []storage.Info{info}, nil
	}
	entries, err := fsys.List(ctx, p)
	if err != nil {
		return nil, err
	}
	var files []storage.Info
	unfinished, finished := false, false
	for _, e := range entries {
		switch name := path.Base(e.Path); {
		case name == "_temporary":
			unfinished = true
		case name == output.Success:
			finished = true
		case strings.HasPrefix(name, "_") || strings.HasPrefix(name, "."):
		case e.IsDir:
			return nil, fmt.Errorf("%s is a folder: name one of a job's results", e.Path)
		default:
			files = append(files, e)
		}
	}
	if unfinished && !finished {
		return nil, fmt.Errorf("%s: %w", p, ErrUnfinished)
	}
	return files, nil
}

// formatOf tells a part's format by its name.
func formatOf(name string) string {
	switch path.Ext(name) {
	case ".parquet":
		return input.Parquet
	case ".arrow", ".arrows", ".feather":
		return input.Arrow
	}
	return input.Text
}

func open(ctx context.Context, fsys storage.FS, info storage.Info, format string) (input.Reader, error) {
	split := spec.Split{URL: info.Path, Length: info.Size, FileSize: info.Size, Whole: true}
	return input.Open(ctx, format, fsys, info.Path, split, nil)
}

// Text writes the result at p to w: files as they are, decompressed; rows of columnar files as "key TAB value" lines.
func Text(ctx context.Context, fsys storage.FS, p string, w io.Writer) error {
	files, err := parts(ctx, fsys, p)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := textPart(ctx, fsys, f, w); err != nil {
			return err
		}
	}
	return nil
}

func textPart(ctx context.Context, fsys storage.FS, f storage.Info, w io.Writer) error {
	if format := formatOf(f.Path); format != input.Text {
		r, err := open(ctx, fsys, f, format)
		if err != nil {
			return err
		}
		return errors.Join(writeRows(w, r), r.Close())
	}
	r, err := input.OpenRaw(ctx, fsys, f.Path, f.Size)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, copySize))
	return errors.Join(err, r.Close())
}

func writeRows(w io.Writer, r input.Reader) error {
	out := bufio.NewWriterSize(w, copySize)
	for {
		key, value, err := r.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return errors.Join(err, out.Flush())
		}
		out.Write(key)
		out.WriteByte('\t')
		out.Write(value)
		if err := out.WriteByte('\n'); err != nil { // a bufio.Writer keeps its first error
			return err
		}
	}
}

// Arrow writes the result at p to one stream: columnar files with their own columns, text cut at the first tab into the
// columns key and value, whose types the properties columnar.OutputKeyTypeProperty and OutputValueTypeProperty tell
// (utf8 without them).
func Arrow(ctx context.Context, fsys storage.FS, p string, conf map[string]string, to *columnar.Stream) error {
	cols, err := columnar.OutputColumns(conf)
	if err != nil {
		return err
	}
	files, err := parts(ctx, fsys, p)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := addPart(ctx, fsys, f, cols, to); err != nil {
			return err
		}
	}
	return nil
}

func addPart(ctx context.Context, fsys storage.FS, f storage.Info, cols columnar.Columns, to *columnar.Stream) error {
	format := formatOf(f.Path)
	if format == input.Text {
		format = input.KeyValue
	}
	r, err := open(ctx, fsys, f, format)
	if err != nil {
		return err
	}
	if c, ok := r.(*columnar.Reader); ok {
		err = to.Add(c)
	} else {
		err = to.AddRecords(f.Path, r.Next, cols)
	}
	return errors.Join(err, r.Close())
}

// CatArrow writes the result at p to w as an Arrow IPC stream.
func CatArrow(ctx context.Context, fsys storage.FS, p string, conf map[string]string, w io.Writer) error {
	to := columnar.NewStream(w)
	err := Arrow(ctx, fsys, p, conf, to)
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	return err
}

// Serving returns what a columnar.Server needs to serve the results at root, a storage URL, and below it. Nothing else is
// told of, not even whether it exists.
func Serving(mux input.Resolver, root, user string) func(ctx context.Context, url string, to *columnar.Stream) error {
	return func(ctx context.Context, url string, to *columnar.Stream) error {
		at, err := storage.Parse(root)
		if err != nil {
			return err
		}
		l, err := storage.Parse(url)
		below := l.Path == at.Path || strings.HasPrefix(l.Path, strings.TrimSuffix(at.Path, "/")+"/")
		if err != nil || l.Scheme != at.Scheme || l.Authority != at.Authority || !below {
			return fmt.Errorf("%s is not served here: %w", url, fs.ErrPermission)
		}
		fsys, p, err := mux.Resolve(ctx, url, user)
		if err != nil {
			return err
		}
		return Arrow(ctx, fsys, p, nil, to)
	}
}
