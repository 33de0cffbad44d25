// Package checkpoint keeps what an agent must know after it was killed: who it is, which tasks run here, which status
// updates are not yet acknowledged, and the jobs' secrets. One bbolt file, one transaction for a batch of changes.
//
// Contract: what Commit was given is durable when it returns nil. Records are versioned; one that was written by a newer
// Fairway, or is garbage, is an error that names it, never skipped in silence. It does not know what the states mean.
package checkpoint
