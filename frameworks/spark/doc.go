// Package spark is the policy for Spark's executors: where they should be (Spread, Pack), with how many an application begins (Wish) and
// which of them go first when others are due their share (Sooner). It is pure: no wire, no clock, no randomness; the same calls
// give the same answers. adapters/yarn asks it for the applications of Spark, whose masters ask for executors and not for tasks: an
// executor runs many tasks, so it matters where all of them lie and not only that each asks for a good host.
//
// Executors that are lost need nothing of their own: their master asks again, and those that are left count as held.
package spark
