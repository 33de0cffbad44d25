// Package report writes the results of the demo, the tiers and the benchmarks, as JSON for programs, and says what they measure
// of processes.
package report
