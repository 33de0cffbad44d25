// Package wire holds the messages of HDFS's ClientProtocol and data transfer that adapters/hdfs speaks, generated from
// hdfs_wire.proto under names of their own.
package wire
