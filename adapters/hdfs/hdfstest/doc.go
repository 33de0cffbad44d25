// Package hdfstest is a fake HDFS inside the test's process: a NameNode and DataNodes that speak the real protocols on
// loopback, keep all in memory and fail on request. Its messages were checked against the real thing in the other
// direction: github.com/colinmarc/hdfs reads and writes it, and the same contract tests run on it and on Hadoop.
//
// It knows no leases, quotas or balancing, and does not forward a pipeline: the first DataNode of a block gives the
// bytes to the others by a function call.
package hdfstest
