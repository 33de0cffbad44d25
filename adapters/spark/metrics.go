package spark

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec // by message
	refused  *prometheus.CounterVec // by reason
	blocks   prometheus.Counter
	failed   prometheus.Counter
	bytes    prometheus.Counter
}

func newMetrics(r prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_spark_shuffle_requests_total", Help: "Requests to the Spark shuffle service, by message."}, []string{"message"}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_spark_shuffle_refused_total", Help: "Requests and connections refused, by reason."}, []string{"reason"}),
		blocks:   prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_spark_shuffle_chunks_total", Help: "Chunks (blocks, or runs of them) sent."}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_spark_shuffle_chunks_failed_total", Help: "Chunks that could not be sent."}),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_spark_shuffle_sent_bytes_total", Help: "Bytes of blocks sent."}),
	}
	if r != nil {
		gauge := func(name, help string, f func() float64) prometheus.Collector {
			return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
		}
		r.MustRegister(m.requests, m.refused, m.blocks, m.failed, m.bytes,
			gauge("fairway_spark_shuffle_connections", "Open connections of the Spark shuffle service.", func() float64 {
				s.mu.Lock()
				defer s.mu.Unlock()
				return float64(len(s.conns))
			}),
			gauge("fairway_spark_shuffle_request_bytes", "Memory of requests, and of opened blocks that nobody has fetched yet.", func() float64 { return float64(s.memory.used.Load()) }),
			gauge("fairway_spark_shuffle_applications", "Applications known to the Spark shuffle service.", func() float64 { return float64(s.apps.count()) }),
			gauge("fairway_spark_shuffle_executors", "Executors registered with the Spark shuffle service.", func() float64 { return float64(s.apps.executors()) }))
	}
	return m
}
