// Package supervisor is the small process that holds one container: it outlives the agent, starts the task, forwards
// kills to the whole process tree, writes the exit record and waits (for a bounded time) until an agent has it.
//
// It is the agent's own binary, executed again with Argv0 as argv[0]. Its work is done in this package's init, which never
// returns: Go initialises packages in the order of their import paths as soon as their own imports are ready, and this
// one imports nothing but syscall, sync/atomic and unsafe, so it runs before nearly everything that a large binary links has touched
// its memory. That keeps a supervisor below 4 MiB of anonymous memory and its start at a few milliseconds; importing more
// here (fmt, os, time, encoding/...) undoes it, and a test measures it.
//
// The agent makes the listening control socket before it forks and hands it over, so whoever can connect to it has found
// a live supervisor: a pid cannot be mistaken, and there is no moment at which a started container cannot be found.
//
// The other half, which starts supervisors and talks to them, is package container.
package supervisor
