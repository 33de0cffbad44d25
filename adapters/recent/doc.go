// Package recent keeps what was last used of files that do not change, within a number of bytes: the indexes of map outputs,
// which each reducer asks for again.
package recent
