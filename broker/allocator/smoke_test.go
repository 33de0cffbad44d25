package allocator

import (
	"testing"

	"fairway/broker/resource"
)

func vec(cpu, mem int64) resource.Vector {
	return resource.Vector{resource.CPU: cpu, resource.Memory: mem}
}

func TestSmoke(t *testing.T) {
	m := New(Config{})
	step := func(now int64, ev ...Event) []Action {
		t.Helper()
		for _, r := range m.Step(now, ev) {
			t.Fatalf("event %d: %v", r.Index, r.Err)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		return m.Ready().Actions
	}
	none := resource.None()
	step(0, Event{Kind: RoleSet, Role: 1, Weight: 2000, Limit: none}, Event{Kind: RoleSet, Role: 2, Weight: 1000, Limit: none},
		Event{Kind: FrameworkAdd, Framework: 1, Role: 1}, Event{Kind: FrameworkAdd, Framework: 2, Role: 2},
		Event{Kind: AgentAdd, Agent: 1, Host: 1, Rack: 1, Resources: vec(8000, 8<<30)},
		Event{Kind: AgentAdd, Agent: 2, Host: 2, Rack: 1, Resources: vec(8000, 8<<30)},
		Event{Kind: AgentAdd, Agent: 3, Host: 3, Rack: 2, Resources: vec(8000, 8<<30)})
	a := step(1,
		Event{Kind: RequestSet, Framework: 1, Request: &Request{Group: 1, Version: 1, Shape: vec(1000, 1<<30), Total: 100, Hosts: []HostCount{{1, 1, 30}, {2, 1, 30}, {3, 2, 40}}}},
		Event{Kind: RequestSet, Framework: 2, Request: &Request{Group: 1, Version: 1, Shape: vec(1000, 1<<30), Total: 100}})
	for _, x := range a {
		t.Logf("%+v", x)
	}
	s1, _ := m.RoleShare(1)
	s2, _ := m.RoleShare(2)
	if s1.Offered[0] != 16000 || s2.Offered[0] != 8000 {
		t.Fatal(s1, s2)
	}
	step(40e9)
}
