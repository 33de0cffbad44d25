// Package yarnjobs tests Apache Hadoop's own client, ApplicationMaster and tasks on a Fairway cluster: real HDFS, real jars,
// real processes, nothing of ours inside the JVMs. Most of its tests run when FAIRWAY_INTEGRATION=1.
package yarnjobs
