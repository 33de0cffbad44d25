package hadooprpc

import "github.com/prometheus/client_golang/prometheus"

// metrics of one server; all carry its name.
type metrics struct {
	connections prometheus.Gauge
	halfOpen    prometheus.Gauge
	memory      prometheus.GaugeFunc
	calls       *prometheus.HistogramVec // seconds, by protocol and method
	errors      *prometheus.CounterVec   // by exception class
	refused     *prometheus.CounterVec   // by reason
}

func newMetrics(s *Server) (*metrics, error) {
	label := prometheus.Labels{"server": s.o.Name}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_hadooprpc_connections", Help: "Open connections.", ConstLabels: label}),
		halfOpen:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_hadooprpc_half_open_connections", Help: "Connections that have not said who they are.", ConstLabels: label}),
		memory: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_hadooprpc_buffered_bytes", Help: "Requests that are not answered and replies that are not sent.", ConstLabels: label},
			func() float64 { return float64(s.memory.Load()) }),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fairway_hadooprpc_call_seconds", Help: "Time from a request's arrival to its answer.", ConstLabels: label, Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"protocol", "method"}),
		errors:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_hadooprpc_call_errors_total", Help: "Calls that were answered with an exception.", ConstLabels: label}, []string{"class"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_hadooprpc_refused_total", Help: "Connections and packets that were refused.", ConstLabels: label}, []string{"reason"}),
	}
	if s.o.Registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.halfOpen, m.memory, m.calls, m.errors, m.refused} {
		if err := s.o.Registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
