// Package web is what a YARN ResourceManager serves over HTTP on port 8088: the REST interface /ws/v1/cluster in YARN's JSON,
// the proxy that shows ApplicationMasters' own pages, and small plain pages of our own under /cluster.
//
// It reads the resource manager's copies and changes nothing but by Kill. As in YARN, a caller names himself (?user.name=)
// and nobody checks it; who may kill what is the resource manager's decision, and so is who may see what, if access lists
// are on. Who may not see an application sees of it what YARN shows.
//
// The proxy fetches only from the host and port that an application's master has registered, and only for that
// application's path; a redirect of the master to another place is handed to the browser, not followed. It connects from
// the address that the pages are served on, which is how masters (AmIpFilter) know it.
//
// Where it differs from YARN: the load of nodes, an application's usage by partition and its resource requests are not told;
// XML is not offered.
package web
