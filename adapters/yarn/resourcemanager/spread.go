package resourcemanager

import "fairway/frameworks/spark"

// sparkType is what Spark's client calls its applications.
const sparkType = "SPARK"

// spreader says how many of total containers of one amount should be on each of some hosts, by the counts of their rows.
type spreader func(total int64, one amount, hosts []string, counts []int64) []int64

// spreader is Spark's policy for an application of Spark, and nil for others: a row of MapReduce is of maps, each of which
// wants any one of its hosts as soon as possible.
func (a *application) spreader(s *snapshot) spreader {
	if a.kind != sparkType {
		return nil
	}
	return func(total int64, one amount, names []string, counts []int64) []int64 {
		if len(names) < 2 {
			return counts
		}
		held := map[string]int64{}
		for _, c := range a.containers {
			if c.isMaster || c.status != nil {
				continue
			}
			for _, h := range c.hosts {
				held[h]++
			}
		}
		full := map[string]bool{}
		for _, n := range s.nodes {
			for _, name := range n.names {
				full[name] = n.Memory-n.UsedMemory < one.memory || n.VCores-n.UsedVCores < int64(one.vcores)
			}
		}
		hosts := make([]spark.Host, len(names))
		for i, name := range names {
			hosts[i] = spark.Host{Waiting: counts[i], Held: held[name], Full: full[name]}
		}
		return spark.Spread(total, hosts)
	}
}
