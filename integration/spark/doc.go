// Package spark fetches Apache Spark as it comes from PyPI (pyspark, with all of its jars) and runs its unmodified clients,
// spark-submit and spark-sql, against a cluster, for tests and benchmarks. It needs JDK 17 and Python 3.11 with pip; the first
// fetch of a version downloads about 320 MB (3.5) or 460 MB (4.x) and what Arrow-based Python functions need, about 100 MB.
//
// Executors run a Python that every account may start, and find the fetched packages where the client does: it is one machine.
package spark
