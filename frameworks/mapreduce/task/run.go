package task

import (
	"context"
	"errors"
)

var errNotBuilt = errors.New("task: not built yet")

// RunMap runs one map attempt to its end.
func RunMap(ctx context.Context, a MapArgs) (MapResult, error) { return MapResult{}, errNotBuilt }

// RunReduce runs one reduce attempt to its end; when it returns nil the attempt's output is committed.
func RunReduce(ctx context.Context, a ReduceArgs) error { return errNotBuilt }
