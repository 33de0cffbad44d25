// Package umbilical joins the attempts of a MapReduce job with its coordinator: a gRPC stream for each attempt, over
// which the coordinator says what to do, pushes map outputs as maps finish, and answers who may commit, and the attempt
// reports. Both ends prove that they know the job's secret.
//
// [Server] is the coordinator's end. [RunTask] is the process of one attempt: it reads its environment, dials, runs the
// map or the reduce that it is told to, reports, and ends.
package umbilical
