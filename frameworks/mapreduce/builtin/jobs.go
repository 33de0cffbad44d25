package builtin

import (
	"context"
	"errors"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Register adds the functions of all built-in jobs.
func Register(r *mapreduce.Registry) {}

// Jobs makes a job from its arguments, by name: "wordcount" IN... OUT, "grep" IN OUT REGEX [GROUP], "sort" IN... OUT,
// "teragen" ROWS OUT, "terasort" IN OUT, "teravalidate" IN OUT, "pi" MAPS SAMPLES OUT. An error says how to use it.
var Jobs = map[string]func(args []string) (spec.Job, error){}

// SampleCuts returns the borders of a total-order job: job.Reduces-1 keys, ascending, so that each partition gets
// about as many records of the sample. It runs the job's mapper (a Go function) over the first records of a few splits.
func SampleCuts(ctx context.Context, job *spec.Job, splits []spec.Split, mux *storage.Mux,
	reg *mapreduce.Registry) ([][]byte, error) {
	return nil, errors.New("builtin: not built yet")
}
