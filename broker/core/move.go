package core

import (
	"fmt"

	"go.uber.org/zap"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/state"
)

// changeRole has a framework work for another role, with its job and all that it runs.
func (m *machine) changeRole(f *framework, x *v1.ChangeRole) {
	to, err := m.findRole(x.GetRole())
	j := f.job
	switch {
	case err != nil:
	case f.launcher:
		err = fmt.Errorf("%w: the launcher stays where it is", api.ErrInvalid)
	case j != nil && (j.framework != f || j.submission.GetCoordinator() != nil):
		// Its coordinator counts in the share that coordinators have of the role.
		err = fmt.Errorf("%w: a job with a coordinator stays in its role", api.ErrInvalid)
	}
	if err != nil {
		m.refuse(f, &v1.Refused{Call: "change_role", Message: err.Error()})
		return
	}
	if from := f.role; to != from {
		yields := f.yields
		m.silence(f)
		tasks := m.tasksOf(f)
		each := func(kind allocator.EventKind) {
			for _, t := range tasks {
				if !terminal(t.state) && t.agent.placed {
					m.event(allocator.Event{
						Kind: kind, Agent: allocator.AgentID(t.agent.num), Framework: allocator.FrameworkID(f.num), Resources: t.resources,
					})
				}
			}
		}
		// The allocator takes these as one batch, so that nobody gets in between what is given back and what is taken again.
		m.event(allocator.Event{Kind: allocator.FrameworkRemove, Framework: allocator.FrameworkID(f.num)})
		each(allocator.TaskEnd)
		fact := state.Fact{Kind: state.FrameworkChanged, Framework: f.num, Duration: f.failover, Attempt: f.attempt, Role: to.num}
		if j != nil {
			fact.Job, j.role = j.num, to
			m.soil(j)
		}
		m.fact(fact)
		f.role = to
		for _, t := range tasks {
			if !terminal(t.state) {
				from.discharge(t.resources)
				to.charge(t.resources)
			}
		}
		m.addToAllocator(f)
		m.yield(f, yields)
		each(allocator.TaskStart)
		if f.suppressed {
			m.event(allocator.Event{Kind: allocator.Suppress, Framework: allocator.FrameworkID(f.num)})
		}
		m.changed = true
		m.log.Info("framework changed its role", zap.String("framework", f.id), zap.String("from", from.path), zap.String("to", to.path))
	}
	m.say(f, &v1.FrameworkEvent{Event: &v1.FrameworkEvent_RoleChanged{RoleChanged: &v1.RoleChanged{Role: to.path}}})
}
