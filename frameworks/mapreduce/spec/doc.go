// Package spec is what the parts of the MapReduce engine say to each other about a job: the job as submitted, its
// splits, the outputs of its maps, its counters. It does nothing itself.
package spec
