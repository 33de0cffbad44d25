// Package network lays hosts of their own on this machine, for tests and benchmarks: network namespaces joined by a bridge, so
// that nothing between them is reached over loopback, ports of several daemons do not collide, and a cable can be pulled. It
// needs root and the ip and nsenter commands.
package network
