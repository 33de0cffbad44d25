// Package hadoop fetches Apache Hadoop 3.4.2 from Maven Central and runs it on this machine, for tests, demos and
// benchmarks: HDFS (a NameNode and DataNodes with names and racks of their own, in one JVM), YARN (a ResourceManager and
// NodeManagers, a JVM each), MapReduce's history server and unmodified jobs. It needs JDK 17 or newer and, for the first fetch, Maven.
//
// All listen on loopback with ports that were free. Everything that is started holds a pipe to this process, so it ends
// when this process does, however that ends. Nothing outside the cache and the given folders is changed.
package hadoop
