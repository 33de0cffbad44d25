package mapreduce

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec // by HTTP status
	refused  *prometheus.CounterVec // by reason
	outputs  prometheus.Counter
	failed   prometheus.Counter
	bytes    prometheus.Counter
}

func newMetrics(r prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_hadoop_shuffle_requests_total", Help: "Requests for map outputs, by HTTP status."}, []string{"status"}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_hadoop_shuffle_refused_total", Help: "Requests refused, by reason."}, []string{"reason"}),
		outputs:  prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_hadoop_shuffle_outputs_total", Help: "Partitions of map outputs sent."}),
		failed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_hadoop_shuffle_outputs_failed_total", Help: "Partitions of map outputs begun and not sent to their end."}),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairway_hadoop_shuffle_sent_bytes_total", Help: "Bytes of map outputs sent."}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.refused, m.outputs, m.failed, m.bytes,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_hadoop_shuffle_connections", Help: "Open connections of the shuffle service."},
				func() float64 { return float64(s.open.Load()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairway_hadoop_shuffle_jobs", Help: "Jobs registered with the shuffle service."},
				func() float64 { return float64(s.jobs.count()) }))
	}
	return m
}
