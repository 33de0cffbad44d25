// Package api is what everyone else imports to talk with a broker: the fairway.v1 messages (in fairwayv1), the session
// interfaces that agents and frameworks use whether the broker is in this process or at the far end of a connection,
// and the gRPC client that implements them (package client).
package api
