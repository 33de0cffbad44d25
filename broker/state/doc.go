// Package state is the durable truth of a broker: the fold of all facts, and nothing else.
//
// A State is built by New or ReadSnapshot and changed only by Apply, one fact at a time. A fact that contradicts the
// state is refused and leaves it as it was. The same facts give the same state and, byte for byte, the same snapshot.
//
// The package is pure: it reads no clock, starts no goroutine, takes no lock and never shows the order of a map. A State
// belongs to one goroutine. Snapshot gives a frozen View of it in constant time, which another goroutine may read while
// the owner goes on: pages that the view shares are copied before they are written (see cow.go). Clone works alike.
//
// Numbers of agents, frameworks and roles are the smallest that are free, so that they can index arrays; a number is
// not given again while anything still refers to it, be it only the record of a task that has ended. Numbers of jobs
// only grow. Zero is never a number: role 0 is the root of the tree, any other 0 is "none".
//
// An ended task stays, as a compact record, until its job is forgotten; one without a job is forgotten when it ends.
// A framework that has ended stays while it has live tasks, records or a job.
//
// What the package does not do: offers, requests, filters and everything else that is soft; deciding anything.
package state
