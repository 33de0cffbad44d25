// Package stream runs programs as mappers, combiners and reducers by Hadoop Streaming's conventions: lines in on stdin,
// "key TAB value" lines out on stdout, reporter: lines on stderr, the job's properties in the environment. With Job.IO
// "arrow" stdin and stdout carry Arrow IPC streams of record batches instead of lines.
//
// A program runs in the task's own container and process group: what it leaves behind is the container's to end. The
// package kills the program itself when the context ends or when no byte has moved for the task's timeout.
package stream
