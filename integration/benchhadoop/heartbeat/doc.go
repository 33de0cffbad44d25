// Package heartbeat is the load of the bar "2,000 registered ApplicationMasters, a connection each, asking every second, 1 % of
// the calls with a new ask": masters that run here, as unmanaged applications of a cluster, speak Hadoop's own protocol, and
// what the resource manager's process spends on them is read from the kernel.
package heartbeat
