// Package hadoopxml reads Hadoop's configuration files (core-site.xml, hdfs-site.xml) as Hadoop does: later files
// override earlier ones unless a setting is final, old names stand for new ones, and ${name} in a value is replaced by
// another setting, an environment variable (${env.NAME}) or one of a few system properties (${user.name}).
//
// It holds no defaults of Hadoop's own, follows no xi:include (an error says so) and bounds what it reads.
package hadoopxml
