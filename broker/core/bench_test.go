package core

import (
	"fmt"
	"testing"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// BenchmarkTasks measures the owner alone: a task from its request to its acknowledged end, in turns of 64 tasks, with
// a journal in memory and nobody else running.
func BenchmarkTasks(b *testing.B) {
	for _, agents := range []int{100, 1000} {
		b.Run(fmt.Sprint(agents, "-agents"), func(b *testing.B) {
			j := &memJournal{}
			br, err := New(Options{Journal: j})
			if err != nil {
				b.Fatal(err)
			}
			st, err := j.Lead(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			m := newMachine(br, st)
			m.begin()
			turn := func(x []message) {
				m.turn(x)
				for len(m.inFlight) > 0 {
					if err := m.settled(<-m.durable); err != nil {
						b.Fatal(err)
					}
				}
				j.durable = j.durable[:0]
			}
			sessions := map[string]*agentSession{}
			for i := range agents {
				s := &agentSession{outbox: newOutbox[v1.AgentCommand](), box: br.box, caller: operator}
				turn([]message{{agent: s, note: &v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: &v1.RegisterAgent{
					Info: &v1.AgentInfo{Host: fmt.Sprint("h", i), Rack: fmt.Sprint("/r", i%20), Total: shape(16000, 64<<10)},
				}}}}})
				sessions[m.agents[uint32(i+1)].id] = s
			}
			f := &frameworkSession{outbox: newOutbox[v1.FrameworkEvent](), box: br.box, caller: api.Caller{User: "ann"}}
			turn([]message{{framework: f, call: &v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: &v1.RegisterFramework{NoJob: true}}}}})
			heard := func() []*v1.FrameworkEvent {
				e := f.queue
				f.queue, f.unread = nil, 0
				for _, s := range sessions {
					s.queue, s.unread = s.queue[:0], 0
				}
				return e
			}
			heard()
			const batch = 64
			sequence, version, seen := uint64(0), uint64(0), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				version++
				turn([]message{{framework: f, call: &v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{
					Groups: []*v1.RequestGroup{{Id: 1, Version: version, Shape: shape(1000, 1024), Total: batch}}, LastOffer: seen,
				}}}}})
				var calls, notes, acks []message
				for _, e := range heard() {
					for _, o := range e.GetOffers().GetOffers() {
						seen = max(seen, o.Id)
						x := &v1.AcceptOffer{Offer: o.Id}
						for range o.Count {
							sequence++
							id := &v1.TaskID{Framework: f.framework.id, Sequence: sequence}
							x.Tasks = append(x.Tasks, &v1.TaskSpec{Task: id, Resources: shape(1000, 1024), Command: &v1.Command{Argv: []string{"x"}}})
							s := sessions[o.AgentId]
							notes = append(notes, message{agent: s, note: &v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: &v1.TaskStatus{
								Task: id, Sequence: 1, State: v1.TaskState_TASK_STATE_FINISHED,
							}}}})
							acks = append(acks, message{framework: f, call: &v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{
								Acknowledge: &v1.AcknowledgeStatus{Task: id, Sequence: 1},
							}}})
						}
						calls = append(calls, message{framework: f, call: &v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: x}}})
					}
				}
				if len(notes) != batch {
					b.Fatalf("%d tasks", len(notes))
				}
				turn(calls)
				turn(notes)
				turn(acks)
				heard()
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
