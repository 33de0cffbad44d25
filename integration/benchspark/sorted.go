package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"fairway/frameworks/storage"
)

// checkSorted holds that a folder's part files, one after the other, are the lines of another folder's files in order. That
// they are the same lines is told by their bytes only.
func checkSorted(ctx context.Context, fs storage.FS, out, in string) error {
	wrote, err := fs.List(ctx, in)
	if err != nil {
		return err
	}
	left := int64(0)
	for _, f := range wrote {
		left += f.Size
	}
	parts, err := fs.List(ctx, out)
	if err != nil {
		return err
	}
	var last []byte
	for _, p := range parts {
		if !strings.HasPrefix(path.Base(p.Path), "part-") {
			continue
		}
		left -= p.Size
		if last, err = inOrder(ctx, fs, p.Path, last); err != nil {
			return err
		}
	}
	if left != 0 {
		return fmt.Errorf("%s has %d bytes less than %s", out, left, in)
	}
	return nil
}

// inOrder reads a file whose lines must not be less than last, and returns the last one.
func inOrder(ctx context.Context, fs storage.FS, name string, last []byte) ([]byte, error) {
	f, err := fs.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		if bytes.Compare(lines.Bytes(), last) < 0 {
			return nil, fmt.Errorf("%s: %.40q comes after %.40q", name, lines.Bytes(), last)
		}
		last = append(last[:0], lines.Bytes()...)
	}
	return last, lines.Err()
}
