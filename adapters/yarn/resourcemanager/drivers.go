package resourcemanager

import (
	"regexp"
	"strings"
	"time"

	"fairway/adapters/yarn/id"
	v1 "fairway/broker/api/fairwayv1"
)

// SubmissionVariable names, in the environment of a submission's master, what its client knows it by; the job has it as
// the label SubmissionLabel. So a client that runs an unmodified program finds what the program submitted.
const (
	SubmissionVariable = "FAIRWAY_SUBMISSION"
	SubmissionLabel    = "submission"
)

var submissionPattern = regexp.MustCompile(`^[0-9a-zA-Z_-]{1,64}$`)

// labels are those of the application's job. With mu held.
func (a *application) jobLabels() map[string]string {
	for _, e := range a.submission.GetAmContainerSpec().GetEnvironment() {
		if e.GetKey() == SubmissionVariable && submissionPattern.MatchString(e.GetValue()) {
			return map[string]string{SubmissionLabel: e.GetValue()}
		}
	}
	return nil
}

// Driver is the master of a live application, as far as its pages go.
type Driver struct {
	Attempt id.AttemptID
	User    string // the application's
	URL     string // that the master registered
}

// slowStart is how long an application's first containers take at most to come, and then to be at work.
const slowStart = 10 * time.Second

// Drivers lists the masters of applications of a type that have registered pages, whose containers are at work, and that have
// not said that they are done. A driver that is asked while its executors start loads the classes that answer when its machine
// has those Java machines to start. The executors are given three times what their master took to come up. A driver that gets
// none may have threads of its own instead.
func (m *Manager) Drivers(kind string) (list []Driver) {
	now := time.Now()
	for _, a := range m.all() {
		if !strings.EqualFold(a.kind, kind) {
			continue
		}
		a.mu.Lock()
		if t := a.current(); t != nil && t.registered && !t.unregistered && !isOver(t.state) && !a.closing && !a.ended && t.tracking != "" && !now.Before(t.works) {
			list = append(list, Driver{Attempt: t.id, User: a.user, URL: t.tracking})
		}
		a.mu.Unlock()
	}
	return list
}

// Tell has the broker's job of an application show what its pages said: progress in place of YARN's one number, and
// counters. They stay what they are when the application ends; of a run that is over they are dropped.
func (m *Manager) Tell(of id.AttemptID, progress []*v1.Progress, counters []*v1.Counter) {
	a := m.find(of.Application)
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.current()
	if t == nil || t.id != of || a.closing || a.ended {
		return
	}
	t.pages, t.counters = progress, counters
	a.progress()
	a.poke()
}
