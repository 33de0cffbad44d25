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
			state.FrameworkChanged, state.TaskLaunched, state.TaskEnded, state.TaskResized:
			m.then(m.tellOnlookers)
			return
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
	now := b.serving.Load()
	if now == nil {
		return errNotServing
	}
	w, err := ask(ctx, b, func(m *machine, reply func(onlooker, error)) {
		w := make(onlooker, 1)
		w <- struct{}{}
		m.onlookers[w] = struct{}{}
		reply(w, nil)
	})
	if err != nil {
		return err
	}
	defer func() {
		// Without an owner there is nothing to leave.
		_ = b.box.put(message{do: func(m *machine) { delete(m.onlookers, w) }}, true)
	}()
	for {
		select {
		case <-w:
			if err := each(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-now.over:
			return errNotServing
		}
	}
}
