// Package testbed is what the tests of a package share that run jobs on real engines: one HDFS, one binary, and clusters with YARN's
// face for the unmodified clients.
package testbed
