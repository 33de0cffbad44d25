// Package results reads back what jobs have written: a folder of part files, in any output format, as text or as one
// Arrow stream. It is what `fairway cat` and the Flight server show.
package results
