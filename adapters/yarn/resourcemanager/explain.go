package resourcemanager

import (
	"context"
	"fmt"
	"slices"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// ExplainJob says why a job waits, as the broker does. Of a request that is not stated yet the broker cannot know: that an
// application's master is held back by its queue's share for masters is said here, as it stands
// when it is asked.
func (m *Manager) ExplainJob(ctx context.Context, caller api.Caller, id string) (*v1.Explanation, error) {
	x, err := m.o.Broker.ExplainJob(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	a := m.ofJob(x.JobId)
	if a == nil {
		return x, nil
	}
	if x.HeldBack = m.masters.heldBack(m, a); x.HeldBack != nil && m.cluster().total != (amount{}) { // else the broker says that there is no agent
		x.Summary = heldBackText(x.HeldBack, m.o.MasterShare)
	}
	return x, nil
}

// ofJob is the application of a job of the broker, nil if it has none.
func (m *Manager) ofJob(job string) *application {
	for _, a := range m.all() {
		a.mu.Lock()
		is := a.job == job
		a.mu.Unlock()
		if is {
			return a
		}
	}
	return nil
}

// heldBack is what keeps an application's master from being asked for; nil: nothing does.
func (x *masters) heldBack(m *Manager, a *application) *v1.HeldBack {
	x.mu.Lock()
	defer x.mu.Unlock()
	for path, q := range x.queues {
		at := slices.IndexFunc(q.waiting, func(w waitingMaster) bool { return w.app == a })
		if at < 0 {
			continue
		}
		s, w := m.cluster(), q.waiting[at]
		part := m.masterShare(s, path)
		limit := &v1.Resources{MemoryBytes: int64(part * float64(s.total.memory*mib)), CpuMilli: int64(part * float64(s.total.vcores) * 1000)} // other kinds have none
		return &v1.HeldBack{
			By: "masters of queue " + queueOf(path).name, Wanted: w.shape.shape(), Held: q.used.shape(), Limit: limit, Ahead: uint32(at),
			WaitingNanos: int64(max(time.Since(w.since), 0)),
		}
	}
	return nil
}

// heldBackText says it in a line; share is the part of a queue's share that its masters may take.
func heldBackText(h *v1.HeldBack, share float64) string {
	text := fmt.Sprintf("its master waits: %s hold %s, and may hold %s together, %.3g %% of the queue's share; it needs %s", h.By, inWords(h.Held), inWords(h.Limit), 100*share,
		inWords(h.Wanted))
	switch h.Ahead {
	case 0:
		return text
	case 1:
		return text + "; 1 master waits before it"
	}
	return fmt.Sprintf("%s; %d masters wait before it", text, h.Ahead)
}

// inWords is an amount in YARN's units.
func inWords(r *v1.Resources) string {
	text := fmt.Sprintf("%d MiB and %g vcores", r.MemoryBytes/mib, float64(r.CpuMilli)/1000)
	amountOf(r).each(func(name string, n int64) { text += fmt.Sprintf(", %d %s", n, name) })
	return text
}
