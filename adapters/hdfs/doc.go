// Package hdfs reaches HDFS for the ports that others declare: it is a storage.Opener (files read and written, and where
// their blocks lie) and tells the rack of a host.
package hdfs
