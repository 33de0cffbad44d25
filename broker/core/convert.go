package core

import (
	"fmt"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
)

// maxQuantity bounds every amount that a peer may state, so that sums of millions of them do not saturate.
const maxQuantity = 1 << 50

// vector reads amounts from a message. Named kinds must be known.
func vector(r *v1.Resources, kinds *resource.Kinds) (resource.Vector, error) {
	var v resource.Vector
	if r == nil {
		return v, nil
	}
	v = resource.Vector{r.CpuMilli, r.MemoryBytes, r.DiskBytes, r.Gpus, r.Ports}
	for name, n := range r.Named {
		slot, ok := kinds.Slot(name)
		if !ok || slot < resource.Named {
			return v, fmt.Errorf("%w: no agent has a resource named %q", api.ErrInvalid, name)
		}
		v[slot] = n
	}
	for slot, n := range v {
		if n < 0 || n > maxQuantity {
			return v, fmt.Errorf("%w: an amount of %s of %d", api.ErrInvalid, kinds.Name(slot), n)
		}
	}
	return v, nil
}

// limitVector is vector for limits, where what is absent has no limit.
func limitVector(r *v1.Resources, kinds *resource.Kinds) (resource.Vector, error) {
	v, err := vector(r, kinds)
	for slot, n := range v {
		if n == 0 {
			v[slot] = resource.Unlimited
		}
	}
	return v, err
}

// amounts is the reverse of vector. A negative slot, which is a limit that is none, is left out.
func amounts(v resource.Vector, kinds *resource.Kinds) *v1.Resources {
	v = v.Floor()
	r := &v1.Resources{
		CpuMilli: v[resource.CPU], MemoryBytes: v[resource.Memory], DiskBytes: v[resource.Disk], Gpus: v[resource.GPU], Ports: v[resource.Ports],
	}
	for slot := resource.Named; slot < resource.Slots; slot++ {
		if v[slot] > 0 {
			if r.Named == nil {
				r.Named = map[string]int64{}
			}
			r.Named[kinds.Name(slot)] = v[slot]
		}
	}
	return r
}

// portSet reads ranges from a message.
func portSet(ranges []*v1.PortRange) (resource.PortSet, error) {
	if len(ranges) == 0 {
		return nil, nil
	}
	if len(ranges) > 4096 {
		return nil, fmt.Errorf("%w: %d ranges of ports", api.ErrInvalid, len(ranges))
	}
	all := make([]resource.PortRange, 0, len(ranges))
	for _, r := range ranges {
		if r.GetFirst() == 0 || r.GetLast() > 65535 || r.GetFirst() > r.GetLast() {
			return nil, fmt.Errorf("%w: ports %d-%d", api.ErrInvalid, r.GetFirst(), r.GetLast())
		}
		all = append(all, resource.PortRange{First: uint16(r.First), Last: uint16(r.Last)})
	}
	return resource.NewPortSet(all...), nil
}

// portRanges is the reverse of portSet.
func portRanges(s []resource.PortRange) []*v1.PortRange {
	if len(s) == 0 {
		return nil
	}
	out := make([]*v1.PortRange, len(s))
	for i, r := range s {
		out[i] = &v1.PortRange{First: uint32(r.First), Last: uint32(r.Last)}
	}
	return out
}

// terminal tells whether a task in that state has ended.
func terminal(s v1.TaskState) bool {
	return s >= v1.TaskState_TASK_STATE_FINISHED && s <= v1.TaskState_TASK_STATE_LOST
}

// ended tells whether a job in that phase has ended.
func ended(p v1.JobPhase) bool { return p >= v1.JobPhase_JOB_PHASE_SUCCEEDED }

// line makes text from a peer fit to be shown on one line.
func line(text string) string {
	b := []rune(text)
	if len(b) > 4096 {
		b = append(b[:4093:4093], '.', '.', '.')
	}
	return string(b)
}
