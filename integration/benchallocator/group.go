package main

import (
	"fairway/broker/allocator"
)

const (
	groupTasks = 1000
	groupHosts = 300
)

// groups runs asks of 1,000 tasks over 300 hosts one after the other to their end.
func (l *load) groups(n int) (tasks, local int) {
	const f = allocator.FrameworkID(7)
	shape := l.shapes[0]
	hosts := make([]allocator.HostCount, groupHosts)
	var started []allocator.Action
	for range n {
		first := l.rng.IntN(l.agents - groupHosts)
		for i := range hosts {
			h := first + i
			hosts[i] = allocator.HostCount{Host: allocator.HostID(h + 1), Rack: allocator.RackID(h/perRack + 1), Count: 3 * groupTasks / groupHosts}
		}
		l.version++
		r := &allocator.Request{Group: 1 << 40, Version: l.version, LastOffer: l.newest, Shape: shape, Total: groupTasks, Hosts: hosts}
		l.batch = append(l.batch, allocator.Event{Kind: allocator.RequestSet, Framework: f, Request: r})
		started = started[:0]
		for got := 0; got < groupTasks; {
			l.flush()
			if len(l.offered) == 0 {
				l.now += 1e9
				l.do(nil)
			}
			offers := l.offered
			l.offered = nil
			for i := range offers {
				a := &offers[i]
				l.newest = max(l.newest, a.Offer)
				got += int(a.Count)
				if a.Locality == allocator.Node {
					local += int(a.Count)
				}
				started = append(started, *a)
				l.batch = append(l.batch, allocator.Event{Kind: allocator.Accept, Offer: a.Offer, Resources: a.Resources, Count: a.Count})
				if len(l.batch) == batchSize {
					l.flush()
				}
			}
		}
		l.flush()
		for i := range started {
			for range started[i].Count {
				l.batch = append(l.batch, allocator.Event{Kind: allocator.TaskEnd, Agent: started[i].Agent, Framework: f, Resources: shape})
				if len(l.batch) == batchSize {
					l.flush()
				}
				tasks++
			}
		}
		l.flush()
	}
	return tasks, local
}
