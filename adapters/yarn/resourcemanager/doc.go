// Package resourcemanager is the broker's side of the YARN face: what unmodified Hadoop clients, ApplicationMasters and
// `yarn rmadmin` call, on top of a broker that knows nothing of YARN.
//
// Each application is a framework of the broker, in this process: its queue is a role, its asks become request groups, its
// containers are tasks of the agents' service "yarn", and the broker lists it as a job. The broker alone keeps what must
// survive: an application's record is its framework's saved state while it lives and its job's result afterwards, and its
// containers are the broker's tasks. A container's number is its task's sequence counted from the first of its attempt.
//
// A matched offer is accepted at once. The container is handed to the master when the broker has confirmed the launch, so
// no master ever holds a container that a crash could undo. A call that carries a new ask waits up to Options.Hold for that,
// by events.
//
// Not here: reservations, federation, attributes of nodes and opportunistic containers. They are refused as YARN refuses
// them where they are not enabled.
package resourcemanager
