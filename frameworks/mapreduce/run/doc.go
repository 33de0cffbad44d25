// Package run is the format of map output and spills: records sorted by key, in checksummed blocks, one segment for
// each partition and an index of them at the end, all in one file. Segments can be read alone, as a stream, from
// any place that has their bytes.
package run
