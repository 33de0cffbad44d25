package core

import (
	"github.com/prometheus/client_golang/prometheus"

	v1 "fairway/broker/api/fairwayv1"
)

// metrics are the broker's own. They are of the Broker and outlive a machine.
type metrics struct {
	turn      prometheus.Histogram
	messages  prometheus.Counter
	facts     prometheus.Counter
	entries   prometheus.Counter
	inFlight  prometheus.Gauge
	requests  prometheus.Counter
	offers    prometheus.Counter
	declined  prometheus.Counter
	rescinded prometheus.Counter
	reclaims  prometheus.Counter
	launched  prometheus.Counter
	ended     map[v1.TaskState]prometheus.Counter
	refused   *prometheus.CounterVec
	submitted prometheus.Counter
	jobsEnded *prometheus.CounterVec
	agents    *prometheus.GaugeVec
	running   prometheus.Gauge
}

// newMetrics registers the metrics. waiting is the length of the mailbox.
func newMetrics(r prometheus.Registerer, waiting func() int) *metrics {
	if r == nil {
		r = prometheus.NewRegistry() // that nobody reads
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairway", Subsystem: "broker", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairway", Subsystem: "broker", Name: name, Help: help}, []string{label})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "fairway", Subsystem: "broker", Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	m := &metrics{
		messages:  counter("messages_total", "Messages that the owner has taken."),
		facts:     counter("facts_total", "Facts handed to the journal."),
		entries:   counter("entries_total", "Entries handed to the journal."),
		inFlight:  gauge("entries_in_flight", "Entries on their way to the disk."),
		requests:  counter("requests_total", "Request groups stated or changed."),
		offers:    counter("offers_total", "Offers made."),
		declined:  counter("offers_declined_total", "Offers declined."),
		rescinded: counter("offers_rescinded_total", "Offers taken back or expired."),
		reclaims:  counter("reclaims_total", "Times that a framework was asked to give resources back."),
		launched:  counter("tasks_launched_total", "Tasks launched."),
		submitted: counter("jobs_submitted_total", "Jobs submitted."),
		refused:   vec("calls_refused_total", "Calls of frameworks that were refused.", "call"),
		jobsEnded: vec("jobs_ended_total", "Jobs ended, by phase.", "phase"),
		running:   gauge("tasks_live", "Tasks that have not ended."),
		ended:     map[v1.TaskState]prometheus.Counter{},
	}
	ended := vec("tasks_ended_total", "Tasks ended, by state.", "state")
	for s, name := range map[v1.TaskState]string{
		v1.TaskState_TASK_STATE_FINISHED: "finished", v1.TaskState_TASK_STATE_FAILED: "failed",
		v1.TaskState_TASK_STATE_KILLED: "killed", v1.TaskState_TASK_STATE_LOST: "lost",
	} {
		m.ended[s] = ended.WithLabelValues(name)
	}
	m.agents = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "fairway", Subsystem: "broker", Name: "agents", Help: "Agents, by state: active, draining, drained, unreachable or gone.",
	}, []string{"state"})
	m.turn = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "fairway", Subsystem: "broker", Name: "turn_seconds", Help: "Time that one turn of the owner took.",
		Buckets: prometheus.ExponentialBuckets(10e-6, 4, 10),
	})
	r.MustRegister(m.agents, m.turn, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fairway", Subsystem: "broker", Name: "mailbox_messages", Help: "Messages that wait for the owner.",
	}, func() float64 { return float64(waiting()) }))
	return m
}
