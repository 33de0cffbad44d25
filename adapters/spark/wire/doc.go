// Package wire is the bytes of Spark's network protocol: frames, and the messages of the external shuffle service
// (BlockTransferMessage). Whatever is read is bounded by the frame that it came in; nothing is believed beyond that.
//
// The numbers are those of Spark 3.5.5 and 4.0.1. A string is its int32 length and UTF-8, an array its int32 count and the
// items, all big-endian.
package wire
