package resourcemanager

import (
	"fairway/adapters/yarn/wire"
	"fairway/frameworks/spark"
)

// sparkType is what Spark's client calls its applications.
const sparkType = "SPARK"

// placer says on which hosts the containers of a group should be, and how many on each, where its rows say names and counts.
type placer func(g *askGroup, total int64, names []string, counts []int64) ([]string, []int64)

// placer is Spark's policy for an application of Spark, and nil for others: a row of MapReduce is of maps, each of which
// wants any one of its hosts as soon as possible.
func (a *application) placer(s *snapshot, t *attempt) placer {
	if a.kind != sparkType {
		return nil
	}
	return func(g *askGroup, total int64, names []string, counts []int64) ([]string, []int64) {
		switch {
		case g.tag != nil || !g.any.relax: // the master has said where
		case a.wish.Pack:
			if packed, n := a.pack(s, t, g, total); len(packed) > 0 { // else it takes what becomes free
				return packed, n
			}
		case len(names) > 1:
			return names, a.spread(s, t, g, total, names, counts)
		}
		return names, counts
	}
}

// spread spreads over the hosts of the group's rows.
func (a *application) spread(s *snapshot, t *attempt, g *askGroup, total int64, names []string, counts []int64) []int64 {
	held, room := a.executors(), map[string]int64{}
	each := partsOf(g.key.amount.shape())
	for _, n := range s.nodes {
		if k := n.room(t, g, each); k > 0 {
			for _, name := range n.names {
				room[name] += k
			}
		}
	}
	hosts := make([]spark.Host, len(names))
	for i, name := range names {
		hosts[i] = spark.Host{Waiting: counts[i], Held: held[name], Room: room[name]}
	}
	return spark.Spread(total, hosts)
}

// pack packs on any hosts of the cluster.
func (a *application) pack(s *snapshot, t *attempt, g *askGroup, total int64) (names []string, counts []int64) {
	held, at := a.executors(), map[string]int{}
	each := partsOf(g.key.amount.shape())
	var hosts []spark.Host
	for _, n := range s.nodes {
		waiting := int64(0)
		for _, name := range n.names {
			if r := g.hosts[name]; r != nil {
				waiting = max(waiting, r.count)
			}
		}
		k := n.room(t, g, each)
		if k <= 0 {
			continue
		}
		name := n.names[0]
		i, known := at[name]
		if !known {
			i = len(hosts)
			at[name] = i
			names, hosts = append(names, name), append(hosts, spark.Host{Held: held[name]})
		}
		hosts[i].Room += k
		hosts[i].Waiting = max(hosts[i].Waiting, waiting)
	}
	return names, spark.Pack(total, hosts)
}

// executors counts the application's by the names of their hosts.
func (a *application) executors() map[string]int64 {
	held := map[string]int64{}
	for _, c := range a.containers {
		if !c.isMaster && !c.released && !c.killing {
			for _, h := range c.hosts {
				held[h]++
			}
		}
	}
	return held
}

// room is how many containers of a group there was room for on a node when its snapshot was taken.
func (n *node) room(t *attempt, g *askGroup, each parts) int64 {
	if n.State != wire.NodeStateProto_NS_RUNNING || !n.Heard.IsZero() || n.Label != g.label || t.excluded[n.Rack] {
		return 0
	}
	for _, name := range n.names {
		if t.excluded[name] {
			return 0
		}
	}
	return times(each, n.free())
}
