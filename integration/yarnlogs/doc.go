// Package yarnlogs holds the aggregated logs that Fairway writes against Hadoop's own classes: where they look for a node's
// file, what they read from ours, and what ours reads from theirs. Its tests start JVMs and run when FAIRWAY_INTEGRATION=1;
// versions other than the usual one when FAIRWAY_LONG=1 too.
package yarnlogs
