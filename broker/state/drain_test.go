package state

import (
	"bytes"
	"errors"
	"testing"
)

// Draining survives a snapshot, whatever becomes of the agent's status, and is no part of snapshots before version 3.
func TestDrainingIsKept(t *testing.T) {
	s := busy(t, 2, 2, 50)
	for _, f := range []Fact{
		{Kind: AgentDrained, Agent: 1, Flag: true, Duration: 77, Wall: 7},
		{Kind: AgentChanged, Agent: 1, Status: AgentUnreachable, Wall: 8},
	} {
		if err := s.Apply(&f); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadSnapshot(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if a := back.Agent(1); !a.Draining || a.DrainUntil != 77 || a.DrainSince != 7 || a.Status != AgentUnreachable {
		t.Errorf("%+v", a)
	}
	if a := back.Agent(2); a.Draining {
		t.Errorf("%+v", a)
	}
	old := bytes.Clone(b.Bytes())
	old[len(snapshotMagic)] = 2
	if _, err := ReadSnapshot(bytes.NewReader(old)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("draining in version 2: %v", err)
	}
	for _, f := range []Fact{
		{Kind: AgentDrained, Agent: 9, Flag: true}, {Kind: AgentDrained, Agent: 1, Flag: true, Duration: -1}, {Kind: AgentDrained, Agent: 1, Duration: 1},
	} {
		if err := s.Apply(&f); !errors.Is(err, ErrContradiction) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
