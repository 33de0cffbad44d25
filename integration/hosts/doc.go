// Package hosts has tests of a cluster whose agents are on hosts of their own: each in a network namespace, joined by a
// bridge, so that nothing is reached over loopback and a cable can be pulled. Files are on the machine's file system,
// which all share. The tests need root and the ip and nsenter commands.
package hosts
