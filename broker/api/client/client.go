package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// MaxMessage bounds a message in either direction, in bytes.
const MaxMessage = 64 << 20

// Options of a connection.
type Options struct {
	// Address is unix:///path/of/broker.sock or host:port.
	Address string
	// Token is sent as bearer token; TokenFile names a file that holds it. A Unix socket needs none.
	Token     string
	TokenFile string
	// CAFile holds the certificates that the broker's must chain to; it switches TLS on, except on a Unix socket, where
	// the kernel vouches for both sides.
	CAFile string
	// Dialer replaces the network in tests.
	Dialer func(context.Context, string) (net.Conn, error)
	// Timeout bounds a unary call that has no deadline of its own; 0: 30 s.
	Timeout time.Duration
}

// Client is a connection to a broker. It implements api.Broker and is safe for concurrent use.
type Client struct {
	conn    *grpc.ClientConn
	op      v1.OperatorServiceClient
	address string
	timeout time.Duration
}

var _ api.Broker = (*Client)(nil)

type bearer struct{ token string }

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}
func (b bearer) RequireTransportSecurity() bool { return false }

// Reconnect is how a connection that broke is made again. Who calls waits and jitters by himself; the library's own wait,
// two minutes at most as it comes, would keep a host away for as long after its cable is plugged in again.
var Reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 10 * time.Second,
}

// Dial prepares a connection; the broker is first reached by the first call. An error means unusable options.
func Dial(o Options) (*Client, error) {
	if o.Address == "" {
		return nil, errors.New("no broker address: give --broker, set FAIRWAY_BROKER, or start one with 'fairway dev'")
	}
	token := o.Token
	if token == "" && o.TokenFile != "" {
		b, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the broker's token: %w (ask the operator for read access to the file)", err)
		}
		token = strings.TrimSpace(string(b))
	}
	opts := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithConnectParams(Reconnect),
	}
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer{token}))
	}
	if o.CAFile != "" && !local(o.Address) {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the broker's certificate authority: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.CAFile)
		}
		opts = append(opts, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})))
	} else {
		opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	target := o.Address
	if strings.HasPrefix(target, "/") {
		target = "unix://" + target
	}
	if o.Dialer != nil {
		opts = append(opts, grpc.WithContextDialer(o.Dialer))
		target = "passthrough:///" + target
	} else if !local(target) {
		if _, _, err := net.SplitHostPort(target); err != nil {
			return nil, fmt.Errorf("broker address %q: want unix:///path or host:port", o.Address)
		}
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("broker address %q: %w", o.Address, err)
	}
	c := &Client{conn: conn, op: v1.NewOperatorServiceClient(conn), address: o.Address, timeout: o.Timeout}
	if c.timeout == 0 {
		c.timeout = 30 * time.Second
	}
	return c, nil
}

// local tells a Unix socket.
func local(address string) bool {
	return strings.HasPrefix(address, "/") || strings.HasPrefix(address, "unix:")
}

// Address is where the broker is, as given.
func (c *Client) Address() string { return c.address }

// Close ends the connection and all sessions over it.
func (c *Client) Close() error { return c.conn.Close() }

// explain names the broker in errors of a connection that could not be made.
func (c *Client) explain(err error) error {
	err = api.FromStatus(err)
	if errors.Is(err, api.ErrUnavailable) && strings.Contains(err.Error(), "connection error") {
		return fmt.Errorf("no broker answers at %s (is 'fairway broker' or 'fairway dev' running there?): %w", c.address, err)
	}
	return err
}

func call[Q, A any](c *Client, ctx context.Context, f func(context.Context, *Q, ...grpc.CallOption) (*A, error), q *Q) (*A, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	a, err := f(ctx, q)
	if err != nil {
		return nil, c.explain(err)
	}
	return a, nil
}

// GetCluster implements api.Broker.
func (c *Client) GetCluster(ctx context.Context, _ api.Caller) (*v1.Cluster, error) {
	return call(c, ctx, c.op.GetCluster, &v1.GetClusterRequest{})
}

// ListRoles implements api.Broker.
func (c *Client) ListRoles(ctx context.Context, _ api.Caller) ([]*v1.Role, error) {
	r, err := call(c, ctx, c.op.ListRoles, &v1.ListRolesRequest{})
	return r.GetRoles(), err
}

// SetRole implements api.Broker.
func (c *Client) SetRole(ctx context.Context, _ api.Caller, r *v1.SetRoleRequest) (*v1.Role, error) {
	return call(c, ctx, c.op.SetRole, r)
}

