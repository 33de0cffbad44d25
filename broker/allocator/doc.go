// Package allocator is the sharing decision: who is offered which resources of which agent. It is a pure machine:
// events and the time go in through Step, decisions come out of Ready, and nothing else happens. It has no clock,
// goroutine, lock or log, and the same configuration and history of (now, events) gives the same bytes again.
//
// Sharing is Dominant Resource Fairness (Ghodsi et al., NSDI 2011) over a tree of roles with weights, guarantees and
// limits; frameworks are the leaves of the tree. What is offered counts as held. Requests are groups of tasks of one
// shape with wanted counts per host and rack; they wait for locality as in delay scheduling (Zaharia et al., EuroSys
// 2010). A group may state a minimum: so many of its tasks are offered in one step, or none. Frameworks without requests are
// offered whole agents.
//
// Where a role waits below its fair share and another holds more than its own, the machine asks a framework of the latter
// to give resources back, if that can. It never ends a task itself.
//
// The machine does not know names, tasks or what a framework does with an offer.
package allocator
