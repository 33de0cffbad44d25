package sandbox

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Usage is the disk space that the files below dir take, in bytes, counting a file with several links once. It stops
// early when the sum is above enough (0: never), as the caller then knows what it wants to know.
func Usage(ctx context.Context, dir string, enough int64) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var sum int64
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) { // removed while we walk
				return nil
			}
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		s, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if s.Nlink > 1 && !d.IsDir() {
			if id := (inode{uint64(s.Dev), s.Ino}); seen[id] {
				return nil
			} else {
				seen[id] = true
			}
		}
		if sum += s.Blocks * 512; enough > 0 && sum > enough {
			return fs.SkipAll
		}
		return nil
	})
	return sum, err
}

// Disk is the state of the file system that holds a folder, in bytes.
type Disk struct {
	Total int64
	Free  int64 // for everybody, without root's reserve
}

// Used is the used part, 0 to 1.
func (d Disk) Used() float64 {
	if d.Total == 0 {
		return 0
	}
	return 1 - float64(d.Free)/float64(d.Total)
}

// DiskOf measures the file system that holds dir.
func DiskOf(dir string) (Disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Disk{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return Disk{Total: int64(s.Blocks-s.Bfree+s.Bavail) * s.Bsize, Free: int64(s.Bavail) * s.Bsize}, nil
}
