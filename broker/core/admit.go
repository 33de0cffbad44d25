package core

import (
	"time"

	"go.uber.org/zap"

	v1 "fairway/broker/api/fairwayv1"
)

// After a restart all agents come back at once, each with the list of what it runs. They are let in at Config.AgentRate,
// so that the owner has time for everybody else; a tenth of a second's worth may come together. Those who must wait are
// not refused: they keep their session and their place, and count as heard until their turn.

// queueAgent registers an agent, at once or when its turn comes.
func (m *machine) queueAgent(s *agentSession, r *v1.RegisterAgent) {
	step := int64(time.Second) / int64(m.cfg.AgentRate)
	burst := step * int64(max(1, m.cfg.AgentRate/10))
	m.admitted = max(m.admitted, m.now) + step
	at := m.admitted - burst
	if at <= m.now {
		m.letIn(s, r)
		return
	}
	s.waiting = true
	if known := m.st.AgentByID(r.AgentId); r.AgentId != "" && known != nil {
		if a := m.agents[known.Number]; a != nil {
			a.heard = max(a.heard, at)
		}
	}
	m.timers.after(at, func() {
		if s.waiting {
			s.waiting = false
			m.letIn(s, r)
		}
	})
}

func (m *machine) letIn(s *agentSession, r *v1.RegisterAgent) {
	if err := m.registerAgent(s, r); err != nil {
		m.log.Warn("an agent was refused", zap.String("host", r.GetInfo().GetHost()), zap.String("remote", s.caller.Remote), zap.Error(err))
		m.dismiss(s, err.Error())
	}
}
