// Package hadooprpc proves our side of Hadoop's RPC, its tokens and its identifiers against Hadoop's own classes: a Java
// program calls a server of ours through the clients that YARN applications use, and says what it saw. It runs when
// FAIRWAY_INTEGRATION=1.
package hadooprpc
