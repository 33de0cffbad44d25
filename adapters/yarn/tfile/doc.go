// Package tfile reads and writes Hadoop's TFile, a container of keyed records in blocks, and what YARN keeps in it: the
// logs of an application's containers on one node, where `yarn logs` looks for them.
//
// The writer is a stream: it holds one chunk of a value and the index, whatever the size of the logs. It writes what
// Hadoop's own writer writes, byte for byte, without compression and with unsorted keys. The reader checks every length
// before it trusts it and holds one key and the index of the blocks. Compressed files are refused with ErrCompressed.
package tfile
