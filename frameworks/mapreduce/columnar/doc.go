// Package columnar is the one package that imports Apache Arrow (v17; frozen upstream, so that the move to its successor
// is one commit). It reads and writes Parquet and Arrow files and streams for the packages input, output and stream,
// turns a folder of results into one Arrow stream (Cat), and serves such results by Flight (Server).
//
// # Rows and records
//
// A row becomes a record thus: if the columns are named key and value (in any order), they are it; otherwise the first
// column is the key and the others, in text and joined by tabs, are the value. A table of one column has keys and empty
// values. Values in text: integers in decimal, floats in the shortest form that reads back the same, booleans as true and
// false, strings and binaries as they are, null as nothing, everything else as Arrow prints it (lists and structs as
// JSON). Integer values need no text on the way into the engine: they can be summed as they are.
//
// A record becomes a row of the columns key and value. Their types are utf8 unless a property says binary, int64 or
// float64; bytes that do not fit the type are an error that names the record.
//
// # Foreign bytes
//
// Files and streams may hold anything. Lengths are checked before memory is taken for them, Arrow's own panics end at
// this package's border as errors that wrap storage.ErrCorrupt and name the file, and nothing is read by a goroutine of
// Arrow's, whose panic could not be caught.
package columnar
