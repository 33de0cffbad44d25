package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// maxMessage bounds what one message from a peer may take, in bytes.
const maxMessage = 16 << 20

// handshakeTimeout is how long a peer may take to speak HTTP/2.
const handshakeTimeout = 5 * time.Second

// Racks learns the rack of a host that does not know its own, from whoever does: HDFS's NameNode. It answers within
// ctx; ok false means that it does not know the host.
type Racks interface {
	RackOf(ctx context.Context, host string, addresses []string) (rack string, ok bool, err error)
}

// Options of a server.
type Options struct {
	Broker api.Broker
	// Socket is the path of the Unix socket; empty: none.
	Socket string
	// Listen is a TCP address; empty: none. Beyond loopback it needs CertFile and KeyFile, or Insecure.
	Listen            string
	CertFile, KeyFile string
	Insecure          bool
	// Token is what TCP callers must bear to be operators.
	Token     string
	VerifyJob func(token string) (api.Caller, bool)
	Operators []string
	Racks     Racks
	Log       *zap.Logger
}

// Server serves fairway.v1. Make it with New, which opens the sockets; Run serves until its context ends.
type Server struct {
	o         Options
	door      *door
	log       *zap.Logger
	unix, tcp net.Listener
	unixGRPC  *grpc.Server
	tcpGRPC   *grpc.Server
}

// New checks the options and opens the sockets.
func New(o Options) (*Server, error) {
	s := &Server{o: o, log: o.Log, door: &door{token: o.Token, verifyJob: o.VerifyJob, operators: map[string]bool{}, account: accountName}}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	for _, name := range o.Operators {
		s.door.operators[name] = true
	}
	common := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(64 << 20), grpc.MaxConcurrentStreams(10_000),
		grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(4 << 20),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.ChainUnaryInterceptor(s.recoverUnary), grpc.ChainStreamInterceptor(s.recoverStream),
	}
	if o.Socket != "" {
		l, err := listenUnix(o.Socket)
		if err != nil {
			return nil, err
		}
		s.unix = l
		s.unixGRPC = grpc.NewServer(append(common, grpc.Creds(peerCredentials{}))...)
		s.register(s.unixGRPC)
	}
	if o.Listen != "" {
		opts := common
		secure := o.CertFile != "" || o.KeyFile != ""
		if !secure && !o.Insecure && !loopback(o.Listen) {
			return nil, s.closeWith(fmt.Errorf("listening on %s, beyond loopback, needs tls.cert and tls.key, or --insecure if the network is trusted", o.Listen))
		}
		if o.Token == "" {
			return nil, s.closeWith(fmt.Errorf("listening on %s needs a token file", o.Listen))
		}
		if secure {
			creds, err := credentials.NewServerTLSFromFile(o.CertFile, o.KeyFile)
			if err != nil {
				return nil, s.closeWith(fmt.Errorf("TLS material: %w", err))
			}
			opts = append(opts, grpc.Creds(creds))
		}
		l, err := net.Listen("tcp", o.Listen)
		if err != nil {
			return nil, s.closeWith(fmt.Errorf("listen for agents and clients: %w", err))
		}
		s.tcp = l
		s.tcpGRPC = grpc.NewServer(opts...)
		s.register(s.tcpGRPC)
	}
	if s.unix == nil && s.tcp == nil {
		return nil, errors.New("neither a Unix socket nor a TCP address to listen on")
	}
	return s, nil
}

func (s *Server) closeWith(err error) error {
	if s.unix != nil {
		err = errors.Join(err, s.unix.Close())
	}
	return err
}

// Address is where TCP callers reach the server, host:port; "" without TCP.
func (s *Server) Address() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Run serves until ctx ends, then ends all sessions.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	serve := func(g *errgroup.Group, server *grpc.Server, l net.Listener) {
		if server == nil {
			return
		}
		g.Go(func() error { return server.Serve(l) })
		g.Go(func() error { <-ctx.Done(); server.Stop(); return nil })
	}
	serve(g, s.unixGRPC, s.unix)
	serve(g, s.tcpGRPC, s.tcp)
	err := g.Wait()
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// listenUnix takes over a socket that nobody serves any more and refuses one that somebody does.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > 100 {
		return nil, fmt.Errorf("the Unix socket's path %s is longer than the 100 characters that the system allows; set broker.socket to a shorter one", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("a broker already serves %s; stop it, or give another broker.socket", path)
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is no socket; give another broker.socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the Unix socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the Unix socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // who calls is known from the kernel; what he may do is decided per call
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (s *Server) register(g *grpc.Server) {
	v1.RegisterAgentServiceServer(g, agentService{s: s})
	v1.RegisterFrameworkServiceServer(g, frameworkService{s: s})
	v1.RegisterOperatorServiceServer(g, operatorService{s: s})
}

func (s *Server) recoverUnary(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (a any, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic in a call", zap.String("method", info.FullMethod), zap.Any("panic", r), zap.Stack("stack"))
			err = api.ToStatus(errors.New("internal error; the broker's log has the details"))
		}
	}()
	a, err = next(ctx, q)
	return a, api.ToStatus(err)
}

func (s *Server) recoverStream(srv any, st grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic in a stream", zap.String("method", info.FullMethod), zap.Any("panic", r), zap.Stack("stack"))
			err = api.ToStatus(errors.New("internal error; the broker's log has the details"))
		}
	}()
	return api.ToStatus(next(srv, st))
}
