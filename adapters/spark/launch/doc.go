// Package launch starts a user's own Spark on Fairway, for a user without any configuration of Hadoop: it finds the
// installation and its Java, writes a folder of configuration that lives as long as the driver, and runs the installation's
// bin/spark-submit or bin/pyspark as a child. Options, properties and arguments are Spark's own and pass through as they
// were written; what they mean is left to Spark, as is refusing them.
package launch