// RemoveRole implements api.Broker.
func (c *Client) RemoveRole(ctx context.Context, _ api.Caller, path string) error {
	_, err := call(c, ctx, c.op.RemoveRole, &v1.RemoveRoleRequest{Path: path})
	return err
}

// ListAgents implements api.Broker.
func (c *Client) ListAgents(ctx context.Context, _ api.Caller, r *v1.ListAgentsRequest) (*v1.ListAgentsResponse, error) {
	return call(c, ctx, c.op.ListAgents, r)
}

// DrainAgent implements api.Broker.
func (c *Client) DrainAgent(ctx context.Context, _ api.Caller, r *v1.DrainAgentRequest) (*v1.Agent, error) {
	return call(c, ctx, c.op.DrainAgent, r)
}

// UndrainAgent implements api.Broker.
func (c *Client) UndrainAgent(ctx context.Context, _ api.Caller, r *v1.UndrainAgentRequest) (*v1.Agent, error) {
	return call(c, ctx, c.op.UndrainAgent, r)
}

// SubmitJob implements api.Broker.
func (c *Client) SubmitJob(ctx context.Context, _ api.Caller, r *v1.SubmitJobRequest) (*v1.Job, error) {
	return call(c, ctx, c.op.SubmitJob, r)
}

// ListJobs implements api.Broker.
func (c *Client) ListJobs(ctx context.Context, _ api.Caller, r *v1.ListJobsRequest) (*v1.ListJobsResponse, error) {
	return call(c, ctx, c.op.ListJobs, r)
}

// GetJob implements api.Broker.
func (c *Client) GetJob(ctx context.Context, _ api.Caller, id string) (*v1.Job, error) {
	return call(c, ctx, c.op.GetJob, &v1.GetJobRequest{Id: id})
}

// KillJob implements api.Broker.
func (c *Client) KillJob(ctx context.Context, _ api.Caller, id, reason string) (*v1.Job, error) {
	return call(c, ctx, c.op.KillJob, &v1.KillJobRequest{Id: id, Reason: reason})
}

// ExplainJob implements api.Broker.
func (c *Client) ExplainJob(ctx context.Context, _ api.Caller, id string) (*v1.Explanation, error) {
	return call(c, ctx, c.op.ExplainJob, &v1.GetJobRequest{Id: id})
}

// ListTasks implements api.Broker.
func (c *Client) ListTasks(ctx context.Context, _ api.Caller, r *v1.ListTasksRequest) (*v1.ListTasksResponse, error) {
	return call(c, ctx, c.op.ListTasks, r)
}

// GetHistory implements api.Broker.
func (c *Client) GetHistory(ctx context.Context, _ api.Caller, since int64) (*v1.History, error) {
	return call(c, ctx, c.op.GetHistory, &v1.GetHistoryRequest{SinceUnixNanos: since})
}

// WatchJob implements api.Broker.
func (c *Client) WatchJob(ctx context.Context, _ api.Caller, id string, each func(*v1.Job) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.op.WatchJob(ctx, &v1.GetJobRequest{Id: id})
	return c.drain(s, err, each)
}

// WatchJobs implements api.Broker.
func (c *Client) WatchJobs(ctx context.Context, _ api.Caller, snapshot bool, each func(*v1.Job) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := c.op.WatchJobs(ctx, &v1.WatchJobsRequest{Snapshot: snapshot})
	return c.drain(s, err, each)
}

func (c *Client) drain(s grpc.ServerStreamingClient[v1.Job], err error, each func(*v1.Job) error) error {
	if err != nil {
		return c.explain(err)
	}
	for {
		job, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
		if err := each(job); err != nil {
			return err
		}
	}
}

// OpenFramework implements api.Broker. The session lives until ctx ends, Close, or the broker ends it.
func (c *Client) OpenFramework(ctx context.Context, _ api.Caller) (api.FrameworkSession, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := v1.NewFrameworkServiceClient(c.conn).Session(ctx)
	if err != nil {
		cancel()
		return nil, c.explain(err)
	}
	return newFrameworkSession(c, s, cancel), nil
}

// OpenAgent implements api.Broker, in the same way.
func (c *Client) OpenAgent(ctx context.Context, _ api.Caller) (api.AgentSession, error) {
	ctx, cancel := context.WithCancel(ctx)
	s, err := v1.NewAgentServiceClient(c.conn).Session(ctx)
	if err != nil {
		cancel()
		return nil, c.explain(err)
	}
	return newAgentSession(c, s, cancel), nil
}
