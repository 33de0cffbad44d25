// Package journal makes facts durable, in order, before they are acted on.
//
// It is a replicated log (hashicorp/raft) over append-only segments (raft-wal). A batch of facts is one entry. The state
// machine behind the log folds committed facts into a second copy of the state: a leader starts from a clone of it, and
// snapshots are taken from it while both the leader and the log go on.
package journal
