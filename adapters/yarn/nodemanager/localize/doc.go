// Package localize brings the files that containers need to this host and keeps them: one copy of each for all containers
// that may see it. There are three caches: of everyone, of a user, and of an application, whose copies go with it.
//
// A resource is known by its address, time stamp, kind and pattern. It is fetched with the rights of the user who asks,
// once however many containers wait for it; a failure is told to all of them and not remembered. Copies that no container
// holds are removed, those first that were used least recently, when they take more than the cache may.
//
// What it makes belongs to the account that will read it. Archives are unpacked within bounds, and nothing in one is
// written, or points, outside of its folder.
package localize
