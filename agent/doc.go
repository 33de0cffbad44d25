// Package agent runs containers on one host for a broker. It finds what the host has, registers over an
// api.AgentSession, launches tasks as it is told, and reports each task's states in order, again and again until they are
// acknowledged. Its data server hands out map output and logs.
//
// One goroutine (loop.go) owns all tasks; launches, kills and fetches run beside it and send it what happened. Containers
// are held by supervisors that outlive the agent, and what matters is in a checkpoint before it is done, so that an agent
// that is killed and started again takes up its tasks where they are. It does not decide what runs, nor who may run as whom.
package agent
