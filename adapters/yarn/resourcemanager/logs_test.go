package resourcemanager

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// says reports how an application's logs fare, in the name of a job.
func (a *fakeAgent) says(job string, i id.ApplicationID, state grant.LogState) {
	a.r.t.Helper()
	data, err := proto.Marshal(&grant.Logs{Application: i.String(), State: state})
	if err != nil {
		a.r.t.Fatal(err)
	}
	a.reports(&v1.ServiceReport{Service: serviceName, JobId: job, Data: data})
}

func (a *fakeAgent) reports(all ...*v1.ServiceReport) {
	a.r.t.Helper()
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Reports{Reports: &v1.ServiceReports{Reports: all}}}); err != nil {
		a.r.t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) jobOf(i id.ApplicationID) string {
	a := r.m.find(i)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.job
}

func TestLogStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		i := r.submit(nil)
		expect := func(what string, want wire.LogAggregationStatusProto) {
			t.Helper()
			if got := r.report(i); got.GetLogAggregationStatus() != want || got.LogAggregationStatus == nil {
				t.Errorf("%s: %v, want %v", what, got.LogAggregationStatus, want)
			}
		}
		if x := r.report(i); x.LogAggregationStatus != nil {
			t.Errorf("without an agent: %v", x.LogAggregationStatus)
		}
		h1 := r.agent("h1", "/r1", 8, 16384)
		expect("no agent aggregates", wire.LogAggregationStatusProto_LOG_DISABLED)
		h2 := r.appear("", "h2", "/r1", 8, 16384)
		h2.disconnect()
		h2.info.Attributes[logsAttribute] = logsAggregated
		h2.connect()
		r.sleep(2 * time.Second)
		expect("one aggregates", wire.LogAggregationStatusProto_LOG_NOT_START)
		job := r.jobOf(i)
		h1.says(job, i, grant.LogState_LOG_STATE_NOT_STARTED)
		h2.says(job, i, grant.LogState_LOG_STATE_NOT_STARTED)
		h2.says("job-of-another", i, grant.LogState_LOG_STATE_FAILED)
		h2.reports(&v1.ServiceReport{Service: serviceName, JobId: job, Data: []byte("\xff")}, &v1.ServiceReport{Service: "other", JobId: job})
		expect("it lives", wire.LogAggregationStatusProto_LOG_NOT_START)
		am := r.master(i)
		am.register()
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(am.container).finish(am.container, 0, "")
		h1.says(job, i, grant.LogState_LOG_STATE_RUNNING)
		expect("one begins", wire.LogAggregationStatusProto_LOG_RUNNING)
		h1.says(job, i, grant.LogState_LOG_STATE_SUCCEEDED)
		expect("one is done", wire.LogAggregationStatusProto_LOG_RUNNING)
		h2.says(job, i, grant.LogState_LOG_STATE_FAILING)
		expect("one fails", wire.LogAggregationStatusProto_LOG_RUNNING_WITH_FAILURE)
		r.sleep(logPatience + time.Second)
		expect("for too long", wire.LogAggregationStatusProto_LOG_TIME_OUT)
		h2.says(job, i, grant.LogState_LOG_STATE_FAILED)
		expect("given up", wire.LogAggregationStatusProto_LOG_FAILED)
		h2.says(job, i, grant.LogState_LOG_STATE_SUCCEEDED)
		expect("done after all", wire.LogAggregationStatusProto_LOG_SUCCEEDED)
		if x, ok := r.m.Application(i); !ok || x.LogStatus != wire.LogAggregationStatusProto_LOG_SUCCEEDED {
			t.Errorf("pages say %v", x.LogStatus)
		}
		r.restart()
		r.sleep(2 * time.Second)
		expect("after a restart, before agents say it again", wire.LogAggregationStatusProto_LOG_NOT_START)
		h1.says(job, i, grant.LogState_LOG_STATE_SUCCEEDED)
		h2.says(job, i, grant.LogState_LOG_STATE_SUCCEEDED)
		expect("said again", wire.LogAggregationStatusProto_LOG_SUCCEEDED)
	})
}
