package core

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

// Clocks that jump cost no agent and no task: the machine's time never goes back, and the wall's is for display only.
func TestClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew, wallSkew atomic.Int64
		begun := time.Now()
		w := &world{t: t, journal: &memJournal{}, clock: Clock{
			Now:  func() int64 { return int64(time.Since(begun)) + skew.Load() },
			Wall: func() time.Time { return time.Now().Add(time.Duration(wallSkew.Load())) },
		}}
		w.start()
		a := w.agent("h1", "/r1", 8000, 8192)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		var last int64
		steady := func(what string) {
			t.Helper()
			w.sleep(2 * time.Minute)
			w.inspect(func(m *machine) {
				if m.now < last {
					t.Errorf("%s: the machine's time went back from %d to %d", what, last, m.now)
				}
				last = m.now
			})
			w.check()
			list, err := w.broker.ListAgents(context.Background(), operator, &v1.ListAgentsRequest{})
			if err != nil || len(list.Agents) != 1 || list.Agents[0].State != "active" {
				t.Fatalf("%s: %v %v", what, list, err)
			}
			if err := f.session.Err(); err != nil {
				t.Fatalf("%s: the framework's session ended: %v", what, err)
			}
		}
		steady("at first")
		wallSkew.Store(int64(365 * 24 * time.Hour))
		steady("the wall clock a year ahead")
		wallSkew.Store(-int64(10 * 365 * 24 * time.Hour))
		steady("the wall clock ten years back")
		skew.Store(-int64(time.Minute))
		steady("the monotone clock a minute back")
		// A new leader, on a host whose clock counts from elsewhere, goes on from the newest time in the journal.
		last = 0
		skew.Store(-int64(time.Hour))
		w.halt()
		w.start()
		a.connect()
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		steady("a restart with a clock an hour behind")
		w.stop()
		<-w.ended
		w.journal.drop()
	})
}
