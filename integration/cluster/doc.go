// Package cluster runs a Fairway cluster of real processes on this machine, for the demo, the benchmarks and the tests
// with faults: one broker and agents that bear the names of HDFS's hosts.
package cluster
