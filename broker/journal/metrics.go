package journal

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the journal's.
type metrics struct {
	registerer       prometheus.Registerer
	collectors       []prometheus.Collector
	registered       []prometheus.Collector
	seconds          prometheus.Histogram
	bytes            prometheus.Counter
	failures         prometheus.Counter
	snapshotFailures prometheus.Counter
}

func newMetrics(r prometheus.Registerer, j *Journal) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairway", Subsystem: "journal", Name: name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "fairway", Subsystem: "journal", Name: name, Help: help}, f)
	}
	m := &metrics{
		registerer: r,
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "fairway", Subsystem: "journal", Name: "append_seconds", Help: "Time from the append of an entry until it was durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
		bytes:            counter("appended_bytes_total", "Bytes of the entries that were made durable."),
		failures:         counter("append_failures_total", "Entries that were not made durable, as far as is known."),
		snapshotFailures: counter("snapshot_failures_total", "Snapshots that could not be written."),
	}
	m.collectors = []prometheus.Collector{
		m.seconds, m.bytes, m.failures, m.snapshotFailures,
		gauge("in_flight_entries", "Entries on their way to the disk.", func() float64 { return float64(j.InFlight()) }),
		gauge("log_bytes", "Bytes of entries since the last snapshot.", func() float64 { return float64(j.machine.logBytes.Load()) }),
		gauge("snapshot_bytes", "Size of the newest snapshot.", func() float64 { return float64(j.snapshots.bytes.Load()) }),
		gauge("snapshot_timestamp_seconds", "When the newest snapshot was written, in Unix time.", func() float64 { return float64(j.snapshots.at.Load()) / 1e9 }),
		gauge("snapshot_pause_seconds", "The longest that taking a snapshot stopped the state machine.", func() float64 {
			return time.Duration(j.machine.pause.Load()).Seconds()
		}),
		gauge("leader", "1 if this broker leads.", func() float64 {
			j.mu.Lock()
			defer j.mu.Unlock()
			if j.leads {
				return 1
			}
			return 0
		}),
	}
	return m
}

// register makes the metrics visible; the journal is complete by then.
func (m *metrics) register() error {
	if m.registerer == nil {
		return nil
	}
	for _, c := range m.collectors {
		if err := m.registerer.Register(c); err != nil {
			return fmt.Errorf("metrics of the journal: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

func (m *metrics) finished(e *entry, err error) {
	if err != nil {
		m.failures.Inc()
		return
	}
	m.seconds.Observe(time.Since(e.at).Seconds())
	m.bytes.Add(float64(len(e.data)))
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}
