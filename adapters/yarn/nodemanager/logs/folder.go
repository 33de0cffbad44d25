package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"fairway/adapters/yarn/id"
)

// Errors of looking for a log.
var (
	errNoLog = errors.New("no such log")
	errOwner = errors.New("not a file of the application's user")
)

// maxLogs is how many files of a container are listed.
const maxLogs = 10_000

// openFolder opens a container's log folder below root. The application's user may write there, and the agent may read all:
// so the two folders must be no links, and open checks each file.
func openFolder(root string, c id.ContainerID) (*os.Root, error) {
	top, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	p := c.Application().String()
	for _, next := range []string{"", c.String()} {
		p = filepath.Join(p, next)
		info, err := top.Lstat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s: %w", p, syscall.ENOTDIR)
		}
	}
	return top.OpenRoot(p)
}

// open opens a log for reading: a regular file right in the folder. It must belong to uid (-1: anyone); the agent's own is
// good too unless it has other names, as a user may have linked here what he cannot read.
func open(folder *os.Root, name string, uid int) (*os.File, fs.FileInfo, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return nil, nil, errNoLog
	}
	f, err := folder.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // or a pipe would block
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoLog
	}
	if err == nil && uid >= 0 {
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int(st.Uid) != uid && (int(st.Uid) != os.Geteuid() || st.Nlink > 1) {
			err = errOwner
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// list is the regular files of a log folder, by name, at most maxLogs of them.
func list(folder *os.Root) ([]fs.FileInfo, error) {
	d, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(maxLogs)
	if err != nil && err != io.EOF {
		return nil, err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(a.Name(), b.Name()) })
	return files, nil
}
