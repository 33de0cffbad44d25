// Command benchspark runs the same unmodified Spark applications on Fairway and on real YARN as it comes: same HDFS, same Spark,
// same box, in turn, the daemons of the other stopped. Each agent and each NodeManager is on a host of its own, a network
// namespace, as both shuffle services listen on one port of every host. It writes build/results/bench-spark.json and fails
// when a bar is missed. It needs root.
package main
