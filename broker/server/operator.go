package server

import (
	"context"

	"google.golang.org/grpc"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

type operatorService struct {
	v1.UnimplementedOperatorServiceServer
	s *Server
}

// as runs a call as whoever makes it.
func as[A any](o operatorService, ctx context.Context, f func(api.Broker, api.Caller) (A, error)) (A, error) {
	caller, err := o.s.door.caller(ctx)
	if err != nil {
		var none A
		return none, err
	}
	return f(o.s.o.Broker, caller)
}

func (o operatorService) GetCluster(ctx context.Context, _ *v1.GetClusterRequest) (*v1.Cluster, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Cluster, error) { return b.GetCluster(ctx, c) })
}

func (o operatorService) ListRoles(ctx context.Context, _ *v1.ListRolesRequest) (*v1.ListRolesResponse, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.ListRolesResponse, error) {
		roles, err := b.ListRoles(ctx, c)
		return &v1.ListRolesResponse{Roles: roles}, err
	})
}

func (o operatorService) SetRole(ctx context.Context, q *v1.SetRoleRequest) (*v1.Role, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Role, error) { return b.SetRole(ctx, c, q) })
}

func (o operatorService) RemoveRole(ctx context.Context, q *v1.RemoveRoleRequest) (*v1.RemoveRoleResponse, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.RemoveRoleResponse, error) {
		return &v1.RemoveRoleResponse{}, b.RemoveRole(ctx, c, q.Path)
	})
}

func (o operatorService) ListAgents(ctx context.Context, q *v1.ListAgentsRequest) (*v1.ListAgentsResponse, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.ListAgentsResponse, error) { return b.ListAgents(ctx, c, q) })
}

func (o operatorService) DrainAgent(ctx context.Context, q *v1.DrainAgentRequest) (*v1.Agent, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Agent, error) { return b.DrainAgent(ctx, c, q) })
}

func (o operatorService) UndrainAgent(ctx context.Context, q *v1.UndrainAgentRequest) (*v1.Agent, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Agent, error) { return b.UndrainAgent(ctx, c, q) })
}

func (o operatorService) SubmitJob(ctx context.Context, q *v1.SubmitJobRequest) (*v1.Job, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Job, error) { return b.SubmitJob(ctx, c, q) })
}

func (o operatorService) ListJobs(ctx context.Context, q *v1.ListJobsRequest) (*v1.ListJobsResponse, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.ListJobsResponse, error) { return b.ListJobs(ctx, c, q) })
}

func (o operatorService) GetJob(ctx context.Context, q *v1.GetJobRequest) (*v1.Job, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Job, error) { return b.GetJob(ctx, c, q.Id) })
}

func (o operatorService) KillJob(ctx context.Context, q *v1.KillJobRequest) (*v1.Job, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Job, error) { return b.KillJob(ctx, c, q.Id, q.Reason) })
}

func (o operatorService) ExplainJob(ctx context.Context, q *v1.GetJobRequest) (*v1.Explanation, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.Explanation, error) { return b.ExplainJob(ctx, c, q.Id) })
}

func (o operatorService) ListTasks(ctx context.Context, q *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.ListTasksResponse, error) { return b.ListTasks(ctx, c, q) })
}

func (o operatorService) GetHistory(ctx context.Context, q *v1.GetHistoryRequest) (*v1.History, error) {
	return as(o, ctx, func(b api.Broker, c api.Caller) (*v1.History, error) { return b.GetHistory(ctx, c, q.SinceUnixNanos) })
}

func (o operatorService) WatchJob(q *v1.GetJobRequest, st grpc.ServerStreamingServer[v1.Job]) error {
	_, err := as(o, st.Context(), func(b api.Broker, c api.Caller) (struct{}, error) {
		return struct{}{}, b.WatchJob(st.Context(), c, q.Id, st.Send)
	})
	return err
}

func (o operatorService) WatchJobs(q *v1.WatchJobsRequest, st grpc.ServerStreamingServer[v1.Job]) error {
	_, err := as(o, st.Context(), func(b api.Broker, c api.Caller) (struct{}, error) {
		return struct{}{}, b.WatchJobs(st.Context(), c, q.Snapshot, st.Send)
	})
	return err
}
