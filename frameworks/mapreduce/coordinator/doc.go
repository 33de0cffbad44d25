// Package coordinator runs one MapReduce job: it asks the broker for places, decides which map or reduce runs on an
// offer, tells the attempts what to do, repeats what failed or was lost, copies stragglers, grants commits, counts,
// and ends the job.
//
// The decisions are a pure machine ([Machine]: events in, actions out, time is an event's field; no I/O, no goroutine,
// no clock), in the files machine*.go. [Run] is its shell: a framework of the sdk package, the server of the umbilical
// package, splits, output set-up and commit, the journal of finished maps. [Main] is the process that runs as a job's
// coordinator task on a cluster.
package coordinator
