// Package output writes the results of a MapReduce job: Create makes one file in a format, and a Committer makes the
// files of the successful attempts, and of no other, visible together with _SUCCESS.
//
// An attempt writes to <output>/_temporary/<job>/attempt_<kind>_<index>_<attempt>/part-<k>-<index>. CommitTask renames
// the attempt's folder to task_<kind>_<index>, CommitJob moves the parts into the output folder, writes _SUCCESS and
// removes _temporary. Each step may be repeated, so that a second coordinator finishes what the first began. A reader
// that waits for _SUCCESS never sees half a result.
package output
