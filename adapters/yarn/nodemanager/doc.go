// Package nodemanager is the agent's half of YARN: the service "yarn" of an agent. Masters start, stop and ask about their
// containers over Hadoop's ContainerManagementProtocol as they would at a NodeManager; each container is a task of the
// agent, which the resource manager's half launched with a grant.
//
// A task waits in Prepare until its master has sent a launch context (an application's own master brings it in its grant).
// Then its files are localised, the launch script is written, and the agent runs it. How it ended goes back as a
// grant.Outcome in the words of YARN.
//
// A master may ask for more files while its container runs. They are kept as asked for before it hears that they are, so
// that an agent that comes after this one goes on with them; one that cannot be had is told as failed, and the container
// runs on.
//
// Folders below the service's own: local (as yarn.nodemanager.local-dirs), logs (as log-dirs), and private, which only the
// agent reads: what it must know of running applications and containers after a restart.
//
// A folder that holds those of several users belongs to the agent, so nobody can lead it elsewhere; what is in an
// application's folder is only reached by ways that cannot leave it.
package nodemanager
