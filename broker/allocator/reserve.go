package allocator

import "math"

func (m *Machine) reserve() {}

func (m *Machine) starveDeadline() int64 { return math.MaxInt64 }

// unreserve gives up the agent that is kept for a group.
func (m *Machine) unreserve(at int32) {}

// unkeep gives up an agent's reservation.
func (m *Machine) unkeep(id AgentID) {}

func (m *Machine) keepOrServe(id AgentID) bool { return true }
