package core

import (
	"context"
	"errors"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Broker is a broker in this process. It answers ErrUnavailable until Run serves.
type Broker struct{ o Options }

var _ api.Broker = (*Broker)(nil)

var errNotYet = errors.New("not yet")

// New checks the options. The Broker serves while Run runs.
func New(o Options) (*Broker, error) {
	o.Config = o.Config.withDefaults()
	return &Broker{o}, o.Config.check()
}

// Run serves until ctx ends or the journal fails for good. It returns nil when ctx has ended.
func (b *Broker) Run(ctx context.Context) error { return errNotYet }

// VerifyJobToken tells who bears the token of a coordinator ("job:<id>:<hex HMAC>").
func (b *Broker) VerifyJobToken(token string) (api.Caller, bool) { return api.Caller{}, false }

// Ready is closed once the broker serves.
func (b *Broker) Ready() <-chan struct{} { return nil }

func (b *Broker) OpenFramework(ctx context.Context, caller api.Caller) (api.FrameworkSession, error) {
	return nil, errNotYet
}
func (b *Broker) OpenAgent(ctx context.Context, caller api.Caller) (api.AgentSession, error) {
	return nil, errNotYet
}
func (b *Broker) GetCluster(ctx context.Context, caller api.Caller) (*v1.Cluster, error) {
	return nil, errNotYet
}
func (b *Broker) ListRoles(ctx context.Context, caller api.Caller) ([]*v1.Role, error) {
	return nil, errNotYet
}
func (b *Broker) SetRole(ctx context.Context, caller api.Caller, r *v1.SetRoleRequest) (*v1.Role, error) {
	return nil, errNotYet
}
func (b *Broker) RemoveRole(ctx context.Context, caller api.Caller, path string) error {
	return errNotYet
}
func (b *Broker) ListAgents(ctx context.Context, caller api.Caller, r *v1.ListAgentsRequest) (*v1.ListAgentsResponse, error) {
	return nil, errNotYet
}
func (b *Broker) SubmitJob(ctx context.Context, caller api.Caller, r *v1.SubmitJobRequest) (*v1.Job, error) {
	return nil, errNotYet
}
func (b *Broker) ListJobs(ctx context.Context, caller api.Caller, r *v1.ListJobsRequest) (*v1.ListJobsResponse, error) {
	return nil, errNotYet
}
func (b *Broker) GetJob(ctx context.Context, caller api.Caller, id string) (*v1.Job, error) {
	return nil, errNotYet
}
func (b *Broker) KillJob(ctx context.Context, caller api.Caller, id, reason string) (*v1.Job, error) {
	return nil, errNotYet
}
func (b *Broker) WatchJob(ctx context.Context, caller api.Caller, id string, each func(*v1.Job) error) error {
	return errNotYet
}
func (b *Broker) WatchJobs(ctx context.Context, caller api.Caller, snapshot bool, each func(*v1.Job) error) error {
	return errNotYet
}
func (b *Broker) ExplainJob(ctx context.Context, caller api.Caller, id string) (*v1.Explanation, error) {
	return nil, errNotYet
}
func (b *Broker) ListTasks(ctx context.Context, caller api.Caller, r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
	return nil, errNotYet
}
func (b *Broker) GetHistory(ctx context.Context, caller api.Caller, sinceUnixNanos int64) (*v1.History, error) {
	return nil, errNotYet
}
