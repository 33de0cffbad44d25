// Package memory is YARN's rule for containers over their memory: the resident memory of a process tree, sampled.
package memory
