package core

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Bounds of what an agent's services may say of jobs: the bytes of one report, and the reports of one message.
const (
	maxReportData  = 1 << 10
	maxReports     = 1000
	maxServiceName = 64
	// maxReporters bounds the reports that are kept of a job.
	maxReporters = 20_000
)

// reporter is a service of an agent.
type reporter struct {
	agent   *agent
	service string
}

// serviceReports keeps the newest reports of an agent's services on its jobs, and tells those that wait for them. They are
// soft: after a restart of the broker, agents say them again.
func (m *machine) serviceReports(a *agent, all []*v1.ServiceReport) {
	if len(all) > maxReports {
		m.log.Warn("reports of an agent's services were refused: they are too many", zap.String("agent", a.id), zap.Int("reports", len(all)))
		return
	}
	for _, r := range all {
		if r.GetService() == "" || len(r.Service) > maxServiceName || len(r.Data) > maxReportData {
			m.log.Warn("a report of an agent's service was refused: it is too large or names no service", zap.String("agent", a.id), zap.Int("bytes", len(r.GetData())))
			continue
		}
		j, err := m.findJob(r.JobId)
		if err != nil {
			continue // it is forgotten
		}
		from := reporter{a, r.Service}
		if j.reports[from] == nil && len(j.reports) >= maxReporters {
			continue
		}
		if j.reports == nil {
			j.reports = map[reporter]*v1.ServiceReport{}
		}
		kept := &v1.ServiceReport{Service: r.Service, JobId: j.id, Data: r.Data, AgentId: a.id}
		j.reports[from] = kept
		for w := range m.readers {
			if w.service == r.Service {
				m.then(func() { w.put(kept) })
			}
		}
	}
}

// dropReports forgets what an agent has said of a job.
func (m *machine) dropReports(j *job, a *agent) {
	for from := range j.reports {
		if from.agent == a {
			delete(j.reports, from)
		}
	}
}

// subject is what a report is about, for readers of one service.
type subject struct{ agent, job string }

// reader waits for the reports of a service. What it has not read yet is replaced by what is newer.
type reader struct {
	service string
	wake    chan struct{} // of capacity one

	mu      sync.Mutex
	reports map[subject]*v1.ServiceReport
}

func (w *reader) put(r *v1.ServiceReport) {
	w.mu.Lock()
	w.reports[subject{r.AgentId, r.JobId}] = r
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *reader) take() map[subject]*v1.ServiceReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.reports
	w.reports = map[subject]*v1.ServiceReport{}
	return out
}

// WatchReports implements api.ClusterWatcher.
func (b *Broker) WatchReports(ctx context.Context, _ api.Caller, service string, each func(*v1.ServiceReport) error) error {
	w := &reader{service: service, wake: make(chan struct{}, 1), reports: map[subject]*v1.ServiceReport{}}
	enter := func(m *machine) error {
		for _, j := range m.jobs {
			for from, r := range j.reports {
				if from.service == service {
					w.put(r)
				}
			}
		}
		m.readers[w] = struct{}{}
		return nil
	}
	leave := func(m *machine) { delete(m.readers, w) }
	return b.watch(ctx, w.wake, enter, leave, func() (done bool, err error) {
		for _, r := range w.take() {
			if err := each(r); err != nil {
				return true, err
			}
		}
		return false, nil
	})
}
