package agent

import (
	"bytes"

	v1 "fairway/broker/api/fairwayv1"
)

// Bounds of what services may say of jobs; the broker has the same.
const (
	maxReport  = 1 << 10
	maxReports = 1000
)

// subject is what a service says something of.
type subject struct{ service, job string }

// reports are what services said last of jobs. The broker does not keep them, so each session begins with all of them; the
// oldest give way to newer ones.
type reports struct {
	last  map[subject][]byte
	order []subject // oldest first
}

// put takes a report; false: it says nothing new.
func (r *reports) put(about subject, data []byte) bool {
	old, known := r.last[about]
	if known && bytes.Equal(old, data) {
		return false
	}
	if r.last == nil {
		r.last = map[subject][]byte{}
	}
	if !known {
		if len(r.order) == maxReports {
			delete(r.last, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, about)
	}
	r.last[about] = data
	return true
}

func (r *reports) message(about ...subject) *v1.AgentMessage {
	all := &v1.ServiceReports{}
	for _, s := range about {
		all.Reports = append(all.Reports, &v1.ServiceReport{Service: s.service, JobId: s.job, Data: r.last[s]})
	}
	return &v1.AgentMessage{Message: &v1.AgentMessage_Reports{Reports: all}}
}

// reported passes a report on. If the session ends before, the next one begins with it.
func (o *owner) reported(e serviceReport) {
	if o.reports.put(e.about, e.data) && o.registered {
		_ = o.session.Send(o.reports.message(e.about))
	}
}

// repeatReports says in a new session what services have said.
func (o *owner) repeatReports() {
	if len(o.reports.order) > 0 {
		_ = o.session.Send(o.reports.message(o.reports.order...))
	}
}
