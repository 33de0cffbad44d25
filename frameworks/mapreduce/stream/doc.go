// Package stream runs programs as mappers, combiners and reducers by Hadoop Streaming's conventions: lines in on stdin,
// "key TAB value" lines out on stdout, reporter: lines on stderr, the job's properties in the environment. With Job.IO
// "arrow" stdin and stdout carry Arrow IPC streams of record batches instead of lines (see package columnar).
//
// It is a program's failure if it exits with a code other than 0 (unless stream.non.zero.exit.is.failure=false), dies by
// a signal, exits without having read any of its input (unless UnreadProperty), neither reads nor writes for the task's
// timeout, or writes what cannot be read. The error then bears the last lines of its stderr. A program may stop reading
// early, as head does.
//
// A program runs in the task's own container and process group: what it leaves behind is the container's to end. The
// package kills the program itself when the context ends. Everything it starts has ended when a call returns.
package stream
