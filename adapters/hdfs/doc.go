// Package hdfs reaches HDFS (Hadoop 2.2 and later) for ports that others declare: it is a storage.Opener, so files are
// read and written and their blocks located, and Racks tells the rack of a host.
//
// It speaks Hadoop's RPC (version 9) and data transfer protocol itself, with deadlines and contexts everywhere: no call
// outlasts Options.Timeout, and each ends soon after its context. Connections are pooled and closed when idle; a
// NameNode sees no traffic from an idle file system. A broken connection costs one retry, which is safe as the NameNode
// recognises repeated calls; a standby NameNode leads to the other one. A reader tries each replica; a writer asks for
// other DataNodes when one cannot be reached, but a DataNode lost in the middle of a block fails the write, and the
// caller starts the file again.
//
// Settings come from Hadoop's own core-site.xml and hdfs-site.xml (see hadoopxml). Authentication is "simple". Not
// supported, and refused with storage.ErrUnsupported: Kerberos, encrypted data transfer, encryption zones, erasure-coded
// files, symbolic links.
package hdfs
