// Package submit is the client's side of the MapReduce engine: it makes a job of what a user asked for ([Options]),
// checks it before anything runs, puts its files where the cluster finds them, hands the job to a broker, shows its
// progress and stops it when asked to.
//
// [Main] is the whole main function of a user's own program with Go mappers and reducers: the same binary is client,
// coordinator and task.
package submit
