package stream

import (
	"errors"
	"io"

	"fairway/frameworks/mapreduce"
)

func arrowMapFeed(ctx *mapreduce.Context, in mapreduce.Records) feed {
	return func(w io.Writer, moved func()) error { return errors.ErrUnsupported }
}

func arrowReduceFeed(ctx *mapreduce.Context, in mapreduce.Records) feed {
	return func(w io.Writer, moved func()) error { return errors.ErrUnsupported }
}

func arrowDrain(ctx *mapreduce.Context, out mapreduce.Emitter) drain {
	return func(r io.Reader) error { return errors.ErrUnsupported }
}

func checkColumns(conf map[string]string) error { return nil }
