// Package hadooprpc speaks Hadoop's RPC, version 9: the server that unmodified Hadoop clients call, and a client, one
// connection with many calls in flight, by which Fairway itself speaks to NameNodes and node managers.
//
// A server has protocols, by the names of Java's interfaces, and their methods. It says who calls: with SIMPLE
// authentication the name that the client gives, with TOKEN (SASL DIGEST-MD5) the name that its token stands for. A method
// answers a message or an error; an *Exception travels under its Java class name, so that the client retries, fails over or
// gives up as it would with Hadoop's own server.
//
// Whatever a peer sends is bounded: a length is believed only as far as bytes arrive, all memory that requests and unsent
// replies take comes out of one budget, and a peer that stalls before it has said who it is, within a packet or in reading
// its replies is closed after a stated time.
//
// Not here: Kerberos, qop auth-int and auth-conf (a site with hadoop.rpc.protection other than authentication), and the
// Writable engine.
package hadooprpc
