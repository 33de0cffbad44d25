package coordinator

import (
	"context"
	"errors"
)

var errNotBuilt = errors.New("coordinator: not built yet")

// Run runs a job to its end. The error is nil only if it succeeded; the result says more, also with an error.
func Run(ctx context.Context, o Options) (Result, error) { return Result{}, errNotBuilt }

// Main is the coordinator's process: it reads the job's description and the environment that the agent has set, and
// runs the job.
func Main(ctx context.Context, c Config) error { return errNotBuilt }
