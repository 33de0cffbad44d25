// Package mapreduce is what the author of a MapReduce job in Go imports: Mapper, Reducer and Combiner, the Emitter
// they write to, the Context that tells a task of itself, and the Registry that gives functions the names by which a
// job (spec.Job) asks for them.
//
// A job's stages travel by name, so the same binary must run as client and as task: its main registers its functions
// and hands over to the submit package, which runs the mode that the command line names.
//
// Keys and values are bytes. Numbers are decimal text, as Hadoop's text output shows them; Emitter.EmitInt and the
// in-place combiners Sum, Min, Max and Count keep them as integers on the hot path.
//
// The package runs nothing: maps and reduces are run by the task package, programs by the stream package.
package mapreduce
