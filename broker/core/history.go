package core

import (
	"context"
	"time"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

const (
	// sampleEvery is how close together two samples of the shares may be. In ns.
	sampleEvery = int64(10 * time.Millisecond)
	// maxShares bounds what is kept, in roles' shares over all samples.
	maxShares = 1 << 19
)

// history keeps the roles' shares over time, the newest part of it.
type history struct {
	samples []*v1.ShareSample // a ring from first on, once it is full
	shares  int
	last    int64 // when the newest was taken
	pending bool  // something has changed since
}

func (h *history) due() (int64, bool) { return h.last + sampleEvery, h.pending }

func (h *history) add(s *v1.ShareSample) {
	h.samples = append(h.samples, s)
	h.shares += len(s.Roles)
	drop := 0
	for h.shares > maxShares && drop < len(h.samples)-1 {
		h.shares -= len(h.samples[drop].Roles)
		drop++
	}
	if drop > 0 {
		clear(h.samples[:drop])
		h.samples = h.samples[drop:] // append moves it when the array is used up
	}
}

// sample takes one of the shares if they may have changed, at most one in 10 ms.
func (m *machine) sample() {
	if m.changed {
		m.history.pending, m.changed = true, false
	}
	if at, pending := m.history.due(); !pending || m.now < at && len(m.history.samples) > 0 {
		return
	}
	m.history.last, m.history.pending = m.now, false
	s := &v1.ShareSample{UnixNanos: m.wall}
	m.alloc.Shares(func(id allocator.RoleID, share allocator.Share) {
		r := m.roles[uint32(id)]
		if r == nil || r.num == 0 {
			return
		}
		// What is offered is held for the role and counts as the sharing decision counts it.
		x := &v1.RoleShare{Role: r.path, Launched: r.launched, Waiting: uint32(min(share.Waiting, 1<<32-1)), DominantShare: share.Dominant}
		if x.DominantShare != 0 || x.Waiting != 0 || x.Launched != 0 {
			s.Roles = append(s.Roles, x)
		}
	})
	if n := len(m.history.samples); n > 0 && same(m.history.samples[n-1], s) {
		return
	}
	m.history.add(s)
}

func same(a, b *v1.ShareSample) bool {
	if len(a.Roles) != len(b.Roles) {
		return false
	}
	for i, x := range a.Roles {
		y := b.Roles[i]
		if x.Role != y.Role || x.DominantShare != y.DominantShare || x.Waiting != y.Waiting || x.Launched != y.Launched {
			return false
		}
	}
	return true
}

// GetHistory implements api.Broker.
func (b *Broker) GetHistory(ctx context.Context, caller api.Caller, since int64) (*v1.History, error) {
	return ask(ctx, b, func(m *machine, reply func(*v1.History, error)) {
		out := &v1.History{}
		for i := len(m.history.samples) - 1; i >= 0 && m.history.samples[i].UnixNanos >= since; i-- {
			out.Samples = append(out.Samples, m.history.samples[i])
		}
		for i, j := 0, len(out.Samples)-1; i < j; i, j = i+1, j-1 {
			out.Samples[i], out.Samples[j] = out.Samples[j], out.Samples[i]
		}
		reply(out, nil)
	})
}
