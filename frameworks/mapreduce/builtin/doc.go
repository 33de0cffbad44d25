// Package builtin holds the jobs that come with Fairway: wordcount, grep, sort, teragen, terasort, teravalidate and
// pi. Each is a function that makes a spec.Job, and functions that Register adds to a registry under the job's name.
// They do what Hadoop's examples of the same names do, on the same formats.
package builtin
