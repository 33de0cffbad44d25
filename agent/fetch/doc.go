// Package fetch brings files into a task's sandbox: from http(s), from the local file system and from whatever other
// source cmd joins (HDFS), through a cache that is keyed by content and never hands one user what another may not
// read. Archives are unpacked within bounds.
//
// A Source is asked as the task's user. The cache is private to that user unless the source says that the file is
// readable by all. It does not decide who may run as whom: the broker did.
package fetch
