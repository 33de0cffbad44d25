// Package server is the broker's doors: fairway.v1 over gRPC on a Unix socket, where the kernel says who calls, and on
// TCP, where the token file does. It decides who the caller is and hands every call to an api.Broker; it knows nothing
// of scheduling. It also serves metrics, health and profiles on the admin address.
package server
