package task

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
)

// RunReduce runs one reduce attempt to its end; when it returns nil the attempt's output is committed.
func RunReduce(ctx context.Context, a ReduceArgs) error {
	if a.Reporter == nil {
		a.Reporter = &noReporter{}
	}
	if a.Log == nil {
		a.Log = zap.NewNop()
	}
	if a.Commit == nil {
		a.Commit = func(context.Context) error { return nil }
	}
	before := measure()
	r := &reduceTask{ReduceArgs: a, cx: &mapreduce.Context{
		Context: ctx, Job: a.Job, Kind: spec.Reduce, Index: a.Partition, Attempt: a.Attempt,
		Sandbox: a.Sandbox, Reporter: a.Reporter,
	}}
	err := r.run(ctx)
	before.report(a.Reporter)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("reduce %d: %w", a.Partition, err)
	}
	a.Reporter.Progress(1)
	return nil
}

type reduceTask struct {
	ReduceArgs
	cx *mapreduce.Context
}

func (r *reduceTask) run(ctx context.Context) error {
	failures := taskCounter(r.Reporter, "FAILED_SHUFFLE")
	set, err := r.Fetch.Gather(ctx, shuffle.Request{
		Maps: r.Maps, Outputs: r.Outputs, Memory: budget(r.Memory, r.Job.Reducer), Folder: r.Sandbox,
		Failed: func(out spec.MapOutput, err error) {
			failures.Add(1)
			r.blame(out, err)
		},
		Again: func(out spec.MapOutput, err error) {
			r.Log.Warn("map output did not come, trying again", zap.Int("map", out.Map), zap.String("address", out.Address), zap.Error(err))
		},
		Progress: func(fetched int) {
			r.Reporter.Progress(float64(fetched) / float64(r.Maps) / 3)
		},
		Bytes:   taskCounter(r.Reporter, "REDUCE_SHUFFLE_BYTES"),
		Spilled: taskCounter(r.Reporter, "SPILLED_RECORDS"),
	})
	if err != nil {
		return err
	}
	taskCounter(r.Reporter, "SHUFFLED_MAPS").Add(int64(r.Maps))
	err = r.reduce(ctx, set)
	if err != nil {
		if out, ok := set.Blame(err); ok {
			r.blame(out, err)
		}
	}
	return errors.Join(err, set.Close())
}

func (r *reduceTask) blame(out spec.MapOutput, err error) {
	r.Log.Warn("map output cannot be had", zap.Int("map", out.Map), zap.Int("attempt", out.Attempt),
		zap.String("address", out.Address), zap.Error(err))
	if r.FetchFailed != nil {
		r.FetchFailed(out, err)
	}
}

func (r *reduceTask) reduce(ctx context.Context, set *shuffle.Set) error {
	merged, err := set.Merge(ctx)
	if err != nil {
		return err
	}
	total := max(set.Records(), 1)
	r.Reporter.Progress(2.0 / 3)
	in := &groupCounter{
		ctx: ctx, in: merged,
		records: taskCounter(r.Reporter, "REDUCE_INPUT_RECORDS"),
		groups:  taskCounter(r.Reporter, "REDUCE_INPUT_GROUPS"),
		progress: func(n int64) {
			r.Reporter.Progress(2.0/3 + float64(n)/float64(total)/3)
		},
	}
	return writeOutput(ctx, outputArgs{
		job: r.Job, kind: spec.Reduce, index: r.Partition, attempt: r.Attempt, mux: r.Mux, reporter: r.Reporter,
		commit: r.Commit, records: taskCounter(r.Reporter, "REDUCE_OUTPUT_RECORDS"),
	}, func(out mapreduce.Emitter) error {
		return runReducer(r.cx, r.Job.Reducer, r.Registry, r.Programs, in, out)
	})
}
