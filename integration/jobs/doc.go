// Package jobs runs MapReduce jobs on real HDFS and a cluster of real processes: every kind of job, faults, bad input.
package jobs
