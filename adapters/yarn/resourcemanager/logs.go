package resourcemanager

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// logPatience is how long after an application's end its agents may take for its logs before that is said to have timed out;
// the default of yarn.log-aggregation-status.time-out.ms.
const logPatience = 10 * time.Minute

// listenForLogs hears from the agents how the logs of applications fare, also when the broker ends and begins again.
func (m *Manager) listenForLogs(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.watcher.WatchReports(ctx, operator, serviceName, func(r *v1.ServiceReport) error {
			m.logsReported(r)
			return nil
		})
		if ctx.Err() == nil {
			m.o.Log.Debug("the broker tells no reports", zap.Error(err))
			sleep(ctx, resend)
		}
	}
}

// logsReported takes what an agent says of an application's logs.
func (m *Manager) logsReported(r *v1.ServiceReport) {
	var x grant.Logs
	if err := proto.Unmarshal(r.Data, &x); err != nil || x.State < grant.LogState_LOG_STATE_NOT_STARTED || x.State > grant.LogState_LOG_STATE_FAILED {
		m.o.Log.Warn("a report of an agent on logs cannot be read", zap.String("agent", r.AgentId), zap.Error(err))
		return
	}
	i, err := id.ParseApplication(x.Application)
	if err != nil {
		m.o.Log.Warn("a report of an agent on logs names no application", zap.String("agent", r.AgentId), zap.Error(err))
		return
	}
	a := m.find(i)
	if a == nil {
		return // it is forgotten
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.job != r.JobId {
		return // of another application's agent
	}
	if a.logs == nil {
		a.logs = map[string]grant.LogState{}
	}
	a.logs[r.AgentId] = x.State
}

// logStatus sums up how the application's logs fare, by YARN's rules; 0: that is not known, for there is no agent yet. With
// mu held.
func (a *application) logStatus(s *snapshot, now time.Time) wire.LogAggregationStatusProto {
	if len(a.logs) == 0 {
		switch {
		case len(s.nodes) == 0:
			return 0
		case s.keeping == len(s.nodes):
			return wire.LogAggregationStatusProto_LOG_DISABLED
		}
		return wire.LogAggregationStatusProto_LOG_NOT_START
	}
	late := a.isFinal() && now.Sub(a.finished) > logPatience
	var idle, over, failing, failed, slow int
	for _, state := range a.logs {
		switch {
		case state == grant.LogState_LOG_STATE_SUCCEEDED:
			over++
		case state == grant.LogState_LOG_STATE_FAILED:
			over++
			failed++
		case late:
			over++
			slow++
		case state == grant.LogState_LOG_STATE_NOT_STARTED:
			idle++
		case state == grant.LogState_LOG_STATE_FAILING:
			failing++
		}
	}
	switch all := len(a.logs); {
	case idle == all:
		return wire.LogAggregationStatusProto_LOG_NOT_START
	case over == all && failed > 0 && a.isFinal():
		return wire.LogAggregationStatusProto_LOG_FAILED
	case over == all && slow > 0:
		return wire.LogAggregationStatusProto_LOG_TIME_OUT
	case over == all && a.isFinal():
		return wire.LogAggregationStatusProto_LOG_SUCCEEDED
	case failing > 0:
		return wire.LogAggregationStatusProto_LOG_RUNNING_WITH_FAILURE
	}
	return wire.LogAggregationStatusProto_LOG_RUNNING
}
