package service

import (
	"context"
	"net/http"
	"syscall"
	"time"

	v1 "fairway/broker/api/fairwayv1"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Host is what an agent tells a service about itself, and what it does for it.
type Host struct {
	AgentID    string        // empty before the first registration ever
	Name       string        // host name
	Resources  *v1.Resources // that the agent offers; it must not be changed
	WorkDir    string        // a folder of the service's own, kept over restarts; others may pass through it but not list it
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: none

	// Kill ends a task: SIGTERM to its process group, SIGKILL to all of it after grace. why becomes the message of its last
	// status, on one line, and is kept over a restart of the agent. It returns at once; an unknown or ended task is no error.
	Kill func(task *v1.TaskID, grace time.Duration, why string)
	// Report tells the engine that the service works for something of a job, beside its tasks and also after them; data must
	// not be changed, 1 KiB at most. The newest report about a job counts. It is said again in each session with the broker,
	// but not after a restart of the agent; of more than 1,000 jobs the oldest are forgotten.
	Report func(job string, data []byte)
	// Account finds an OS account; an agent that is not root finds only its own.
	Account func(name string) (Account, error)
}

// Account is an OS account of this host.
type Account struct {
	Name, Home string
	UID, GID   int
	Groups     []int
	// Switch tells that it is another than the agent's own: files made for it must be given to it.
	Switch bool
}

// Task is a task to be prepared.
type Task struct {
	Spec    *v1.TaskSpec
	Sandbox string  // its folder
	Account Account // who it will run as
}

// Launch is how a prepared task starts.
type Launch struct {
	Command *v1.Command // argv and env; the rest is ignored
	// Dir is the working folder; empty: the sandbox.
	Dir string
	// BareEnv tells that the environment is Command.env alone.
	BareEnv bool
	// MemoryLimitBytes is the hard limit of the container; 0: as in the task's resources.
	MemoryLimitBytes int64
	// HardCPU gives it no more cpu than its resources say, even if the host has some to spare.
	HardCPU bool
}

// Process is a started task. Its methods may be called from any goroutine, also after it has ended.
type Process interface {
	// PID is the first process, the leader of a session of its own; 0: unknown.
	PID() int
	// PIDs are all processes of the task now.
	PIDs() []int
	// Signal sends a signal to the first process's group.
	Signal(syscall.Signal) error
}

// Service is one auxiliary service. Start and Stop are called once each, in that order; the other methods between them,
// from any goroutine.
//
// A task that names the service goes through Prepare, Started (not if its start failed) and Ended. After a restart of the
// agent, Started is called again for a task that still runs, Ended for one that has ended meanwhile, and Prepare again for
// one whose container was never started.
type Service interface {
	// Name is what TaskSpec.service says: lower case letters, digits and dashes.
	Name() string
	// Start returns when the service is ready. Its goroutines end with Stop.
	Start(ctx context.Context, host Host) error
	// Stop ends the service; running tasks are not disturbed.
	Stop() error
	// Attributes are added to the agent's when it registers. They must not change.
	Attributes() map[string]string
	// Account names the OS account of a task; empty: as its command says. It must be quick.
	Account(task *v1.TaskSpec) string
	// Prepare completes the command of a task that names this service, after its files were fetched. It may wait; ctx ends
	// when the task is killed. An error fails the launch.
	Prepare(ctx context.Context, task Task) (*Launch, error)
	// Started tells that the task's program was executed.
	Started(task *v1.TaskSpec, p Process)
	// Resized tells that a task that was started has other resources now: those of task, whose revision counts such changes.
	// It may come before Started, and again after a restart of the agent. It returns the container's new limits as Launch
	// has them.
	Resized(task *v1.TaskSpec) (memoryLimitBytes int64, hardCPU bool)
	// Ended completes the message and data of a task's last status before it is reported; it may correct state and reason.
	// started tells that there was a container.
	Ended(task *v1.TaskSpec, status *v1.TaskStatus, started bool)
	// JobEnded tells that what is kept for a job may go. It may be called more than once for a job, or for an unknown one.
	JobEnded(job string)
	// JobsLive tells, after a registration, which jobs live; those that the service knows and that are not among them and
	// have no task here have ended. It comes before any task that is launched later, and must be quick.
	JobsLive(live map[string]bool)
	// Handler serves requests below /v1/services/NAME/ (the prefix is stripped); nil: none. It checks its callers itself.
	Handler() http.Handler
}
