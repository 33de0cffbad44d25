package agent

import (
	"fmt"
	"slices"
	"testing"

	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
)

func (s *fakeSession) reports() (out []string) {
	s.b.t.Helper()
	for {
		if all := s.next().GetReports(); all != nil {
			for _, r := range all.Reports {
				out = append(out, fmt.Sprint(r.Service, " ", r.JobId, " ", string(r.Data)))
			}
			return out
		}
	}
}

// What a service says of a job is passed on if it is new, and said again in the next session; another cluster does not hear it.
func TestReports(t *testing.T) {
	b := newFakeBroker(t)
	f := &fakeService{ended: make(chan string, 1), live: make(chan map[string]bool, 4)}
	b.start(Options{Services: []service.Service{f}}, false)
	s := b.accept(nil)
	<-f.live // registered
	f.report("j1", []byte("a"))
	f.report("j2", []byte("b"))
	f.report("j2", []byte("b"))
	f.report("j3", make([]byte, maxReport+1))
	f.report("j1", []byte("c"))
	var got []string
	for range 3 {
		got = append(got, s.reports()...)
	}
	if want := []string{"wrap j1 a", "wrap j2 b", "wrap j1 c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	s.Close()
	s = b.accept(nil)
	if got, want := s.reports(), []string{"wrap j1 c", "wrap j2 b"}; !slices.Equal(got, want) {
		t.Errorf("in the next session %q, want %q", got, want)
	}
	s.Close()
	s = b.accept(&v1.AgentRegistered{AgentId: "a-2", HeartbeatNanos: 1e12})
	for range 2 {
		<-f.live
	}
	f.report("j4", []byte("d"))
	if got, want := s.reports(), []string{"wrap j4 d"}; !slices.Equal(got, want) {
		t.Errorf("another cluster hears %q, want %q", got, want)
	}
}

// The oldest jobs give way.
func TestReportsAreBounded(t *testing.T) {
	var r reports
	for i := range maxReports + 2 {
		if !r.put(subject{"s", fmt.Sprint(i)}, []byte("x")) {
			t.Fatal(i)
		}
	}
	all := r.message(r.order...).GetReports().Reports
	if len(all) != maxReports || len(r.last) != maxReports || all[0].JobId != "2" || string(all[0].Data) != "x" {
		t.Errorf("%d, %d, %v", len(all), len(r.last), all[0])
	}
}
