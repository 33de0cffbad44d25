// Package sparkjobs runs Apache Spark's own client, ApplicationMaster and executors, as PyPI has them, on Fairway, with an HDFS
// that checks permissions.
package sparkjobs
