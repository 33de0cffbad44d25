package nodemanager

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the containers on this agent.
type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector

	starts   *prometheus.CounterVec
	ended    *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	localise prometheus.Histogram
}

func newMetrics(m *Manager) (*metrics, error) {
	x := &metrics{
		registerer: m.o.Registerer,
		starts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_yarn_container_starts_total",
			Help: "Containers of YARN that were prepared, by result: ready, failed."}, []string{"result"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_yarn_containers_ended_total",
			Help: "Containers of YARN that ended, by how: success, failure, memory, killed, lost."}, []string{"how"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_yarn_localized_bytes_total",
			Help: "Bytes of files that containers of YARN asked for, by where they were: fetched, cached."}, []string{"from"}),
		localise: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairway_yarn_localization_seconds",
			Help: "Time until all files of a container of YARN were there.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 12)}),
	}
	x.all = []prometheus.Collector{x.starts, x.ended, x.bytes, x.localise,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_yarn_cache_bytes", Help: "Localised files that outlive applications."}, func() float64 { return float64(m.cache.Used()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_yarn_applications", Help: "Applications of YARN that have containers here, or had."}, func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return float64(len(m.apps))
		})}
	if x.registerer == nil {
		return x, nil
	}
	for i, c := range x.all {
		if err := x.registerer.Register(c); err != nil {
			x.all = x.all[:i]
			x.unregister()
			return nil, err
		}
	}
	return x, nil
}

func (x *metrics) unregister() {
	if x == nil || x.registerer == nil {
		return
	}
	for _, c := range x.all {
		x.registerer.Unregister(c)
	}
}

func (x *metrics) prepared(err error) {
	if err != nil {
		x.starts.WithLabelValues("failed").Inc()
		return
	}
	x.starts.WithLabelValues("ready").Inc()
}

// how groups exit statuses.
func how(status int32) string {
	switch status {
	case 0:
		return "success"
	case statusMemory:
		return "memory"
	case statusByMaster, statusByManager, statusAfterApp, statusAborted:
		return "killed"
	case statusLost:
		return "lost"
	}
	return "failure"
}
