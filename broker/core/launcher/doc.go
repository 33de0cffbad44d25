// Package launcher starts the coordinators of jobs. It is a framework like any other, on an in-process session for
// each role: it requests what an order asks for, accepts the offer, and acknowledges what it hears of its tasks.
//
// It decides nothing. Which job may have a coordinator, with what it is started and what happens when it ends is
// decided by the owner (package core), which completes the launcher's tasks and sees their ends itself.
package launcher
