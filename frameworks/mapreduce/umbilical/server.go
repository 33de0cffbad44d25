package umbilical

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
)

// CommitLimit is how long an attempt may take from the grant to the end of its commit; it gives up then, so that the
// grant of an attempt that cannot be reached may pass to another some time later.
const CommitLimit = 15 * time.Second

// helloLimit is how long a new stream may stay silent.
const helloLimit = 30 * time.Second

// Handler gets what attempts say. Message is called by the stream's own goroutine, in the stream's order; messages are
// within bounds and the first of a stream is Hello. It may wait; the attempt then waits too.
type Handler interface {
	Message(sequence uint64, m *pb.TaskMessage)
}

// Server is the coordinator's end of all its attempts' streams.
type Server struct {
	pb.UnimplementedUmbilicalServiceServer
	handler Handler
	log     *zap.Logger
	secret  atomic.Pointer[[]byte]

	mu      sync.Mutex
	streams map[uint64]*outbox // by task sequence; the newest of each
}

// NewServer returns a server that refuses all attempts until SetSecret.
func NewServer(h Handler, log *zap.Logger) *Server {
	if log == nil {
		log = zap.NewNop()
	}
	return &Server{handler: h, log: log, streams: make(map[uint64]*outbox)}
}

// SetSecret sets the job's secret that attempts must know.
func (s *Server) SetSecret(secret []byte) { s.secret.Store(&secret) }

// Serve accepts attempts until ctx ends, then closes the listener and all streams.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(16),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(1<<20),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	pb.RegisterUmbilicalServiceServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	err := g.Serve(l)
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Send queues a message for an attempt. Without a stream of it the message is dropped: an attempt that calls again says
// Hello, and is told all anew.
func (s *Server) Send(sequence uint64, m *pb.CoordinatorMessage) {
	s.mu.Lock()
	o := s.streams[sequence]
	s.mu.Unlock()
	if o != nil {
		o.add(m)
	}
}

// Attempt serves one stream.
func (s *Server) Attempt(stream grpc.BidiStreamingServer[pb.TaskMessage, pb.CoordinatorMessage]) error {
	secret := s.secret.Load()
	if secret == nil {
		return status.Error(codes.Unavailable, "the job is not registered yet")
	}
	framework, sequence, err := authenticate(stream.Context(), *secret)
	if err != nil {
		return err
	}
	o := &outbox{wake: make(chan struct{}, 1)}
	received := make(chan error, 1)
	hello := make(chan struct{})
	go func() { received <- s.receive(stream, framework, sequence, o, hello) }() // ends with the stream
	defer s.forget(sequence, o)

	silent := time.NewTimer(helloLimit)
	defer silent.Stop()
	for {
		select {
		case <-o.wake:
			for _, m := range o.take() {
				if err := stream.Send(m); err != nil {
					return err
				}
			}
		case <-hello:
			silent.Stop()
			hello = nil
		case <-silent.C:
			return status.Error(codes.DeadlineExceeded, "no hello")
		case err := <-received:
			for _, m := range o.take() { // the last word, such as Finished
				if stream.Send(m) != nil {
					break
				}
			}
			return err
		}
	}
}

func (s *Server) receive(stream grpc.BidiStreamingServer[pb.TaskMessage, pb.CoordinatorMessage], framework string,
	sequence uint64, o *outbox, hello chan<- struct{}) error {
	first := true
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil // the attempt has ended, or calls again
		}
		if err := clean(m); err != nil {
			return status.Errorf(codes.InvalidArgument, "umbilical of task %d: %v", sequence, err)
		}
		if h := m.GetHello(); (h != nil) != first || first && (h.Framework != framework || h.Sequence != sequence) {
			return status.Error(codes.InvalidArgument, "a stream begins with its own hello")
		}
		if first {
			first = false
			close(hello)
			s.mu.Lock()
			s.streams[sequence] = o
			s.mu.Unlock()
		}
		s.handler.Message(sequence, m)
	}
}

func (s *Server) forget(sequence uint64, o *outbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[sequence] == o {
		delete(s.streams, sequence)
	}
}

// outbox is the queue of one stream. What can lie in it is bounded by the job: an assignment and one output of each map.
type outbox struct {
	mu   sync.Mutex
	q    []*pb.CoordinatorMessage
	wake chan struct{}
}

func (o *outbox) add(m *pb.CoordinatorMessage) {
	o.mu.Lock()
	if n := len(o.q); n > 0 && m.GetOutputs() != nil && o.q[n-1].GetOutputs() != nil && len(o.q[n-1].GetOutputs().Outputs) < 4096 {
		last := o.q[n-1].GetOutputs()
		last.Outputs = append(last.Outputs, m.GetOutputs().Outputs...)
	} else {
		o.q = append(o.q, m)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) take() []*pb.CoordinatorMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.q
	o.q = nil
	return q
}
