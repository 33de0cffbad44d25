package hadooprpc

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/writable"
)

// ClientOptions say who calls and what.
type ClientOptions struct {
	Protocol string          // name of the Java interface
	Version  uint64          // 0 is 1
	User     string          // with SIMPLE
	RealUser string          // who impersonates User
	Token    *writable.Token // TOKEN instead of SIMPLE; a server that takes only SIMPLE is used so
}

// Client is one connection, for many calls at once.
type Client struct {
}

// Dial connects to addr and says who calls.
func Dial(ctx context.Context, addr string, o ClientOptions) (*Client, error) {
	return nil, errors.New("hadooprpc: the client is not built yet")
}

// Call calls a method and waits for its answer or the end of ctx. An answer of the server that is no success is an
// *Exception; any other error ends the connection.
func (c *Client) Call(ctx context.Context, method string, request, response proto.Message) error {
	return errors.New("hadooprpc: the client is not built yet")
}

// Close ends the connection; calls in flight fail.
func (c *Client) Close() error { return nil }
