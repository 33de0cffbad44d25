// Package topology knows where agents are: hosts, racks, the names and addresses that hosts go by, attributes, and
// how far one agent is from another.
//
// Names are lower-case. An address stands for a host only while exactly one host bears it and it is not a loopback
// address: two hosts behind the same 10.0.2.15 are not one place. Hosts and racks are interned to small numbers that
// name the same place for the life of a Map; the number 0 is no place. A Map is not safe for concurrent use.
package topology
