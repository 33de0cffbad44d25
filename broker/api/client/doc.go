// Package client speaks fairway.v1 to a broker over gRPC and offers it as an api.Broker, so that a framework, an agent
// or a command line need not know whether the broker is in their process. The Caller arguments of api.Broker are
// ignored here: the broker's door decides who the caller is.
package client
