package spark

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf16"

	"fairway/adapters/recent"
)

// ref names a block, or a run of blocks of one map.
type ref struct {
	kind     refKind
	shuffle  int32 // or the RDD
	from, to int32 // reduces [from, to), or the RDD's split in from
	mapID    int64
}

type refKind byte

const (
	refShuffle refKind = iota
	refRDD
	refMerged
)

// parseRef reads a block's name as OpenBlocks gives it.
func parseRef(name string) (ref, error) {
	parts := strings.Split(name, "_")
	number := func(i, bits int) int64 {
		v, err := strconv.ParseInt(parts[i], 10, bits)
		if err != nil || v < 0 {
			return -1
		}
		return v
	}
	switch {
	case len(parts) == 4 && parts[0] == "shuffle":
		s, m, r := number(1, 32), number(2, 64), number(3, 32)
		if s >= 0 && m >= 0 && r >= 0 && r < 1<<31-1 {
			return ref{kind: refShuffle, shuffle: int32(s), mapID: m, from: int32(r), to: int32(r) + 1}, nil
		}
	case len(parts) == 3 && parts[0] == "rdd":
		r, p := number(1, 32), number(2, 32)
		if r >= 0 && p >= 0 {
			return ref{kind: refRDD, shuffle: int32(r), from: int32(p)}, nil
		}
	case len(parts) == 5 && parts[0] == "shuffleChunk":
		return ref{kind: refMerged}, nil
	}
	return ref{}, fmt.Errorf("Unexpected block id format: %.200s", name) //lint:ignore ST1005 Spark's own words
}

// javaHash is Java's String.hashCode, made positive as Spark does.
func javaHash(s string) int {
	var h int32
	for _, u := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(u)
	}
	if h == -1<<31 {
		return 0
	}
	return int(max(h, -h))
}

// path is where an executor has a file.
func (e executor) path(name string) string {
	h := javaHash(name)
	dir := e.Dirs[h%len(e.Dirs)]
	sub := h / len(e.Dirs) % e.SubDirs
	return filepath.Join(dir, fmt.Sprintf("%02x", sub), name)
}

// openOwned opens a regular file of an account below one of the roots. No symbolic link leads out of the root, and one
// within it is of no use as the file must belong to uid (-1: anyone). size is the file's.
func openOwned(roots []string, path string, uid int) (f *os.File, size int64, err error) {
	top, rest, ok := below(roots, path)
	if !ok {
		return nil, 0, fmt.Errorf("%s is outside of the application's folders", path)
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	// Without O_NONBLOCK a fifo would hold the connection for as long as its writer likes.
	f, err = root.OpenFile(rest, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil {
		err = owned(info, path, uid)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func owned(info fs.FileInfo, path string, uid int) error {
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if uid >= 0 {
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != uid {
			return &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("does not belong to uid %d: %w", uid, fs.ErrPermission)}
		}
	}
	return nil
}

// removable says whether a name is one of a file that Spark asks to remove, in one folder.
func removable(name string) bool {
	if !strings.HasPrefix(name, "rdd_") && !strings.HasPrefix(name, "shuffle") || len(name) > maxExecutor {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	}) < 0
}

// remove deletes a file of an account below one of the roots.
func remove(roots []string, path string, uid int) error {
	top, rest, ok := below(roots, path)
	if !ok {
		return fmt.Errorf("%s is outside of the application's folders", path)
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(rest)
	if err != nil {
		return err
	}
	if err := owned(info, path, uid); err != nil {
		return err
	}
	return root.Remove(rest)
}

// segment is bytes of an open file; file is nil if there are none.
type segment struct {
	file          *os.File
	start, length int64
}

func (g segment) close() {
	if g.file != nil {
		g.file.Close()
	}
}

// open finds a block of an executor.
func (s *Server) open(reg registration, e executor, b ref) (segment, error) {
	switch b.kind {
	case refRDD:
		f, size, err := openOwned(reg.Dirs, e.path("rdd_"+strconv.Itoa(int(b.shuffle))+"_"+strconv.Itoa(int(b.from))), reg.UID)
		return segment{f, 0, size}, err
	case refMerged:
		return segment{}, errMerge
	}
	base := "shuffle_" + strconv.Itoa(int(b.shuffle)) + "_" + strconv.FormatInt(b.mapID, 10) + "_0"
	index := e.path(base + ".index")
	start, end, err := s.indexes.span(reg, index, b.from, b.to)
	if err != nil || start == end {
		return segment{}, err
	}
	path := e.path(base + ".data")
	f, size, err := openOwned(reg.Dirs, path, reg.UID)
	if err != nil {
		s.indexes.Drop(recent.Key{Job: reg.Application, Name: index})
		return segment{}, err
	}
	if end > size {
		f.Close()
		return segment{}, fmt.Errorf("%s has %d bytes, its index says at least %d", path, size, end)
	}
	return segment{f, start, end - start}, nil
}
