package resourcemanager

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/adapters/yarn/wire"
)

type metrics struct {
	latency   prometheus.Histogram
	inCall    prometheus.Counter
	handed    prometheus.Counter
	allocate  prometheus.Counter
	preempted prometheus.Counter
}

func newMetrics(m *Manager, r prometheus.Registerer) (*metrics, error) {
	x := &metrics{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairway_yarn_allocate_latency_seconds", Help: "From the call that carries an ask to the response that carries the container.",
			Buckets: []float64{.001, .002, .005, .01, .015, .02, .025, .035, .05, .1, .25, .5, 1, 2, 5},
		}),
		inCall:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_yarn_answered_in_call_total", Help: "Containers handed out in the call that carried their ask."}),
		handed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_yarn_containers_total", Help: "Containers handed out to masters."}),
		allocate:  prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_yarn_allocate_calls_total", Help: "Calls of masters for containers."}),
		preempted: prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_yarn_containers_preempted_total", Help: "Containers ended for other queues."}),
	}
	if r == nil {
		return x, nil
	}
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_yarn_applications", Help: "Applications that have not ended."}, func() float64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return float64(len(m.apps) - len(m.old))
	})
	for _, c := range []prometheus.Collector{x.latency, x.inCall, x.handed, x.allocate, x.preempted, live} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return x, nil
}

// count notes that an application was submitted, or how it ended.
func (m *Manager) count(s wire.YarnApplicationStateProto) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s {
	case wire.YarnApplicationStateProto_SUBMITTED:
		m.counts.submitted++
	case wire.YarnApplicationStateProto_FINISHED:
		m.counts.completed++
	case wire.YarnApplicationStateProto_FAILED:
		m.counts.failed++
	case wire.YarnApplicationStateProto_KILLED:
		m.counts.killed++
	}
}
