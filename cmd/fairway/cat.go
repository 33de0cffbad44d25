package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"fairway/frameworks/storage"
)

func (a *app) catCommand() *cobra.Command {
	var arrow bool
	c := &cobra.Command{
		Use: "cat URL...", Short: "Print files, or the results in a job's output folder", Args: cobra.MinimumNArgs(1),
		Long: `Cat prints files, or the part files of an output folder in order. With --arrow it writes
one Arrow IPC stream of the rows of Parquet, Arrow or text results, for pyarrow and others.`,
		Example: "  fairway cat hdfs:///counts\n  fairway cat --arrow hdfs:///counts | python3 -c 'import pyarrow as pa, sys; print(pa.ipc.open_stream(sys.stdin.buffer).read_all())'",
		RunE: func(c *cobra.Command, args []string) error {
			mux, err := a.mux()
			if err != nil {
				return err
			}
			defer mux.Close()
			w := bufio.NewWriterSize(c.OutOrStdout(), 256<<10)
			for _, url := range args {
				if err := cat(c.Context(), mux, url, arrow, w); err != nil {
					return quietPipe(err)
				}
			}
			return quietPipe(w.Flush())
		},
	}
	c.Flags().BoolVar(&arrow, "arrow", false, "write one Arrow IPC stream")
	return c
}

// quietPipe takes the end of a reader such as head for success.
func quietPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// parts are the files behind a URL: the file itself, or the visible files of a folder in the order of their names.
func parts(ctx context.Context, mux *storage.Mux, url string) (storage.FS, []storage.Info, error) {
	fs, p, err := mux.Resolve(ctx, url, "")
	if err != nil {
		return nil, nil, err
	}
	info, err := fs.Stat(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir {
		return fs, []storage.Info{info}, nil
	}
	list, err := fs.List(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	var files []storage.Info
	for _, i := range list {
		if name := path.Base(i.Path); !i.IsDir && !strings.HasPrefix(name, "_") && !strings.HasPrefix(name, ".") {
			files = append(files, i)
		}
	}
	return fs, files, nil
}

func copyFile(ctx context.Context, fs storage.FS, p string, w io.Writer) error {
	f, err := fs.Open(ctx, p)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, f, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("read %s: %w", p, err)
	}
	return nil
}

func cat(ctx context.Context, mux *storage.Mux, url string, arrow bool, w io.Writer) error {
	if arrow {
		return catArrow(ctx, mux, url, w)
	}
	fs, files, err := parts(ctx, mux, url)
	if err != nil {
		return err
	}
	for _, i := range files {
		if err := copyFile(ctx, fs, i.Path, w); err != nil {
			return err
		}
	}
	return nil
}
