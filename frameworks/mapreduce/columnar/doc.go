// Package columnar is the one package that imports Apache Arrow (v17; frozen upstream, so that the move to its successor
// is one commit). It reads and writes Parquet and Arrow files and streams for the packages input, output and stream,
// turns a folder of results into one Arrow stream, and serves such results by Flight.
package columnar
