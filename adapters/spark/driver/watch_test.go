package driver

import (
	"context"
	"errors"
	"io"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stand has Watch ask drivers of the test.
type stand struct {
	mu      sync.Mutex
	running []Application
	drivers map[Application]*fake
	polls   map[Application]int
	hang    map[Application]bool
	slow    time.Duration // of each driver's first answer
	told    map[Application]Report
}

func (s *stand) options() Options {
	return Options{
		Running: func() []Application { s.mu.Lock(); defer s.mu.Unlock(); return s.running },
		Get: func(a Application) Get {
			return func(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
				s.mu.Lock()
				if path == "stages" {
					s.polls[a]++
				}
				hangs, first := s.hang[a], s.polls[a] == 1 && path == "stages"
				s.mu.Unlock()
				if first {
					time.Sleep(s.slow)
				}
				if hangs {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.drivers[a].get(ctx, path, q)
			}
		},
		Tell: func(a Application, r Report) { s.mu.Lock(); defer s.mu.Unlock(); s.told[a] = r },
	}
}

func (s *stand) count(a Application) int { s.mu.Lock(); defer s.mu.Unlock(); return s.polls[a] }

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := Application{"application_1_0001", 1}, Application{"application_1_0002", 1}, Application{"application_1_0003", 1}
		s := &stand{running: []Application{a, b, c}, drivers: map[Application]*fake{a: (&fake{}).stage(0, "ACTIVE", many(3, "NODE_LOCAL")), b: {fail: errors.New("no")}, c: {}},
			polls: map[Application]int{}, hang: map[Application]bool{c: true}, told: map[Application]Report{}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Watch(ctx, s.options()) }()
		time.Sleep(10*time.Second + soonest/2)
		synctest.Wait()
		// While stages run once a second; where there is no answer more and more seldom; one that hangs holds up nobody.
		if n := s.count(a); n != 10 {
			t.Errorf("a driver at work was asked %d times in 10 s", n)
		}
		if n := s.count(b); n != 3 { // at 1, 3 and 7 s
			t.Errorf("a driver that does not answer was asked %d times", n)
		}
		if n := s.count(c); n != 1 {
			t.Errorf("a driver that hangs was asked %d times", n)
		}
		s.mu.Lock()
		if r := s.told[a]; r.Locality.Node != 3 {
			t.Errorf("%+v", r)
		}
		s.drivers[a].stages[0]["status"] = "COMPLETE"
		s.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		before := s.count(a)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := s.count(a) - before; n < 2 || n > 3 {
			t.Errorf("a driver that is idle was asked %d times in 10 s", n)
		}
		// Another run of the application begins anew; what has ended is left alone, though an answer is on its way.
		second := Application{a.ID, 2}
		s.mu.Lock()
		s.running = []Application{second}
		s.drivers[second] = (&fake{}).stage(0, "ACTIVE", many(1, "ANY"))
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		if r := s.told[second]; r.Locality != (Locality{Any: 1}) {
			t.Errorf("%+v", r)
		}
		polls := s.polls[b] + s.polls[c]
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := s.count(b) + s.count(c); n != polls {
			t.Errorf("asked %d times after the end", n-polls)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What a driver's first answer takes is the loading of the classes that answer: it does not put off the second.
func TestFirstAnswerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := Application{"application_1_0001", 1}
		s := &stand{running: []Application{a}, drivers: map[Application]*fake{a: (&fake{}).stage(0, "ACTIVE", many(3, "NODE_LOCAL"))},
			polls: map[Application]int{}, told: map[Application]Report{}, slow: 2 * time.Second}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Watch(ctx, s.options()) }()
		time.Sleep(4*time.Second + soonest/2) // asked after 1 s, answered after 3
		synctest.Wait()
		if n := s.count(a); n != 2 {
			t.Errorf("asked %d times, want twice", n)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
