package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// stage finds the fairway binary that tasks use. Where they run as other users it must be one that those can execute: if
// it lies in a closed folder, such as /root, it is linked or copied into the work folder.
func stage(binary, workDir string) (string, error) {
	var err error
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return "", fmt.Errorf("find own binary: %w", err)
		}
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return "", err
	}
	if os.Geteuid() != 0 || unreachable(filepath.Dir(binary)) == "" {
		return binary, nil
	}
	staged := filepath.Join(workDir, "bin", "fairway")
	temp := staged + ".new"
	if err := os.MkdirAll(filepath.Dir(staged), 0o755); err != nil {
		return "", err
	}
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Link(binary, temp); err != nil {
		if err := copyProgram(binary, temp); err != nil {
			return "", fmt.Errorf("copy own binary for tasks: %w", err)
		}
	}
	return staged, os.Rename(temp, staged)
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// unreachable returns the first folder on the way to dir, or dir itself, that other users may not pass through; empty:
// there is none.
func unreachable(dir string) string {
	closed := ""
	for {
		info, err := os.Stat(dir)
		if s, ok := sys(info); err != nil || ok && s.Mode&0o001 == 0 {
			closed = dir
		}
		if dir == filepath.Dir(dir) {
			return closed
		}
		dir = filepath.Dir(dir)
	}
}

func sys(info os.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return s, ok
}
