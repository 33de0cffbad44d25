package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

func (a *fakeAgent) report(all ...*v1.ServiceReport) {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Reports{Reports: &v1.ServiceReports{Reports: all}}}); err != nil {
		a.w.t.Fatal(err)
	}
	synctest.Wait()
}

// What an agent's service says of a job reaches those that wait for it, the newest to those that come later; what is too
// large, or about no job, is dropped; and nothing of it outlives the job or the broker.
func TestWatchReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{JobRetention: time.Hour})
		g, h := w.agent("h1", "/r1", 4000, 4096), w.agent("h2", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		jobs, err := w.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{})
		if err != nil || len(jobs.Jobs) != 1 {
			t.Fatal(jobs, err)
		}
		job := jobs.Jobs[0].Id
		said := func(service, data string) *v1.ServiceReport {
			return &v1.ServiceReport{Service: service, JobId: job, Data: []byte(data), AgentId: "a liar"}
		}
		watch := func(service string) (heard func() []string, end func()) {
			ctx, cancel := context.WithCancel(context.Background())
			var all []string
			ends := make(chan error, 1)
			go func() {
				ends <- w.broker.WatchReports(ctx, user("yarn"), service, func(r *v1.ServiceReport) error {
					if r.JobId != job {
						return fmt.Errorf("a report on %q", r.JobId)
					}
					all = append(all, r.AgentId+" "+string(r.Data))
					return nil
				})
			}()
			synctest.Wait()
			return func() []string {
					synctest.Wait()
					out := all
					all = nil
					slices.Sort(out)
					return out
				}, func() {
					cancel()
					if err := <-ends; !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
		}
		expect := func(what string, got []string, want ...string) {
			t.Helper()
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		first, endFirst := watch("logs")
		expect("before all", first())
		g.report(said("logs", "1"), said("other", "x"))
		h.report(said("logs", "2"))
		expect("as it is said", first(), g.id+" 1", h.id+" 2")
		g.report(said("logs", "3"), &v1.ServiceReport{Service: "logs", JobId: "nobody's"}, said("", "y"), nil,
			said("logs", string(bytes.Repeat([]byte("x"), maxReportData+1))))
		expect("the bad ones are dropped", first(), g.id+" 3")
		g.report(make([]*v1.ServiceReport, maxReports+1)...)
		second, endSecond := watch("logs")
		expect("one who comes later", second(), g.id+" 3", h.id+" 2")
		g.report(said("logs", "4"), said("logs", "5"))
		if got := first(); len(got) == 0 || got[len(got)-1] != g.id+" 5" {
			t.Errorf("%q", got)
		}
		endFirst()
		endSecond()
		synctest.Wait()
		w.inspect(func(m *machine) {
			if len(m.readers) != 0 {
				t.Errorf("%d readers are left", len(m.readers))
			}
		})
		// Reports that come after the job's end count too, as long as the job is known.
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{Unregister: &v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED}}})
		synctest.Wait()
		h.report(said("logs", "6"))
		third, endThird := watch("logs")
		expect("after the job's end", third(), g.id+" 5", h.id+" 6")
		endThird()
		w.restart()
		fourth, endFourth := watch("logs")
		expect("after a restart", fourth())
		h.connect()
		synctest.Wait()
		h.report(said("logs", "7"))
		expect("said again", fourth(), h.id+" 7")
		endFourth()
		w.sleep(3 * time.Hour)
		fifth, endFifth := watch("logs")
		expect("after the job is forgotten", fifth())
		endFifth()
		w.halt()
	})
}
