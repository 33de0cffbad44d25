// Package memory is YARN's rule for containers over their memory. The resident memory of each container's processes is
// sampled every three seconds, by one goroutine for all; a container is over its limit when they take more than twice of it,
// or when those that were already there in the round before take more than it. Its owner is told once, with the text that
// YARN gives as diagnostics and that its clients look for; the owner kills it.
//
//	m := memory.New(memory.Options{Over: func(container, diagnostics string) { ... host.Kill(...) }})
//	go m.Run(ctx)                       // one goroutine, ends with ctx
//	m.Watch(memory.Container{ID: "container_..", LimitBytes: 1 << 30, Process: p}) // again: a new limit, or after a restart
//	m.Forget("container_..")            // when it ended; a call of Over that is under way may still come
//	usage, ok := m.Usage("container_..")
//	memory.HardLimit(...)               // diagnostics of a container that the kernel killed at its hard limit
//
// Process is the part of service.Process that is needed. What the kernel does at the hard limit above is not seen here.
package memory
