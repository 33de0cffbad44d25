package hadooprpc

import (
	"context"
	"net"

	"google.golang.org/protobuf/proto"
)

// Caller is who calls, the same for all calls of a connection.
type Caller struct {
	User     string   // short or full name; of a token, what it stands for
	RealUser string   // who impersonates User, mostly ""
	Token    *Token   // what the connection was authenticated by, nil for SIMPLE
	Remote   net.Addr // the peer
	Protocol string   // what the connection was opened for; a call may be of another
	Value    any      // of the token's Secret: what the server knows about it, so that calls need not parse it again
}

// Token is a verified token.
type Token struct {
	Kind       string
	Identifier []byte
}

// Method answers a call. request is the message's bytes, valid until Method returns. ctx ends with the connection. The
// answer must not change after it was returned; nil is an empty message. An error that wraps an *Exception is answered with
// its class, any other as a YarnException.
type Method func(ctx context.Context, c *Caller, request []byte) (proto.Message, error)

// Handle makes a Method of a function that takes the decoded message.
//
//	"allocate": hadooprpc.Handle(func(ctx context.Context, c *hadooprpc.Caller, q *wire.AllocateRequestProto) (proto.Message, error) {
func Handle[Q any, P interface {
	*Q
	proto.Message
}](f func(context.Context, *Caller, P) (proto.Message, error)) Method {
	return func(ctx context.Context, c *Caller, request []byte) (proto.Message, error) {
		q := P(new(Q))
		if err := proto.Unmarshal(request, q); err != nil {
			return nil, &Exception{Class: RPCServerException, Message: "unreadable request: " + err.Error()}
		}
		return f(ctx, c, q)
	}
}

// Protocol is a Java interface: its name as Hadoop's annotation gives it, and its methods by their Java names.
type Protocol struct {
	Name    string
	Version uint64 // 1 for all of YARN's
	Methods map[string]Method
}
