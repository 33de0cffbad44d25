// Package storage is the port through which frameworks reach files: HDFS, the local file system, or whatever else a
// program joins. It declares what they need and nothing of how it is done; adapters implement it and only main
// packages (cmd, a user's own main) join the two. Every implementation passes storagetest.
package storage
