// Package text makes text of words for the demo and the benchmarks, counts the words while it does, and compares the
// counts that jobs wrote: the count that results are checked against comes from here, not from the engine.
package text
