// Package wire holds the messages of Hadoop's RPC and data transfer that adapters/hdfs speaks, generated from
// hdfs_wire.proto under names of their own.
package wire
