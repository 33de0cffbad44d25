package hadooprpc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Secret is what a token's identifier stands for.
type Secret struct {
	Password []byte // that the client must know
	User     string // who the bearer is
	RealUser string
	Kind     string
	Value    any // becomes the Caller's
}

// Options describe a server. At least one of Simple and Secrets must be given.
type Options struct {
	Name      string // for logs and metrics, such as "resourcemanager"
	Protocols []Protocol

	// Simple accepts the name that a client gives itself.
	Simple bool

	// Secrets accepts tokens, nil does not. It finds the secret of an identifier, whose kind the wire does not tell; it may
	// wait, and ends with ctx. An error that wraps an *Exception is answered with its class, any other as InvalidToken.
	// With Simple too, a client without a fitting token goes on with SIMPLE.
	Secrets func(ctx context.Context, identifier []byte) (Secret, error)

	// Impersonate says whether real may act as user with SIMPLE; nil refuses all.
	Impersonate func(c *Caller) error

	Limits     Limits
	Log        *zap.Logger           // nil: none
	Registerer prometheus.Registerer // nil: none
}

// Limits bound what peers can take. A zero field has the default.
type Limits struct {
	MaxFrame    int           // bytes of one request: 128 MiB, Hadoop's ipc.maximum.data.length
	MaxGreeting int           // bytes of one packet before the peer is known: 16 KiB
	Memory      int64         // bytes of all requests that are not answered and all replies that are not sent: 512 MiB
	Calls       int           // in flight on one connection; more are not read: 256
	Unsent      int           // bytes of replies that wait on one connection; beyond them its calls wait: 16 MiB
	Slow        time.Duration // that they wait for room; then the connection is closed: 20 s
	Connections int           // beyond them new ones are closed: 20,000
	HalfOpen    int           // connections that have not said who they are; beyond them the oldest is closed: 4,096
	Greeting    time.Duration // until a peer must have said who it is: 30 s
	Stall       time.Duration // a request or reply that has begun must make progress: 60 s
	Idle        time.Duration // without a call: 3 min (clients close after 10 s)
	Drain       time.Duration // that calls in flight have at the end: 2 s
}
