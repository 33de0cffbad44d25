// Package container runs process trees, each in cgroups of its own (v1 or v2, where the agent may make them) and held by a
// supervisor that outlives the agent. It starts them, finds them again after the agent's restart, kills them whole, and says
// how they ended and what they used.
//
// Contract: Start returns when the program was executed or could not be. Wait returns when no process of the container is
// left and the exit record is durable. Release gives up what is kept of it, supervisor, cgroups and state folder; until then
// Attach finds it again, by its id, also from another process. The caller writes down its intent before Start.
//
// Where cgroups cannot be used, limits are not enforced, and Limits says so; the process tree is killed whole all the same.
// It does not fetch files, choose users or judge an exit. Files are written directly rather than through a library: a
// thread that joins a v1 cgroup by its tasks file skips the kernel's global lock, which libraries' cgroup.procs takes.
package container
