package stream

import (
	"errors"
	"io"
	"os"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
)

// arrowMapFeed gives a mapper record batches: of text the column line, of Parquet and Arrow files their own columns, of
// everything else the columns key and value.
func arrowMapFeed(ctx *mapreduce.Context, in mapreduce.Records) feed {
	if r, ok := plainReader(in).(*columnar.Reader); ok {
		records := ctx.Counter(spec.TaskCounters, "MAP_INPUT_RECORDS") // nobody else sees these rows
		return func(w io.Writer, moved func()) error {
			return r.WriteStream(w, func(rows int64) { records.Add(rows); moved() })
		}
	}
	chunks, ok := in.(input.ChunkReader)
	if !ok || !(ctx.Job.InputFormat == "" || ctx.Job.InputFormat == input.Text) {
		return arrowReduceFeed(ctx, in)
	}
	return func(w io.Writer, moved func()) error {
		binary, err := columnar.LineBinary(ctx.Job.Conf)
		if err != nil {
			return err
		}
		name := "input"
		if ctx.Split != nil {
			name = ctx.Split.URL
		}
		return columnar.WriteLines(w, name, chunks.NextChunk, binary, moved)
	}
}

// arrowReduceFeed gives a program the columns key and value.
func arrowReduceFeed(ctx *mapreduce.Context, in mapreduce.Records) feed {
	return func(w io.Writer, moved func()) error {
		cols, err := columnar.ProgramColumns(ctx.Job.Conf)
		if err != nil {
			return err
		}
		return columnar.WriteRecords(w, in.Next, cols, moved)
	}
}

// arrowDrain emits the rows that a program writes.
func arrowDrain(out mapreduce.Emitter) drain {
	return func(r io.Reader) error {
		err := columnar.ReadRecords(r, out)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // the deadline after a kill: the program's end will tell
		}
		var bad *columnar.StreamError
		if errors.As(err, &bad) {
			return outputError{bad}
		}
		return err
	}
}

func checkColumns(conf map[string]string) error { return columnar.CheckPrograms(conf) }
