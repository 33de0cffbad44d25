package agent

import (
	"context"
	"errors"
)

// Agent runs tasks on this host.
type Agent struct {
	o Options
}

// New checks the options, locks the work folder and starts listening; Run does the rest. Whoever does not call Run calls Close.
func New(o Options) (*Agent, error) {
	return &Agent{o: o}, nil
}

// DataAddress is where the data server listens, as others reach it: host:port.
func (a *Agent) DataAddress() string { return "" }

// ID is the id that the broker gave; empty before the first registration.
func (a *Agent) ID() string { return "" }

// Ready tells whether the agent is registered now.
func (a *Agent) Ready() bool { return false }

// Run serves until ctx ends (nil), the broker sends the agent away (ErrShutdown) or something of its own breaks.
func (a *Agent) Run(ctx context.Context) error { return errors.New("agent: not built yet") }

// Close frees what New took; Run does it itself.
func (a *Agent) Close() error { return nil }
