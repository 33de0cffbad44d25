// Command benchallocator measures how many placements for each second of one core's cpu the allocator decides, and how
// the cost of one grows with the number of agents. `make bench-allocator` runs it; it exits with 1 when a bar is missed.
//
// A placement is a request that arrives (half of them prefer three hosts), the matched offer, its acceptance and the
// end of another task, in batches of 64 events, on a cluster that is 95 % full: 1,000 jobs in 100 roles of three levels,
// 32 shapes. What counts is the median round, in cpu time of the thread for Step and Ready. "Saturated" is the same with
// a standing backlog of three tasks for each agent; it has no bar. A group is one ask of 1,000 tasks over 300 hosts, with
// all its offers, acceptances and task ends.
package main
