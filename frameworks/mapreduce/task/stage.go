package task

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/sorter"
	"fairway/frameworks/mapreduce/spec"
)

// ErrNoPrograms says that a job's stage is a program and this binary runs none.
var ErrNoPrograms = errors.New("this binary runs no programs")

// runReducer runs a stage over sorted records; an absent one passes them on.
func runReducer(cx *mapreduce.Context, stage spec.Stage, reg *mapreduce.Registry, programs mapreduce.Programs,
	in *groupCounter, out mapreduce.Emitter) error {
	switch {
	case len(stage.Program) > 0:
		if programs == nil {
			return ErrNoPrograms
		}
		return programs.Reduce(cx, stage, in, out)
	case stage.Function == "":
		return pass(in, out)
	}
	f, err := reg.FindReducer(stage.Function)
	if err != nil {
		return err
	}
	r := f()
	if _, ok := r.(mapreduce.Identity); ok {
		return pass(in, out)
	}
	return reduceAll(cx, r, in, out)
}

func pass(in mapreduce.Records, out mapreduce.Emitter) error {
	return mapreduce.EachRecord(in, out.Emit)
}

// reduceAll runs a reducer with its set-up and clean-up.
func reduceAll(cx *mapreduce.Context, r mapreduce.Reducer, in mapreduce.Records, out mapreduce.Emitter) (err error) {
	defer closeAfter(r, &err)
	if s, ok := r.(mapreduce.Setup); ok {
		if err := s.Setup(cx); err != nil {
			return err
		}
	}
	return sorter.Reduce(cx, r, sorter.NewGroups(in), out)
}

// closeAfter closes a mapper or reducer that wants to be.
func closeAfter(f any, err *error) {
	if c, ok := f.(io.Closer); ok {
		*err = errors.Join(*err, c.Close())
	}
}

// combiner returns what the collector needs of the job's combiner: at most one of the two.
func combiner(cx *mapreduce.Context, reg *mapreduce.Registry, programs mapreduce.Programs) (*mapreduce.InPlace,
	sorter.Combine, error) {
	stage := cx.Job.Combiner
	if stage.None() {
		return nil, nil, nil
	}
	combining := *cx
	combining.Combining = true
	if len(stage.Program) > 0 {
		if programs == nil {
			return nil, nil, ErrNoPrograms
		}
		return nil, func(in mapreduce.Records, out mapreduce.Emitter) error {
			return programs.Reduce(&combining, stage, in, out)
		}, nil
	}
	c, err := reg.FindCombiner(stage.Function)
	if err != nil {
		return nil, nil, err
	}
	if c.InPlace != nil {
		return c.InPlace, nil, nil
	}
	return nil, func(in mapreduce.Records, out mapreduce.Emitter) error {
		return reduceAll(&combining, c.New(), in, out)
	}, nil
}

// safely turns a panic of a user's function into an error.
func safely(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}
