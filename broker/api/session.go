package api

import (
	"context"
	"errors"

	v1 "fairway/broker/api/fairwayv1"
)

// Errors that sessions and calls end with, wrapped with detail. The server maps them to gRPC codes and the client back.
var (
	ErrUnavailable  = errors.New("unavailable, try again") // full mailbox, recovering, no leader
	ErrDenied       = errors.New("permission denied")
	ErrNotFound     = errors.New("not found")
	ErrInvalid      = errors.New("invalid argument")
	ErrExists       = errors.New("already exists")
	ErrFenced       = errors.New("superseded by a newer session") // another registration took the place of this one
	ErrSessionEnded = errors.New("session ended")
)

// Caller is who speaks, as the door found it: by peer credentials, by token or by certificate.
type Caller struct {
	User     string // OS account or token's subject
	UID      int    // -1: unknown
	Operator bool   // may do everything, for any user
	JobID    string // a coordinator's token: may speak for this job only
	Remote   string // address, for logs
}

// FrameworkSession is one framework's conversation with a broker. The first call is Register; events come in the
// broker's order. Send never waits for the broker's disk: it fails with ErrUnavailable when the mailbox is full.
// Kills and acknowledgements are never refused for load. Events is closed when the session has ended; Err says why then.
// Messages belong to the receiver once sent.
type FrameworkSession interface {
	Send(call *v1.FrameworkCall) error
	Events() <-chan *v1.FrameworkEvent
	Err() error
	Close() error
}

// AgentSession is one registration of an agent, used in the same way.
type AgentSession interface {
	Send(message *v1.AgentMessage) error
	Commands() <-chan *v1.AgentCommand
	Err() error
	Close() error
}

// Broker is all that a broker does for others. core implements it in process and client over gRPC.
type Broker interface {
	OpenFramework(ctx context.Context, caller Caller) (FrameworkSession, error)
	OpenAgent(ctx context.Context, caller Caller) (AgentSession, error)

	GetCluster(ctx context.Context, caller Caller) (*v1.Cluster, error)
	ListRoles(ctx context.Context, caller Caller) ([]*v1.Role, error)
	SetRole(ctx context.Context, caller Caller, r *v1.SetRoleRequest) (*v1.Role, error)
	RemoveRole(ctx context.Context, caller Caller, path string) error
	ListAgents(ctx context.Context, caller Caller, r *v1.ListAgentsRequest) (*v1.ListAgentsResponse, error)
	// DrainAgent takes an agent out of service, for operators; UndrainAgent puts it back.
	DrainAgent(ctx context.Context, caller Caller, r *v1.DrainAgentRequest) (*v1.Agent, error)
	UndrainAgent(ctx context.Context, caller Caller, r *v1.UndrainAgentRequest) (*v1.Agent, error)
	SubmitJob(ctx context.Context, caller Caller, r *v1.SubmitJobRequest) (*v1.Job, error)
	ListJobs(ctx context.Context, caller Caller, r *v1.ListJobsRequest) (*v1.ListJobsResponse, error)
	GetJob(ctx context.Context, caller Caller, id string) (*v1.Job, error)
	KillJob(ctx context.Context, caller Caller, id, reason string) (*v1.Job, error)
	// WatchJob calls each with the job now and after each change until it has ended, each fails, or ctx ends.
	WatchJob(ctx context.Context, caller Caller, id string, each func(*v1.Job) error) error
	WatchJobs(ctx context.Context, caller Caller, snapshot bool, each func(*v1.Job) error) error
	ExplainJob(ctx context.Context, caller Caller, id string) (*v1.Explanation, error)
	ListTasks(ctx context.Context, caller Caller, r *v1.ListTasksRequest) (*v1.ListTasksResponse, error)
	GetHistory(ctx context.Context, caller Caller, sinceUnixNanos int64) (*v1.History, error)
}

// ClusterWatcher is what a broker does for others in its own process only.
type ClusterWatcher interface {
	// WatchCluster calls each at once, and again after changes of agents, of roles, or of what tasks hold, once they are
	// durable: what ListAgents and ListRoles say then shows them. Changes that come while each runs are told together. It ends
	// when each fails, ctx ends, or the broker does not serve any more.
	WatchCluster(ctx context.Context, caller Caller, each func() error) error
	// WatchReports calls each with what agents' services of a name have said last of the jobs that are known, in no order, and
	// then with what they say. Of two reports of an agent about a job that come while each runs, only the later is told. A
	// report must not be changed. It ends as WatchCluster does.
	WatchReports(ctx context.Context, caller Caller, service string, each func(*v1.ServiceReport) error) error
}
