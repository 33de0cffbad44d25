// Package input cuts the input of a MapReduce job into splits and reads the records of one split.
//
// Splits expands files, folders and globs and cuts files by block, so that a map can run where its bytes lie. Open reads
// one split in a format: text, keyvalue, tera, parquet, arrow, or none (synthetic records without any file). Files that
// end in .gz, .bz2 or .zst are decompressed and never cut.
//
// Any cutting of a file yields every record exactly once. A line belongs to the split in which it starts; as in Hadoop
// a line that starts exactly at a border belongs to the split before it, because each later split skips to its first
// line end without looking back.
//
// The package holds no state, starts no goroutine that outlives a call, and speaks to files only through storage.FS.
package input
