// Package mapreduce is Hadoop's HTTP shuffle, the auxiliary service mapreduce_shuffle that reducers of unmodified Hadoop
// MapReduce (and Tez) fetch map output from.
//
// A job is registered with the token that its first container on this host brings; what reducers ask for is signed with that
// token's password. The job's map outputs are looked for in the application's local folders, as
// output/<attempt>/file.out and file.out.index. A file is sent only if it is a regular one, below such a folder without a
// symbolic link that leads out of it, and of the account that the job's containers run as; the index's checksum is checked.
//
// One response carries, for each map asked for, a header and its partition: large partitions by sendfile, small ones gathered
// in a buffer, so that many tiny ones cost few system calls. Registrations outlive the process in Options.StateDir.
//
// It knows nothing of YARN's records: applications are strings. Not supported: TLS.
package mapreduce
