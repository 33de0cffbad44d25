// Package spark is the policy for Spark's executors. It is pure: no wire, no clock, no randomness; the same calls give the same
// answers. adapters/yarn asks it for the applications of Spark, whose masters ask for executors and not for tasks: an executor
// runs many tasks, so it matters where all of them lie and not only that each asks for a good host.
package spark
