// Package logs is what becomes of containers' logs: they are shown over HTTP in YARN's framing while they are on the agent,
// and written to the cluster's file system in YARN's format when their application has ended. Both read them below one folder,
// as ROOT/APPLICATION/CONTAINER/FILE.
//
// NewHandler serves what YARN's NodeManager serves to its clients and to people, over a Node that the agent's side of YARN
// implements:
//
//	/node/containerlogs/CONTAINER/USER[/FILE]?start=&end=     pages, for people and Spark's links; of an ended application
//	                                                          too, from the log server or the node's own file
//	/ws/v1/node, /ws/v1/node/info
//	/ws/v1/node/apps[/ID], /ws/v1/node/containers[/ID]
//	/ws/v1/node/containers/ID/logs[/FILE]?size=&format=       `yarn logs` of a running application
//	/ws/v1/node/containerlogs/ID/FILE?start=                  the bare bytes from an offset, for `fairway logs`
//
// Answers are JSON or text, never XML. As in YARN without Kerberos, who asks is whom ?user.name= says, else "dr.who", and
// anyone may read unless access lists are on: then only the owner, administrators and whom VIEW_APP lists.
//
// Nothing outside of a container's folder is opened, whatever names and links its processes have made there: see folder.go.
//
// An Aggregator writes an application's logs of this node as one TFile where `yarn logs` looks for it:
//
//	a, err := logs.NewAggregator(logs.AggregatorOptions{Root: folder, State: folder, Node: nodeID, Folders: ..., Files: mux.Resolve})
//	go a.Run(ctx)
//	a.Add(logs.Ended{...}) // when an application ended here; durable when it returns
//
// It is kept in State until it is done, so that an agent that starts again goes on; to add it twice is harmless. The log
// folders are removed when it is done or given up. With Files nil they are removed after a time, and nothing is written.
// Logs of an application that still runs are not written (rolled patterns are ignored, as YARN does unless told otherwise).
package logs
