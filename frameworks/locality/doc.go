// Package locality turns block locations into wanted counts of hosts and racks, picks the item of work for an offer,
// and counts where work ran relative to its data. Every framework that reads placed data uses it, so one policy drives
// all of them. It is pure: no I/O, no clock, no randomness; the same calls give the same answers.
//
// The policy of [Index.Pick] is: an item whose data is on the offer's host, else in its rack, else any. Among several
// on the host it takes the one that the fewest hosts hold, so that what others could do as well is left for them. An
// offer that is local to nothing takes from the host with the longest queue, whose items are the least likely to find
// a local place in time, and there one that many hosts hold, as its data is easiest had from elsewhere.
//
// Waiting for a better place is not done here: the broker's allocator alone waits.
package locality
