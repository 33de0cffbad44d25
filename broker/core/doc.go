// Package core is the broker itself, without wires: one goroutine owns the allocator and the state, everybody else
// sends it messages.
//
// Each turn of that goroutine takes all messages that have arrived, checks them, derives facts and allocator events,
// steps the allocator over the batch, hands the facts to the journal as one entry, and keeps what is to be done about
// them (launches, offers, kills, acknowledgements, replies) until that entry and all earlier ones are durable. Up to
// four entries may be in flight, so a burst costs one disk write and the owner rarely waits for it. Nothing is locked
// but the mailbox and the queues of the sessions, for the time of a copy.
//
// What is hard lives in state and is changed by facts only; what is soft (sessions, offers, requests, statuses that
// nobody has acknowledged yet, progress) lives here and is gone after a restart, when agents and frameworks register
// again and say it anew. The launcher, which starts the coordinators of jobs, is an ordinary framework on an ordinary
// in-process session; which job may have a coordinator when is decided by the owner.
//
// The package opens no socket and no file, and knows no framework by name.
package core
