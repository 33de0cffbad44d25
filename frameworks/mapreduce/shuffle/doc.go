// Package shuffle fetches one partition of each map's output from the agents that hold them: over HTTP with
// keep-alive and a signature by the job's secret, in parallel and within a bound of memory; small ones into memory,
// large ones to disk. An output that lies in the task's own job folder is read from there, without a copy.
package shuffle
