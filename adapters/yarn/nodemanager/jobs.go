package nodemanager

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"fairway/adapters/yarn/id"
	"go.uber.org/zap"
)

// overLimit ends a container that is over its memory.
func (m *Manager) overLimit(name, diagnostics string) {
	cid, err := id.ParseContainer(name)
	if err != nil {
		return
	}
	m.mu.Lock()
	c := m.containers[cid]
	if c == nil || c.task == nil || c.outcome != nil {
		m.mu.Unlock()
		return
	}
	c.over = diagnostics
	task := c.task
	m.mu.Unlock()
	first, _, _ := strings.Cut(diagnostics, "\n")
	m.host.Kill(task, killGrace, first)
}

// sweep drops launch contexts whose grant never came.
func (m *Manager) sweep() error {
	tick := time.NewTicker(max(time.Second, m.o.StartWait/10))
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return nil
		case now := <-tick.C:
			for _, cid := range m.stale(now.Add(-m.o.StartWait)) {
				os.Remove(m.containerFile(cid))
			}
		}
	}
}

func (m *Manager) stale(before time.Time) []id.ContainerID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var gone []id.ContainerID
	for k, c := range m.containers {
		if c.app == nil && c.seen.Before(before) {
			delete(m.containers, k)
			gone = append(gone, k)
		}
	}
	return gone
}

// JobsLive implements service.Service. Which jobs have ended is decided at once, before other tasks come.
func (m *Manager) JobsLive(live map[string]bool) {
	m.mu.Lock()
	var gone []string
	for _, a := range m.apps {
		if !live[a.kept.Job] {
			gone = append(gone, a.kept.Job)
		}
	}
	m.mu.Unlock()
	if len(gone) > 0 {
		m.later(0, func() {
			for _, job := range gone {
				m.JobEnded(job)
			}
		})
	}
}

// JobEnded implements service.Service: the applications of a job go. None of its tasks runs any more.
func (m *Manager) JobEnded(job string) {
	m.mu.Lock()
	var ended []*application
	for _, a := range m.apps {
		if a.kept.Job == job && !a.done {
			a.done = true
			ended = append(ended, a)
		}
	}
	m.mu.Unlock()
	for _, a := range ended {
		m.endApplication(a)
	}
}

// endApplication hands an application's logs on, and removes the rest of it. What was kept of it goes last, so that a
// restart in between does it again.
func (m *Manager) endApplication(a *application) {
	for _, aux := range m.auxiliary {
		aux.EndApplication(a.kept.Application)
	}
	if err := m.handOverLogs(a); err != nil {
		m.log.Error("logs of an ended application are not taken care of until the agent's restart", zap.String("application", a.kept.Application), zap.Error(err))
		return
	}
	m.later(m.o.DeleteDelay, func() {
		if err := m.cache.DropApplication(a.kept.User, a.kept.Application); err != nil {
			m.log.Warn("application folder not removed", zap.Error(err))
		}
		m.mu.Lock()
		var gone []*container
		for k, c := range m.containers {
			if k.Application() == a.id {
				delete(m.containers, k)
				gone = append(gone, c)
			}
		}
		delete(m.apps, a.id)
		m.mu.Unlock()
		for _, c := range gone {
			m.dropRecord(c)
		}
		os.Remove(filepath.Join(m.private, "applications", a.kept.Application))
	})
}
