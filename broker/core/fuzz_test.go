package core

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// FuzzMessages feeds an agent and a framework whatever a socket may deliver: a list of length-prefixed messages, each
// for one of the two. The owner neither breaks nor loses count.
func FuzzMessages(f *testing.F) {
	pack := func(messages ...proto.Message) (out []byte) {
		for _, x := range messages {
			kind := byte(0)
			if _, ok := x.(*v1.AgentMessage); ok {
				kind = 1
			}
			b, err := proto.Marshal(x)
			if err != nil {
				f.Fatal(err)
			}
			out = binary.BigEndian.AppendUint16(append(out, kind), uint16(len(b)))
			out = append(out, b...)
		}
		return out
	}
	register := &v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: &v1.RegisterAgent{
		Info: &v1.AgentInfo{Host: "h", Rack: "/r", Addresses: []string{"10.0.0.1"}, Total: &v1.Resources{
			CpuMilli: 4000, MemoryBytes: 1 << 30, Named: map[string]int64{"fpga": 2}, PortRanges: []*v1.PortRange{{First: 1000, Last: 2000}},
		}},
		Tasks: []*v1.RunningTask{{Task: &v1.TaskID{Framework: "x", Sequence: 1}, State: v1.TaskState_TASK_STATE_RUNNING}},
	}}}
	framework := &v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: &v1.RegisterFramework{Name: "f"}}}
	request := &v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Groups: []*v1.RequestGroup{{
		Id: 1, Version: 1, Shape: &v1.Resources{CpuMilli: 1000, MemoryBytes: 1 << 20, Ports: 2}, Total: 3, Minimum: 2,
		Hosts: []*v1.HostWant{{Host: "h", Address: "10.0.0.1", Count: 1, Rack: "/q"}}, Racks: []*v1.RackWant{{Rack: "/r", Count: 1}},
		ExcludedHosts: []string{"g"}, ExcludedAgents: []string{"a"},
	}}}}}
	accept := &v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: &v1.AcceptOffer{Offer: 1 << 40, Tasks: []*v1.TaskSpec{{
		Task: &v1.TaskID{Sequence: 1}, Resources: &v1.Resources{CpuMilli: 1000, MemoryBytes: 1 << 20, Ports: 2}, Command: &v1.Command{Argv: []string{"x"}},
	}}}}}
	f.Add(pack(register, framework, request, accept))
	f.Add(pack(framework, request, register, request,
		&v1.FrameworkCall{Call: &v1.FrameworkCall_Decline{Decline: &v1.DeclineOffers{Offers: []uint64{1 << 40, 7}, FilterNanos: -1}}},
		&v1.FrameworkCall{Call: &v1.FrameworkCall_SaveState{SaveState: &v1.SaveState{Version: 1, State: []byte("x")}}},
		&v1.FrameworkCall{Call: &v1.FrameworkCall_Progress{Progress: &v1.JobProgress{Status: "x\ny"}}},
		&v1.FrameworkCall{Call: &v1.FrameworkCall_Reconcile{Reconcile: &v1.Reconcile{Tasks: []*v1.TaskID{{Sequence: 1}, nil}}}},
		&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{Unregister: &v1.Unregister{}}}))
	f.Add(pack(register, framework, request, accept,
		&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: &v1.TaskStatus{Sequence: 1, State: v1.TaskState_TASK_STATE_FAILED}}},
		&v1.AgentMessage{Message: &v1.AgentMessage_Update{Update: &v1.AgentInfo{Host: "h", Total: &v1.Resources{CpuMilli: 1, MemoryBytes: 1}}}},
		&v1.AgentMessage{Message: &v1.AgentMessage_Heartbeat{}},
		&v1.AgentMessage{Message: &v1.AgentMessage_Reports{Reports: &v1.ServiceReports{Reports: []*v1.ServiceReport{{Service: "s", JobId: "j", Data: []byte("x")}, {}}}}},
		&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: &v1.TaskID{Sequence: 1}, GraceNanos: -1}}},
		&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{}}, register, framework))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &memJournal{}
		b, err := New(Options{Journal: j})
		if err != nil {
			t.Fatal(err)
		}
		st, err := j.Lead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := newMachine(b, st)
		m.begin()
		drain := func() {
			m.commit()
			for len(m.inFlight) > 0 {
				if err := m.settled(<-m.durable); err != nil {
					t.Fatal(err)
				}
			}
		}
		fs := &frameworkSession{outbox: newOutbox[v1.FrameworkEvent](), box: b.box, caller: user("ann")}
		as := &agentSession{outbox: newOutbox[v1.AgentCommand](), box: b.box, caller: api.Caller{Operator: true}}
		for n := 0; len(data) >= 3 && n < 64; n++ {
			size := min(int(binary.BigEndian.Uint16(data[1:3])), len(data)-3)
			kind, body := data[0], data[3:3+size]
			data = data[3+size:]
			x := message{}
			if kind&1 == 0 {
				x.framework, x.call = fs, &v1.FrameworkCall{}
				err = proto.Unmarshal(body, x.call)
				if x.call.GetCall() == nil {
					x.call = nil // the session has ended
				}
			} else {
				x.agent, x.note = as, &v1.AgentMessage{}
				err = proto.Unmarshal(body, x.note)
				if x.note.GetMessage() == nil {
					x.note = nil
				}
			}
			if err != nil {
				continue
			}
			m.turn([]message{x})
			drain()
			if err := m.check(); err != nil {
				t.Fatal(err)
			}
		}
		again, err := j.fold() // what is durable can be read again
		if err != nil {
			t.Fatal(err)
		}
		if again.LiveTasks() != m.st.LiveTasks() {
			t.Fatalf("%d tasks are durable, %d live", again.LiveTasks(), m.st.LiveTasks())
		}
	})
}

func FuzzJobToken(f *testing.F) {
	b, err := New(Options{Journal: &memJournal{}})
	if err != nil {
		f.Fatal(err)
	}
	k := make([]byte, keySize)
	b.key.Store(&k)
	good := jobToken(k, "job-x-1")
	f.Add(good)
	f.Add("job:" + good)
	f.Add("job::")
	f.Fuzz(func(t *testing.T, token string) {
		if c, ok := b.VerifyJobToken(token); ok && token != jobToken(k, c.JobID) {
			t.Errorf("%q opens %v", token, c)
		}
	})
}
