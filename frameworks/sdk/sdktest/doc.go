// Package sdktest has a small broker for tests of frameworks: sessions, a first-come allocator that honours wanted
// hosts, agents whose tasks are functions, statuses repeated until acknowledged, and faults on demand. It decides at
// once and in a fixed order, and works in a testing/synctest bubble. It shares nothing with the real broker but the
// session's contract.
package sdktest
