package core

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/state"
)

// An operator drains an agent to take it out of service without losing work. Nothing is placed there any more, what runs
// goes on, at most until a deadline. That it drains is a fact of its own, besides whether it is active, cut off or gone.

const (
	maxDrainTimeout = 366 * 24 * time.Hour
	maxDrainJobs    = 100             // named for one agent
	drainGrace      = 5 * time.Second // from being asked to end until being killed, for what still runs at the deadline
)

// DrainAgent implements api.Broker.
func (b *Broker) DrainAgent(ctx context.Context, caller api.Caller, r *v1.DrainAgentRequest) (*v1.Agent, error) {
	if t := r.GetTimeoutNanos(); t < 0 || t > int64(maxDrainTimeout) {
		return nil, fmt.Errorf("%w: a timeout of %v; it lies between 0 (none) and %v", api.ErrInvalid, time.Duration(t), maxDrainTimeout)
	}
	return b.changeDraining(ctx, caller, r.GetAgent(), true, r.GetTimeoutNanos())
}

// UndrainAgent implements api.Broker.
func (b *Broker) UndrainAgent(ctx context.Context, caller api.Caller, r *v1.UndrainAgentRequest) (*v1.Agent, error) {
	return b.changeDraining(ctx, caller, r.GetAgent(), false, 0)
}

func (b *Broker) changeDraining(ctx context.Context, caller api.Caller, name string, on bool, timeout int64) (*v1.Agent, error) {
	if !caller.Operator {
		return nil, fmt.Errorf("%w: only an operator may drain agents", api.ErrDenied)
	}
	return ask(ctx, b, func(m *machine, reply func(*v1.Agent, error)) {
		a, err := m.findAgent(name)
		if err == nil && on && a.status == state.AgentGone {
			err = fmt.Errorf("%w: agent %s is gone; nothing runs there", api.ErrInvalid, a.id)
		}
		if err != nil {
			reply(nil, err)
			return
		}
		if on || a.drains {
			m.drain(a, on, timeout)
			m.step() // so that the answer shows what was taken back
		}
		reply(m.agentMessageOf(a, m.st.Agent(a.num)), nil)
	})
}

// findAgent is an agent by its id, or by its host's name if only one that is not gone is there.
func (m *machine) findAgent(name string) (*agent, error) {
	if r := m.st.AgentByID(name); r != nil {
		return m.agents[r.Number], nil
	}
	var found *agent
	for _, a := range m.agentsInOrder() {
		if a.status == state.AgentGone || !strings.EqualFold(a.info.Host, name) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%w: host %s has agents %s and %s; name one by its id", api.ErrInvalid, line(name), found.id, a.id)
		}
		found = a
	}
	if found == nil || name == "" {
		return nil, fmt.Errorf("%w: agent %q", api.ErrNotFound, line(name))
	}
	return found, nil
}

// drain begins or ends the draining of an agent, or gives it another deadline.
func (m *machine) drain(a *agent, on bool, timeout int64) {
	f := state.Fact{Kind: state.AgentDrained, Agent: a.num, Flag: on, Wall: m.wall}
	if on {
		if r := m.st.Agent(a.num); r.Draining {
			f.Wall = r.DrainSince
		}
		if timeout > 0 {
			f.Duration = m.wall + timeout
		}
	}
	m.fact(f)
	was := a.drains
	a.drains = on
	m.show(a, m.stateOf(a))
	m.watchDraining(a, f.Duration)
	m.changed = true
	switch {
	case on:
		m.setDraining(a)
	case was && a.placed:
		m.event(allocator.Event{Kind: allocator.AgentUndrain, Agent: allocator.AgentID(a.num)})
		m.consider = true
	}
	m.log.Info("draining", zap.String("agent", a.id), zap.String("host", a.info.Host), zap.Bool("on", on), zap.Duration("timeout", time.Duration(timeout)),
		zap.Int("tasks", len(a.tasks)))
}

// setDraining has the allocator offer nothing of an agent that drains.
func (m *machine) setDraining(a *agent) {
	if !a.drains || !a.placed {
		return
	}
	for _, o := range a.offers {
		o.dead = true
	}
	m.event(allocator.Event{Kind: allocator.AgentDrain, Agent: allocator.AgentID(a.num)})
}

// loadDraining takes over what the state says of an agent; the allocator hears of it when the agent is placed.
func (m *machine) loadDraining(a *agent, r *state.Agent) {
	if a.drains = r.Draining; a.drains {
		m.show(a, m.stateOf(a))
		m.watchDraining(a, r.DrainUntil)
	}
}

// watchDraining ends what runs on an agent at a time, in Unix ns; 0: never. The time is an operator's, so it passes also
// while the broker is down.
func (m *machine) watchDraining(a *agent, until int64) {
	a.drain++
	turn := a.drain
	if until == 0 {
		return
	}
	m.timers.after(m.now+max(until-m.wall, 0), func() {
		if m.agents[a.num] != a || !a.drains || a.drain != turn {
			return
		}
		for _, t := range m.tasksInOrder(a.tasks) {
			if !terminal(t.state) && !t.kill {
				m.killTask(t, v1.TaskReason_TASK_REASON_PREEMPTED, int64(drainGrace), "agent "+a.info.Host+" is taken out of service")
			}
		}
		m.log.Info("the time for draining is over", zap.String("agent", a.id), zap.Int("tasks", len(a.tasks)))
	})
}

// describeDraining says of an agent that it drains, and who keeps it from being done.
func (m *machine) describeDraining(x *v1.Agent, a *agent, k *state.Agent) {
	if !k.Draining {
		return
	}
	x.Draining, x.DrainSinceUnixNanos, x.DrainUntilUnixNanos = true, k.DrainSince, k.DrainUntil
	if a.status == state.AgentActive {
		x.SinceUnixNanos = max(x.SinceUnixNanos, k.DrainSince)
	}
	for _, j := range m.jobsInOrder() {
		if _, was := j.agents[a]; was && !m.record(j).HasEnded() && len(x.Jobs) < maxDrainJobs {
			x.Jobs = append(x.Jobs, j.id)
		}
	}
}
