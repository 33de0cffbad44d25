package input

import (
	"context"
	"errors"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Resolver finds the file system of a URL; *storage.Mux is one.
type Resolver interface {
	Resolve(ctx context.Context, url, user string) (fs storage.FS, path string, err error)
}

// Properties that Splits honours besides Job.SplitSize.
const (
	// RecordsProperty is the number of synthetic records of input format none, spread over Job.Maps splits; without it
	// each split has one record.
	RecordsProperty = "fairway.input.records"

	MinSizeProperty   = "mapreduce.input.fileinputformat.split.minsize"
	MaxSizeProperty   = "mapreduce.input.fileinputformat.split.maxsize"
	RecursiveProperty = "mapreduce.input.fileinputformat.input.dir.recursive"
)

// Splits lists the splits of a job's inputs, in order of input, name and offset, Index counting from 0.
//
// Names that start with _ or . are skipped in folders and globs. A file is cut at multiples of
// max(minsize, min(maxsize, block size)), or of Job.SplitSize if set; the last split may be 10 % longer. Compressed files
// are one split. Empty files give none, but an input of only empty files gives one. A missing input, a glob without a
// match, a folder that may not be read, a folder inside a folder (unless RecursiveProperty) are errors that name the URL.
func Splits(ctx context.Context, mux Resolver, job *spec.Job) ([]spec.Split, error) {
	return nil, errors.ErrUnsupported
}
