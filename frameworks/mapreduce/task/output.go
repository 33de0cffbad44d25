package task

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

type outputArgs struct {
	job      *spec.Job
	kind     string
	index    int
	attempt  int
	mux      *storage.Mux
	reporter spec.Reporter
	commit   func(ctx context.Context) error
	records  *atomic.Int64
}

// writeOutput makes the attempt's file by f and commits it if the grant is given; else it is removed.
func writeOutput(ctx context.Context, a outputArgs, f func(out mapreduce.Emitter) error) error {
	var fs storage.FS
	var path string
	if a.job.Output != "" {
		var err error
		if fs, path, err = openFS(ctx, a.mux, a.job.Output, a.job.User, a.reporter); err != nil {
			return err
		}
	}
	c := output.NewCommitter(fs, path, a.job)
	w, err := output.Create(ctx, a.job.OutputFormat, fs, c.TaskPath(a.kind, a.index, a.attempt), a.job.Conf)
	if err != nil {
		return err
	}
	out := &emitter{w: w, records: a.records}
	err = safely(func() error { return f(out) })
	out.flush()
	if cerr := w.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close output: %w", cerr)
	}
	if err == nil {
		if err = a.commit(ctx); err == nil {
			err = c.CommitTask(ctx, a.kind, a.index, a.attempt)
		}
	}
	if err != nil {
		// The attempt may have been stopped; what it wrote goes all the same.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return errors.Join(err, c.AbortTask(clean, a.kind, a.index, a.attempt))
	}
	return nil
}

// emitter writes records to the output.
type emitter struct {
	w       output.Writer
	records *atomic.Int64
	n       int64
	number  [24]byte
}

func (e *emitter) Emit(key, value []byte) error {
	if e.n++; e.n == 4096 {
		e.flush()
	}
	return e.w.Write(key, value)
}

func (e *emitter) EmitInt(key []byte, n int64) error {
	return e.Emit(key, strconv.AppendInt(e.number[:0], n, 10))
}

func (e *emitter) flush() {
	e.records.Add(e.n)
	e.n = 0
}
