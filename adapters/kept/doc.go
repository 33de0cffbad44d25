// Package kept is a folder of records, a file of JSON each, that outlive the process: what the shuffle services know of jobs.
//
// A record is whole or not there when the process dies. It is not synced to the disk: when the host dies, so do the
// containers that the records are of, and what was cut off is found and removed by Load.
package kept
