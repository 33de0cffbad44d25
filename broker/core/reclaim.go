package core

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"fairway/broker/allocator"
	v1 "fairway/broker/api/fairwayv1"
)

// reclaiming is resources that a framework is to give back for another. It is soft: after a restart the allocator finds
// again what is needed.
type reclaiming struct {
	id       uint64
	from     *framework
	owner    *framework // that they are for
	group    allocator.GroupID
	asked    uint32
	count    uint32 // tasks that room is still wanted for
	shape    *v1.Resources
	most     *v1.Resources
	agents   []string
	deadline int64
}

// yield notes whether a framework gives resources back when it is asked; one that does not, or is away, is not.
func (m *machine) yield(f *framework, yields bool) {
	if f.yields == yields {
		return
	}
	f.yields = yields
	if !yields {
		m.dropReclaims(f)
	}
	m.event(allocator.Event{Kind: allocator.Reclaimable, Framework: allocator.FrameworkID(f.num), Flag: yields})
}

// dropReclaims forgets what a framework was asked for, as the allocator does by itself.
func (m *machine) dropReclaims(f *framework) {
	for id, r := range m.reclaims {
		if r.from == f {
			r.count = 0
			m.sayReclaim(r)
			delete(m.reclaims, id)
		}
	}
}

// reclaimed takes the allocator's word on what a framework is to give back.
func (m *machine) reclaimed(x *allocator.Reclaim) {
	r := m.reclaims[x.ID]
	if r == nil && x.Count != x.Asked {
		return // its framework has gone, or does not hear of it any more
	}
	if r == nil {
		from, owner := m.frameworks[uint32(x.Framework)], m.frameworks[uint32(x.For)]
		if from == nil || owner == nil {
			m.broken("reclaim %d from framework %d for %d, which are not there", x.ID, x.Framework, x.For)
		}
		r = &reclaiming{
			id: x.ID, from: from, owner: owner, group: x.Group, asked: x.Asked, shape: amounts(x.Shape, &m.kinds), most: amounts(x.Most, &m.kinds), deadline: x.Deadline,
		}
		for _, id := range x.Agents {
			r.agents = append(r.agents, m.agents[uint32(id)].id)
		}
		m.reclaims[x.ID] = r
		m.met.reclaims.Inc()
		m.log.Info("resources are reclaimed", zap.String("from", from.id), zap.String("for", owner.id), zap.String("role", owner.role.path),
			zap.Uint32("tasks", x.Asked), zap.String("shape", x.Shape.Format(&m.kinds)))
	}
	if r.count = x.Count; r.count == 0 {
		delete(m.reclaims, x.ID)
	}
	m.sayReclaim(r)
	for _, f := range []*framework{r.from, r.owner} {
		if f.job != nil {
			m.soil(f.job)
		}
	}
}

func (m *machine) sayReclaim(r *reclaiming) {
	m.say(r.from, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Reclaim{Reclaim: &v1.Reclaim{
		Id: r.id, Asked: r.asked, Count: r.count, Shape: r.shape, Most: r.most, Agents: r.agents, DeadlineNanos: max(r.deadline-m.now, 0),
		Why: fmt.Sprintf("role %s waits below its fair share, and role %s is above its own", r.owner.role.path, r.from.role.path),
	}}})
}

// reclaimsOf are those from a framework and for it, oldest first. Of a launcher's only those for one job count.
func (m *machine) reclaimsOf(f *framework, only allocator.GroupID) (from, owed []*reclaiming) {
	for _, r := range m.reclaims {
		if r.from == f && only == 0 {
			owed = append(owed, r)
		}
		if r.owner == f && (only == 0 || r.group == only) {
			from = append(from, r)
		}
	}
	for _, all := range [][]*reclaiming{from, owed} {
		slices.SortFunc(all, func(a, b *reclaiming) int { return cmp.Compare(a.id, b.id) })
	}
	return from, owed
}

// explainReclaims adds to an explanation what is reclaimed for a framework, and from it.
func (m *machine) explainReclaims(x *v1.Explanation, f *framework, only allocator.GroupID) {
	if f == nil || len(m.reclaims) == 0 {
		return
	}
	from, owed := m.reclaimsOf(f, only)
	for _, r := range slices.Concat(from, owed) {
		x.Reclaiming = append(x.Reclaiming, &v1.Reclaiming{
			FromJob: r.from.jobID(), FromRole: r.from.role.path, ForJob: r.owner.jobID(), ForRole: r.owner.role.path, Count: r.count, Shape: r.shape,
			DeadlineNanos: max(r.deadline-m.now, 0),
		})
	}
	if len(from) > 0 {
		r := from[0]
		x.Summary += fmt.Sprintf("; reclaiming from %s, which has %v to give back room for %s", r.from.inWords(), time.Duration(max(r.deadline-m.now, 0)).Round(time.Second), tasks(r.count))
		if n := len(from) - 1; n > 0 {
			x.Summary += fmt.Sprintf(", and from %d more", n)
		}
	}
	if len(owed) > 0 {
		r := owed[0]
		x.Summary += fmt.Sprintf("; it is to give back room for %s of %s: its role is above its fair share", tasks(r.count), r.owner.inWords())
	}
}

func tasks(n uint32) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

func (f *framework) jobID() string {
	if f.job == nil {
		return ""
	}
	return f.job.id
}

// inWords names a framework for people.
func (f *framework) inWords() string {
	if f.job == nil {
		return fmt.Sprintf("%s (role %s)", f.name, f.role.path)
	}
	return fmt.Sprintf("job %s (role %s)", f.job.id, f.role.path)
}
