// Package hdfs reaches HDFS (Hadoop 2.2 and later) for ports that others declare: it is a storage.Opener, so files are
// read and written and their blocks located, and Racks tells the rack of a host.
//
// Files and folders are the work of github.com/colinmarc/hdfs/v2. It knows no contexts or deadlines, is of no use for five
// seconds after a broken connection, renews leases every second, gives up a block that its first DataNode does not take,
// and hands out data with a wrong checksum. So each of its clients is wrapped as a session that serves one call or one
// open file, and both of its dial functions return connections of ours. The one to the NameNode (nameConn) carries each
// request over an RPC connection of ours (hadooprpc.Proxy), with retries, which the NameNode recognises, and failover. The
// one to a DataNode (dataConn, outflow) has the timeout and the context, verifies what is read and sends large packets. No
// call outlasts Options.Timeout by much, each ends soon after its context, and an idle file system sends nothing.
//
// Block locations and racks, which the library does not offer, are calls of our own over the same connection.
//
// A reader tries each replica and reports those that are corrupt; a writer asks for other DataNodes when one does not take
// a block, but a DataNode lost in the middle of a block fails the write, and the caller starts the file again.
//
// Settings come from Hadoop's own core-site.xml and hdfs-site.xml (see hadoopxml). Authentication is "simple". Not
// supported, and refused with storage.ErrUnsupported: Kerberos, encrypted data transfer, encryption zones, erasure-coded
// files, symbolic links.
package hdfs
