// Package wire holds the messages of Hadoop's RPC version 9, its SASL exchange and its tokens, as generated code.
package wire
