// Package sorter turns a map's records, in the order in which they come, into a run: sorted within a budget of
// memory, spilled to disk and merged when they do not fit, combined on the way. It also holds the streaming merge
// of sorted runs, which the reduce side shares.
package sorter
