// Package journal makes facts durable, in order, before they are acted on.
//
// It is a replicated log (hashicorp/raft) over append-only segments (raft-wal), with one voter or, given a transport and
// peers, more. A batch of facts is one entry; an entry costs one sync of the disk, and several are on their way at once.
// Behind the log a state machine folds committed facts into a second copy of the state: a leader starts from a clone of
// it (Lead), and snapshots are taken from it while leader and log go on. A snapshot is taken whenever the log has grown
// by the size of the last one, so that the folder holds at most a few times the state, and a restart reads no more.
//
// The folder:
//
//	lock                  held by the one process that has the folder, with its pid
//	wal/                  the log's segments, and raft's term and vote (wal-meta.db)
//	snapshots/*.snapshot  the newest snapshot
//
// The contract: what done(nil) was called for survives any crash. After a crash the state is the fold of all that was
// acknowledged and, perhaps, of some facts that came after, in their order and without a gap. Nothing is acknowledged
// after a failure until the owner has called Lead again. What cannot be read is never skipped: Open fails and names it,
// with state.ErrNewer where a newer Fairway wrote it and with state.ErrCorrupt where it is damaged. A fault of the disk
// makes the journal fail (Failed, Err) and never panics; it may be opened again once the cause is gone.
//
// What the package does not do: decide anything, or look into facts beyond folding them.
package journal
