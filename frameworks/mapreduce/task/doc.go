// Package task runs one map or one reduce: the data path of the MapReduce engine from a split of the input to a
// sorted run, and from the runs of all maps to a committed file of the output.
//
// It knows nothing of coordinators and brokers. What it needs of them comes in as values and functions: where map
// outputs lie (a channel), whether the attempt may commit (a function), how to tell of itself (spec.Reporter).
package task
