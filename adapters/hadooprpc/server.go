package hadooprpc

import (
	"context"
	"errors"
	"net"
)

// Server answers Hadoop clients.
type Server struct {
	o Options
}

// NewServer makes a server.
func NewServer(o Options) (*Server, error) {
	if !o.Simple && o.Secrets == nil {
		return nil, errors.New("hadooprpc: neither SIMPLE nor TOKEN")
	}
	return &Server{o: o}, nil
}

// Serve accepts until ctx ends, then lets calls in flight end and closes all. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	_ = ln.Close()
	return errors.New("hadooprpc: the server is not built yet")
}
