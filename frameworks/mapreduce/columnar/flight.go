package columnar

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// flightRows keeps messages well below gRPC's usual limit of 4 MiB, unless rows are very long.
const flightRows = 8 << 10

// maxTicket bounds a path in a request.
const maxTicket = 4096

// Server serves results by Arrow Flight: DoGet with a ticket that is a storage URL streams that result. Callers show the
// token in the header "authorization: Bearer TOKEN".
type Server struct {
	// Fill writes the result at a URL to a stream. It decides which URLs may be read.
	Fill func(ctx context.Context, url string, to *Stream) error
	// Token that callers must show; it must not be empty.
	Token string

	flight.BaseFlightServer
}

// Serve answers on l until ctx ends; then running streams are cut. l must listen on loopback: the protocol is not
// encrypted.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if s.Token == "" {
		return errors.New("flight server: a token is needed")
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		return fmt.Errorf("flight server: %v is not loopback, and the protocol is not encrypted", a)
	}
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(64<<10), // requests are tickets
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := s.authorize(ss.Context()); err != nil {
				return err
			}
			return next(srv, ss)
		}),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := s.authorize(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
	)
	flight.RegisterFlightServiceServer(g, s)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Serve(l) })
	group.Go(func() error {
		<-gctx.Done()
		g.Stop()
		return nil
	})
	return group.Wait()
}

func (s *Server) authorize(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, h := range md.Get("authorization") {
		if subtle.ConstantTimeCompare([]byte(h), []byte("Bearer "+s.Token)) == 1 {
			return nil
		}
	}
	return status.Error(codes.Unauthenticated, "show the token in the header \"authorization: Bearer TOKEN\"")
}

// GetFlightInfo answers where a path can be had: here, with the path as ticket.
func (s *Server) GetFlightInfo(_ context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if d.GetType() != flight.DescriptorPATH || len(d.GetPath()) != 1 || len(d.GetPath()[0]) > maxTicket {
		return nil, status.Error(codes.InvalidArgument, "name one storage URL as path")
	}
	return &flight.FlightInfo{
		FlightDescriptor: d, TotalRecords: -1, TotalBytes: -1,
		Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: []byte(d.GetPath()[0])}}},
	}, nil
}

// DoGet streams a result.
func (s *Server) DoGet(t *flight.Ticket, ss flight.FlightService_DoGetServer) error {
	url := string(t.GetTicket())
	if url == "" || len(url) > maxTicket {
		return status.Error(codes.InvalidArgument, "the ticket must be a storage URL")
	}
	to := &Stream{mem: memory.DefaultAllocator, most: flightRows, open: func(schema *arrow.Schema) *ipc.Writer {
		return flight.NewRecordWriter(ss, ipc.WithSchema(schema), ipc.WithDictionaryDeltas(true)).Writer
	}}
	err := guarded(url, func() error { return s.Fill(ss.Context(), url, to) })
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, fs.ErrPermission):
		return status.Error(codes.PermissionDenied, err.Error())
	case ss.Context().Err() != nil:
		return status.FromContextError(ss.Context().Err()).Err()
	}
	return status.Error(codes.DataLoss, err.Error())
}

// Fetch gets a result from a Server at a loopback address and writes it to w as an IPC stream.
func Fetch(ctx context.Context, address, token, url string, w io.Writer) error {
	return fetch(ctx, memory.DefaultAllocator, address, token, url, w)
}

func fetch(ctx context.Context, mem memory.Allocator, address, token, url string, w io.Writer) error {
	c, err := flight.NewClientWithMiddlewareCtx(ctx, address, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return fmt.Errorf("flight %s: %w", address, err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
	defer cancel()
	ss, err := c.DoGet(ctx, &flight.Ticket{Ticket: []byte(url)})
	if err != nil {
		return fmt.Errorf("flight %s: %w", address, err)
	}
	return guarded("flight "+address, func() error {
		in, err := flight.NewRecordReader(ss, ipc.WithAllocator(bounded{mem}))
		if err != nil {
			return fmt.Errorf("flight %s: %s: %w", address, url, err)
		}
		defer in.Release()
		out := ipc.NewWriter(marked{w}, ipc.WithSchema(in.Schema()), ipc.WithAllocator(mem), ipc.WithDictionaryDeltas(true))
		for in.Next() {
			if err := out.Write(in.Record()); err != nil {
				return finish(out, err)
			}
		}
		if err := in.Err(); err != nil {
			return finish(out, fmt.Errorf("flight %s: %s: %w", address, url, err))
		}
		return finish(out, nil)
	})
}
