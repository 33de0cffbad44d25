package coordinator

import (
	"encoding/json"

	"go.uber.org/zap"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
	"fairway/frameworks/sdk"
)

// Registered implements sdk.Scheduler.
func (s *shell) Registered(d *sdk.Driver, r *v1.FrameworkRegistered) {
	s.server.SetSecret(r.JobSecret)
	select {
	case <-s.registered:
	default:
		s.job.ID, s.secret = r.JobId, r.JobSecret
		if s.o.Started != nil {
			s.o.Started(r.JobId)
		}
		close(s.registered) // the planner reads the job's id from here on
	}
	s.step(Registered{NextSequence: d.NextSequence()})
}

// Offers implements sdk.Scheduler.
func (s *shell) Offers(_ *sdk.Driver, offers []*v1.Offer) { s.step(Offered{Offers: offers}) }

// Rescinded implements sdk.Scheduler; offers are answered in the turn in which they come.
func (s *shell) Rescinded(*sdk.Driver, uint64, string) {}

// Status implements sdk.Scheduler.
func (s *shell) Status(_ *sdk.Driver, st *v1.TaskStatus) { s.step(StatusChanged{Status: st}) }

// AgentLost implements sdk.Scheduler.
func (s *shell) AgentLost(_ *sdk.Driver, a *v1.AgentLost) {
	s.step(AgentLost{Agent: a.AgentId, Gone: a.Gone})
}

// Refused implements sdk.Scheduler. A request that can never be served ends the job.
func (s *shell) Refused(_ *sdk.Driver, r *v1.Refused) {
	s.log.Warn("the broker refused", zap.String("call", r.Call), zap.String("why", r.Message))
	if r.Call == "requests" && r.RetryNanos == 0 {
		s.step(RequestRefused{Group: r.Group, Message: r.Message})
	}
}

// KillJob implements sdk.Scheduler.
func (s *shell) KillJob(_ *sdk.Driver, reason string) { s.step(KillAsked{Reason: reason}) }

// Disconnected implements sdk.Scheduler; attempts go on meanwhile.
func (s *shell) Disconnected(*sdk.Driver, error) {}

// Message implements umbilical.Handler: it turns what an attempt says into an event. It is called by the attempt's
// stream.
func (s *shell) Message(sequence uint64, m *pb.TaskMessage) {
	var e Event
	switch m := m.Message.(type) {
	case *pb.TaskMessage_Hello:
		e = Hello{Sequence: sequence, DataAddress: m.Hello.DataAddress, Resumed: m.Hello.Resumed}
	case *pb.TaskMessage_Report:
		e = Reported{Sequence: sequence, Report: reportOf(m.Report)}
	case *pb.TaskMessage_MapDone:
		d := MapDone{Sequence: sequence, File: m.MapDone.File, Report: reportOf(m.MapDone.Report), Partitions: make([]Range, len(m.MapDone.Partitions))}
		for i, p := range m.MapDone.Partitions {
			d.Partitions[i] = Range{Offset: p.GetOffset(), Length: p.GetLength(), Records: p.GetRecords()}
		}
		e = d
	case *pb.TaskMessage_FetchFailure:
		e = FetchFailed{Sequence: sequence, Map: int(m.FetchFailure.Map), Attempt: int(m.FetchFailure.Attempt), Message: m.FetchFailure.Message}
	case *pb.TaskMessage_CommitAsk:
		e = CommitAsked{Sequence: sequence}
	case *pb.TaskMessage_Done:
		e = Done{Sequence: sequence, Report: reportOf(m.Done.GetReport())}
	case *pb.TaskMessage_Failed:
		e = Failed{Sequence: sequence, Message: m.Failed.Message, Killed: m.Failed.Killed, Fatal: m.Failed.Fatal, Report: reportOf(m.Failed.Report)}
	default:
		return
	}
	s.post(e)
}

func reportOf(r *pb.Report) Report {
	if r == nil {
		return Report{}
	}
	out := Report{Fraction: r.Fraction, Status: r.Status, Alive: r.Alive, Shuffled: r.Shuffled}
	if len(r.Counters) > 0 {
		out.Counters = make(map[spec.CounterKey]int64, len(r.Counters))
		for _, c := range r.Counters {
			out.Counters[spec.CounterKey{Group: c.Group, Name: c.Name}] = c.Value
		}
	}
	return out
}

// tell says an action to an attempt.
func (s *shell) tell(a Action) {
	switch a := a.(type) {
	case Assign:
		m := &pb.Assignment{Job: s.encoded, JobId: s.job.ID, Kind: a.Kind, Index: uint32(a.Index), Attempt: uint32(a.Attempt), Maps: uint32(a.Maps)}
		if a.Split != nil {
			split := *a.Split
			split.Replicas = nil // placement is done
			b, err := json.Marshal(&split)
			if err != nil {
				s.log.Error("encode a split", zap.Error(err))
				return
			}
			m.Split = b
		}
		s.server.Send(a.Sequence, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Assignment{Assignment: m}})
	case Push:
		m := &pb.MapOutputs{Outputs: make([]*pb.MapOutput, len(a.Outputs))}
		for i, o := range a.Outputs {
			m.Outputs[i] = &pb.MapOutput{Map: uint32(o.Map), Attempt: uint32(o.Attempt), Address: o.Address, File: o.File,
				Offset: o.Offset, Length: o.Length, Records: o.Records}
		}
		s.server.Send(a.Sequence, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Outputs{Outputs: m}})
	case Answer:
		s.server.Send(a.Sequence, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Commit{Commit: &pb.CommitAnswer{Granted: a.Granted, Reason: a.Reason}}})
	case Stop:
		s.server.Send(a.Sequence, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Stop{Stop: &pb.Stop{Reason: a.Reason}}})
	case Finish:
		s.server.Send(a.Sequence, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Finished{Finished: &pb.Finished{}}})
	}
}
