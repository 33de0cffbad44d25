package launcher

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// fakeSession is the broker's end of a session, played by the test.
type fakeSession struct {
	calls  []*v1.FrameworkCall
	events chan *v1.FrameworkEvent
	err    error
}

func (s *fakeSession) Send(c *v1.FrameworkCall) error {
	s.calls = append(s.calls, c)
	return nil
}
func (s *fakeSession) Events() <-chan *v1.FrameworkEvent { return s.events }
func (s *fakeSession) Err() error                        { return s.err }
func (s *fakeSession) Close() error                      { return nil }

// news are the calls since the last time, in short.
func (s *fakeSession) news() (out string) {
	synctest.Wait()
	for _, c := range s.calls {
		switch x := c.Call.(type) {
		case *v1.FrameworkCall_Register:
			out += "register " + x.Register.Role
		case *v1.FrameworkCall_Requests:
			for _, g := range x.Requests.Groups {
				out += fmt.Sprintf("request %d.%d", g.Id, g.Version)
			}
			for _, g := range x.Requests.Removed {
				out += fmt.Sprintf("remove %d", g)
			}
		case *v1.FrameworkCall_Accept:
			t := x.Accept.Tasks[0]
			out += fmt.Sprintf("accept %d task %d of %s", x.Accept.Offer, t.Task.Sequence, t.JobId)
		case *v1.FrameworkCall_Decline:
			out += fmt.Sprintf("decline %v", x.Decline.Offers)
		case *v1.FrameworkCall_Acknowledge:
			out += fmt.Sprintf("acknowledge %d", x.Acknowledge.Sequence)
		}
		out += "; "
	}
	s.calls = nil
	return out
}

func TestLauncher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var sessions []*fakeSession
		failed := map[uint32]string{}
		l := New(Options{
			Open: func(context.Context) (api.FrameworkSession, error) {
				s := &fakeSession{events: make(chan *v1.FrameworkEvent, 8)}
				sessions = append(sessions, s)
				return s, nil
			},
			Failed: func(job uint32, why string) { failed[job] = why },
		})
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		expect := func(s *fakeSession, want string) {
			t.Helper()
			if got := s.news(); got != want {
				t.Errorf("it said %q, want %q", got, want)
			}
		}
		offer := func(id, group uint64) *v1.FrameworkEvent {
			return &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Offers{Offers: &v1.Offers{Offers: []*v1.Offer{{Id: id, Group: group}}}}}
		}
		refused := func(call string, id, group uint64) *v1.FrameworkEvent {
			return &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Refused{Refused: &v1.Refused{Call: call, Offer: id, Group: group, Message: "no"}}}
		}
		registered := &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Registered{Registered: &v1.FrameworkRegistered{NextSequence: 7}}}

		l.Order(Order{Role: "r", Job: 1, ID: "job-1"})
		l.Order(Order{Role: "r", Job: 2, ID: "job-2"})
		synctest.Wait()
		s := sessions[0]
		expect(s, "register r; ")
		s.events <- registered
		expect(s, "request 1.1request 2.1; ")
		s.events <- offer(10, 1)
		expect(s, "accept 10 task 7 of job-1; remove 1; ")
		s.events <- offer(11, 9)
		expect(s, "decline [11]; ")
		s.events <- &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Status{Status: &v1.TaskStatus{Sequence: 3}}}
		expect(s, "acknowledge 3; ")
		s.events <- &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Status{Status: &v1.TaskStatus{}}}
		expect(s, "")

		// An accept that is refused is tried again, a few times.
		s.events <- refused("accept", 10, 0)
		expect(s, "request 1.2; ")
		for i := range uint64(maxRefusals) {
			s.events <- offer(20+i, 1)
			s.events <- refused("accept", 20+i, 0)
		}
		synctest.Wait()
		if failed[1] != "no" {
			t.Errorf("failed: %v", failed)
		}
		s.news()

		// A request that cannot be served fails its job; one that is taken back does not.
		l.Cancel("r", 2)
		expect(s, "remove 2; ")
		l.Order(Order{Role: "r", Job: 3, ID: "job-3"})
		expect(s, "request 3.7; ")
		s.events <- refused("requests", 0, 3)
		expect(s, "remove 3; ")
		if failed[3] != "no" || failed[2] != "" {
			t.Errorf("failed: %v", failed)
		}

		// A session that is lost is opened again; what is wanted is asked for again.
		l.Order(Order{Role: "r", Job: 4, ID: "job-4"})
		expect(s, "request 4.8; ")
		s.err = api.ErrUnavailable
		close(s.events)
		synctest.Wait()
		time.Sleep(reopenAfter) // in virtual time
		synctest.Wait()
		s = sessions[1]
		expect(s, "register r; ")
		s.events <- registered
		expect(s, "request 4.9; ")

		// A role that has gone takes its lane along.
		s.err = api.ErrSessionEnded
		close(s.events)
		synctest.Wait()
		if failed[4] == "" {
			t.Errorf("failed: %v", failed)
		}
		l.Order(Order{Role: "r", Job: 5, ID: "job-5"})
		synctest.Wait()
		if len(sessions) != 3 {
			t.Errorf("%d sessions", len(sessions))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
