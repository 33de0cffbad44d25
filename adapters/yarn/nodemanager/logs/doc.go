// Package logs shows containers' logs over HTTP in YARN's framing while they are on the agent, and aggregates them into HDFS
// when their application has ended.
package logs
