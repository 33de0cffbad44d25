// Package report writes the results of the demo, the tiers and the benchmarks, as JSON for programs.
package report
