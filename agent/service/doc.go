// Package service is the port for auxiliary services on an agent: what a foreign engine needs next to its tasks, such as
// a shuffle server. cmd names the implementations and hands them to the agent, which starts them before its first
// registration, tells them when a job has ended, serves their pages under /v1/services/NAME/ of its data server, and stops
// them last. A task whose TaskSpec names a service is prepared by it before its container starts, and its last status is
// completed by it before the broker hears of it.
package service
