package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Tree is the folders below one work folder.
type Tree struct {
	sandboxes string
	jobs      string

	making sync.Mutex // of job folders: none is seen before it has its owner
}

// Owner is the account that a folder is made for. UID -1: the agent's own, nothing is changed.
type Owner struct{ UID, GID int }

// New makes the folders sandboxes and jobs in dir. Others may pass through them but not list them.
func New(dir string) (*Tree, error) {
	t := &Tree{sandboxes: filepath.Join(dir, "sandboxes"), jobs: filepath.Join(dir, "jobs")}
	for _, d := range []string{t.sandboxes, t.jobs} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// ValidName tells whether a framework's or job's id may name a folder: 1 to 128 letters, digits, '.', '_', '-', not
// beginning with a dot.
func ValidName(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}) < 0
}

// Box is one task's sandbox while it is being filled.
type Box struct {
	Dir  string
	Root *os.Root // of Dir; Close closes it

	owner Owner
}

// The agent's own folder inside a sandbox, and the folder for temporary files.
const (
	Private = ".fairway"
	Temp    = "tmp"
)

// Dir is where the sandbox of a task is. The framework's name must be valid.
func (t *Tree) Dir(framework string, sequence uint64) string {
	return filepath.Join(t.sandboxes, framework, strconv.FormatUint(sequence, 10))
}

// Create makes an empty sandbox; an existing one is fs.ErrExist.
func (t *Tree) Create(framework string, sequence uint64, owner Owner) (*Box, error) {
	if !ValidName(framework) {
		return nil, fmt.Errorf("framework id %q cannot name a folder", framework)
	}
	dir := t.Dir(framework, sequence)
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	b := &Box{Dir: dir, Root: root, owner: owner}
	for _, d := range []string{Private, Temp} {
		if err := root.Mkdir(d, 0o700); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	return b, nil
}

// WriteFile makes a file (and its folders) with exactly this mode.
func (b *Box) WriteFile(target string, content []byte, mode fs.FileMode) error {
	if !filepath.IsLocal(target) {
		return fmt.Errorf("path %q leaves the sandbox", target)
	}
	if dir := path.Dir(target); dir != "." {
		if err := b.Root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	f, err := b.Root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode.Perm())
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(mode.Perm()), f.Close())
}

// Logs makes the files stdout and stderr, open for appending.
func (b *Box) Logs() (stdout, stderr *os.File, err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if stdout, err = b.Root.OpenFile("stdout", flags, 0o600); err != nil {
		return nil, nil, err
	}
	if stderr, err = b.Root.OpenFile("stderr", flags, 0o600); err != nil {
		return nil, nil, errors.Join(err, stdout.Close())
	}
	return stdout, stderr, nil
}

// HandOver gives everything in the sandbox, and then the sandbox, to its owner.
func (b *Box) HandOver() error {
	if b.owner.UID < 0 || b.owner.UID == os.Getuid() {
		return nil
	}
	err := fs.WalkDir(b.Root.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		return b.Root.Lchown(p, b.owner.UID, b.owner.GID)
	})
	if err != nil {
		return fmt.Errorf("hand over sandbox: %w", err)
	}
	return os.Lchown(b.Dir, b.owner.UID, b.owner.GID)
}

// Close ends the filling.
func (b *Box) Close() error { return b.Root.Close() }

// Job makes the folder that the tasks of a job share, or finds it. A folder of another owner is an error.
func (t *Tree) Job(job string, owner Owner) (string, error) {
	if !ValidName(job) {
		return "", fmt.Errorf("job id %q cannot name a folder", job)
	}
	t.making.Lock()
	defer t.making.Unlock()
	dir := filepath.Join(t.jobs, job)
	if info, err := os.Lstat(dir); err == nil && owner.UID >= 0 && uid(info) == os.Getuid() && owner.UID != os.Getuid() {
		os.Remove(dir) // an empty one, of an agent that was killed between the next two steps
	}
	err := os.Mkdir(dir, 0o700)
	if err == nil && owner.UID >= 0 {
		err = os.Lchown(dir, owner.UID, owner.GID)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if owner.UID >= 0 && uid(info) != owner.UID || !info.IsDir() {
		return "", fmt.Errorf("folder of job %s belongs to another user", job)
	}
	return dir, nil
}

// JobDir is where the folder of a job is. The name must be valid.
func (t *Tree) JobDir(job string) string { return filepath.Join(t.jobs, job) }

// RemoveJob deletes a job's folder; a missing one is no error.
func (t *Tree) RemoveJob(job string) error {
	if !ValidName(job) {
		return nil
	}
	return os.RemoveAll(filepath.Join(t.jobs, job))
}

// Jobs lists the jobs that have a folder.
func (t *Tree) Jobs() ([]string, error) { return names(t.jobs) }

// Remove deletes a task's sandbox, and its framework's folder if that was the last.
func (t *Tree) Remove(framework string, sequence uint64) error {
	if !ValidName(framework) {
		return nil
	}
	dir := t.Dir(framework, sequence)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	syscall.Rmdir(filepath.Dir(dir))
	return nil
}

// List calls each with every sandbox that exists.
func (t *Tree) List(each func(framework string, sequence uint64)) error {
	frameworks, err := names(t.sandboxes)
	if err != nil {
		return err
	}
	for _, f := range frameworks {
		tasks, err := names(filepath.Join(t.sandboxes, f))
		if err != nil {
			return err
		}
		for _, s := range tasks {
			if n, err := strconv.ParseUint(s, 10, 64); err == nil {
				each(f, n)
			}
		}
	}
	return nil
}

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var l []string
	for _, e := range entries {
		if e.IsDir() && ValidName(e.Name()) {
			l = append(l, e.Name())
		}
	}
	return l, nil
}

func uid(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// Open opens a regular file inside dir for reading. Name is relative, slash-separated; it must not leave dir by any way,
// and the file must belong to owner (-1: anybody), so that a link to another's file is of no use. What is not so is
// fs.ErrNotExist or fs.ErrPermission.
func Open(dir, name string, owner int) (*os.File, error) {
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Without O_NONBLOCK a fifo would hold the caller for as long as its writer likes.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || owner >= 0 && uid(info) != owner) {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
