package main

import (
	"context"
	"io"

	"fairway/agent/fetch"
	"fairway/frameworks/storage"
)

// storedFiles lets an agent fetch from any file system that storage knows, as the task's user.
type storedFiles struct{ mux *storage.Mux }

func (s storedFiles) Stat(ctx context.Context, url string, user fetch.User) (fetch.Info, error) {
	fs, path, err := s.mux.Resolve(ctx, url, user.Name)
	if err != nil {
		return fetch.Info{}, err
	}
	i, err := fs.Stat(ctx, path)
	if err != nil {
		return fetch.Info{}, err
	}
	// Readable by all needs every folder above to be so too, which one Stat cannot tell: never shared between users.
	return fetch.Info{Size: i.Size, Version: i.ModTime.UTC().Format("20060102T150405.000000000")}, nil
}

func (s storedFiles) Open(ctx context.Context, url string, user fetch.User) (io.ReadCloser, error) {
	fs, path, err := s.mux.Resolve(ctx, url, user.Name)
	if err != nil {
		return nil, err
	}
	return fs.Open(ctx, path)
}
