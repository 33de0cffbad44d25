package agent

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one agent. A nil *metrics, or one without a registerer, counts into the void.
type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector

	launches   prometheus.Counter
	ended      *prometheus.CounterVec
	start      prometheus.Histogram
	live       prometheus.Gauge
	updates    prometheus.Gauge
	registered prometheus.Gauge
	refused    prometheus.Counter
	checkpoint prometheus.Histogram
	sent       *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{registerer: r,
		launches: prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_agent_launches_total", Help: "Tasks that the broker told this agent to launch."}),
		ended:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_agent_tasks_ended_total", Help: "Tasks that have ended, by state and reason."}, []string{"state", "reason"}),
		start: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairway_agent_task_start_seconds", Help: "From the launch command to the execution of the task's program, fetching included.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14)}),
		live:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_agent_tasks", Help: "Tasks that are being launched or run."}),
		updates:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_agent_updates_unacknowledged", Help: "Status updates that the broker has not acknowledged."}),
		registered: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_agent_registered", Help: "1 while the agent is registered with a broker."}),
		refused:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_agent_commands_refused_total", Help: "Commands with a lower epoch than the agent has seen."}),
		checkpoint: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairway_agent_checkpoint_seconds", Help: "Duration of one durable checkpoint.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14)}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_agent_data_sent_bytes_total", Help: "Bytes that the data server has sent, by kind (files, logs)."}, []string{"kind"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.launches, m.ended, m.start, m.live, m.updates, m.registered, m.refused, m.checkpoint, m.sent} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
		m.all = append(m.all, c)
	}
	return m, nil
}

// unregister lets a later agent of the same process use the registerer again, as tests and fairway dev do.
func (m *metrics) unregister() {
	if m == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
	m.all = nil
}
