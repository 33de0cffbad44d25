// Package sparktest is a client of Spark's shuffle service for tests and benchmarks: one connection, one request at a time.
// Its side of the authentications is its own, so that it does not share the server's mistakes.
package sparktest
