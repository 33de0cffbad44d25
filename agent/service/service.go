package service

import (
	"context"
	"net/http"

	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
)

// Host is what an agent tells a service about itself.
type Host struct {
	AgentID string // empty before the first registration ever
	Name    string // host name
	WorkDir string // a folder of the service's own, kept over restarts
	Log     *zap.Logger
}

// Service is one auxiliary service. Start and Stop are called once each, in that order; the other methods between them,
// from any goroutine.
type Service interface {
	// Name is what TaskSpec.service says: lower case letters, digits and dashes.
	Name() string
	// Start returns when the service is ready. Its goroutines end with Stop.
	Start(ctx context.Context, host Host) error
	// Stop ends the service; running tasks are not disturbed.
	Stop() error
	// Prepare completes the command of a task that names this service, after its files were fetched. The sandbox is the
	// task's folder. An error fails the launch.
	Prepare(ctx context.Context, task *v1.TaskSpec, sandbox string) (*v1.Command, error)
	// JobEnded tells that what is kept for a job may go. It may be called more than once for a job, or for an unknown one.
	JobEnded(job string)
	// Handler serves requests below /v1/services/NAME/ (the prefix is stripped); nil: none. It checks its callers itself.
	Handler() http.Handler
}
