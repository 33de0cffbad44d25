package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"
)

// Errors beside those of io/fs (fs.ErrNotExist, fs.ErrExist, fs.ErrPermission), which implementations return wrapped
// in a *fs.PathError whose Path is the full URL.
var (
	// ErrUnsupported marks a file that cannot be read right, such as an encrypted or erasure-coded one.
	ErrUnsupported = errors.New("unsupported file")
	// ErrCorrupt marks data whose checksum does not hold on any replica.
	ErrCorrupt = errors.New("corrupt data")
)

// FS is one file system. Paths are absolute, slash-separated and without scheme or authority ("/data/a.txt").
// All methods are safe for concurrent use; each ends, with ctx.Err(), soon after ctx does.
type FS interface {
	// Stat describes a file or folder.
	Stat(ctx context.Context, path string) (Info, error)
	// List returns the entries of a folder, sorted by name.
	List(ctx context.Context, path string) ([]Info, error)
	// Open opens a file for reading at offset 0. ctx governs the file until it is closed.
	Open(ctx context.Context, path string) (File, error)
	// Create makes a new file (parents too) and fails with fs.ErrExist if there is one, unless o.Overwrite.
	// Nothing is promised to be visible before Close returns nil. ctx governs the writer until it is closed; when ctx
	// ends before that, the file stays incomplete and is the caller's to remove.
	Create(ctx context.Context, path string, o CreateOptions) (io.WriteCloser, error)
	// Rename moves a file or folder; it fails with fs.ErrExist if to exists. Parents of to must exist.
	Rename(ctx context.Context, from, to string) error
	// Mkdir makes a folder and its parents; an existing folder is no error.
	Mkdir(ctx context.Context, path string, perm fs.FileMode) error
	// Remove deletes a file or a whole folder; a missing one is no error.
	Remove(ctx context.Context, path string) error
	// Blocks tells where the bytes of a file lie, in order of offset. A file system without places returns one
	// block without replicas.
	Blocks(ctx context.Context, path string) ([]Block, error)
	// Close frees connections. No method may be called after it.
	Close() error
}

// Info describes a file or folder.
type Info struct {
	Path      string // absolute, without scheme
	Size      int64
	IsDir     bool
	Mode      fs.FileMode
	Owner     string
	Group     string
	ModTime   time.Time
	BlockSize int64 // 0: no blocks
}

// CreateOptions of a new file; zero values take the file system's defaults.
type CreateOptions struct {
	Overwrite   bool
	BlockSize   int64
	Replication int
	Perm        fs.FileMode // 0: 0644
}

// File is an open file. It is used by one goroutine at a time. Large reads (256 KiB and more) are the fast ones.
type File interface {
	io.Reader
	io.Seeker
	io.ReaderAt
	io.Closer
}

// Block is a range of a file's bytes and where its replicas lie.
type Block struct {
	Offset, Length int64
	Replicas       []Replica
	Corrupt        bool
}

// Replica is one copy of a block.
type Replica struct {
	Host    string // the name that the storage node registered with
	Address string // its IP address
	Rack    string // "/rack1", or "" if unknown
}

// Opener opens the file system at an authority ("namenode:8020", "" for the default) as user ("" for the process's own).
type Opener func(ctx context.Context, authority, user string) (FS, error)
