// Package logs is what becomes of containers' logs: they are shown over HTTP in YARN's framing while they are on the agent,
// and written to the cluster's file system in YARN's format when their application has ended.
//
// NewHandler serves what YARN's NodeManager serves to its clients and to people, over a Node that the agent's side of YARN
// implements:
//
//	/node/containerlogs/CONTAINER/USER[/FILE]?start=&end=     pages, for people and Spark's links
//	/ws/v1/node, /ws/v1/node/info
//	/ws/v1/node/apps[/ID], /ws/v1/node/containers[/ID]
//	/ws/v1/node/containers/ID/logs[/FILE]?size=               `yarn logs` of a running application
//	/ws/v1/node/containerlogs/ID/FILE
//
// As in YARN without Kerberos, who asks is whom ?user.name= (or the cookie of an earlier answer) says; one who says nothing
// may read, one who says a name needs to be the owner, an administrator or in the application's VIEW_APP list.
// Names are looked up below the container's folder by os.Root, and only regular files are served.
//
// Aggregator writes an application's logs of this node as one TFile where `yarn logs` looks for it:
//
//	a, err := logs.NewAggregator(logs.AggregatorOptions{State: folder, Node: nodeID, Folders: ..., Storage: ...})
//	go a.Run(ctx)
//	a.Add(logs.Application{ID: ..., User: ..., ACLs: ..., Context: ..., Containers: [...]}) // when it ended here; durable when it returns
//	a.Status(id)
//
// It is kept in State until it is done, so an agent that starts again goes on; to add it twice is harmless. The log folders are
// removed after success, or when they are given up.
package logs
