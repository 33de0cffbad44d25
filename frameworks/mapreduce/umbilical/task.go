package umbilical

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/storage"
)

// AddressEnv names the environment variable that tells an attempt where its coordinator listens.
const AddressEnv = "FAIRWAY_UMBILICAL"

// TaskConfig of RunTask.
type TaskConfig struct {
	Mux      *storage.Mux
	Registry *mapreduce.Registry
	Programs mapreduce.Programs  // nil: none
	Getenv   func(string) string // nil: os.Getenv
	Logger   *zap.Logger         // nil: none
}

// RunTask runs the attempt that this process was started for. An error means that it did not succeed; the coordinator
// knows it already, if it could be reached.
func RunTask(ctx context.Context, c TaskConfig) error { return errors.New("umbilical: not built yet") }
