package locality

import v1 "fairway/broker/api/fairwayv1"

// Counts is how often work ran near its data.
type Counts struct{ Node, Rack, Other int64 }

// Count adds one launch. Work without placed data is other.
func (c *Counts) Count(level v1.Locality) {
	switch level {
	case v1.Locality_LOCALITY_NODE:
		c.Node++
	case v1.Locality_LOCALITY_RACK:
		c.Rack++
	default:
		c.Other++
	}
}
