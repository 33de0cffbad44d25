package core

import (
	"context"

	"fairway/broker/api"
	"fairway/broker/state"
)

// onlooker is told that the cluster has changed; what it has not taken yet stands for all that came after.
type onlooker chan struct{}

// nudge tells onlookers of a turn after which agents, roles, or what they hold are others than before, once that is durable.
func (m *machine) nudge() {
	if len(m.onlookers) == 0 {
		return
	}
	for i := range m.facts {
		switch m.facts[i].Kind {
		case state.AgentAdmitted, state.AgentUpdated, state.AgentChanged, state.AgentForgotten, state.RoleSet, state.RoleRemoved,
			state.FrameworkChanged, state.TaskLaunched, state.TaskEnded, state.TaskResized, state.AgentDrained:
			m.then(m.tellOnlookers)
			return
		case state.JobChanged:
			if m.facts[i].Status >= state.JobSucceeded { // an agent that drains may have been held by its output only
				m.then(m.tellOnlookers)
				return
			}
		}
	}
}

func (m *machine) tellOnlookers() {
	for w := range m.onlookers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// WatchCluster implements api.ClusterWatcher.
func (b *Broker) WatchCluster(ctx context.Context, _ api.Caller, each func() error) error {
	w := make(onlooker, 1)
	w <- struct{}{}
	enter := func(m *machine) error {
		m.onlookers[w] = struct{}{}
		return nil
	}
	leave := func(m *machine) { delete(m.onlookers, w) }
	return b.watch(ctx, w, enter, leave, func() (done bool, err error) { return false, each() })
}
