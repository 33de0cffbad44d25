package core

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

// asked is the last word that a framework was given on what it is to give back; nil: none.
func (f *fakeFramework) asked() *v1.Reclaim {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.events) - 1; i >= 0; i-- {
		if r := f.events[i].GetReclaim(); r != nil {
			return r
		}
	}
	return nil
}

func (f *fakeFramework) kill(id *v1.TaskID) {
	f.w.t.Helper()
	f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: id}}})
	synctest.Wait()
}

// rivals is a cluster of 6 cores that a framework of a role with weight 2 has filled, and one of weight 1 that waits.
func rivals(t *testing.T, config Config, yields bool) (w *world, big, small *fakeFramework, tasks []*v1.TaskID) {
	t.Helper()
	config.Roles = []Role{{Path: "big", Weight: 2}, {Path: "small", Weight: 1}}
	w = newWorld(t, config)
	w.agent("h1", "/r1", 6000, 6144)
	big = w.framework(user("ann"), &v1.RegisterFramework{Role: "big", Reclaim: yields})
	big.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 9})
	tasks = big.accept()
	small = w.framework(user("bob"), &v1.RegisterFramework{Role: "small"})
	small.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 3})
	if len(tasks) != 6 || len(small.offers) != 0 {
		t.Fatalf("%d tasks, %d offers", len(tasks), len(small.offers))
	}
	return w, big, small, tasks
}

func (w *world) explain(job string) *v1.Explanation {
	w.t.Helper()
	x, err := w.broker.ExplainJob(context.Background(), operator, job)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

func TestReclaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, big, small, tasks := rivals(t, Config{}, true)
		w.sleep(29 * time.Second)
		if r := big.asked(); r != nil {
			t.Fatalf("asked too early: %v", r)
		}
		w.sleep(2 * time.Second)
		r := big.asked()
		if r.GetCount() != 2 || r.Asked != 2 || r.Shape.GetCpuMilli() != 1000 || r.Most.GetCpuMilli() != 2000 || r.Most.MemoryBytes != 0 ||
			len(r.Agents) != 0 || r.DeadlineNanos <= 0 || !strings.Contains(r.Why, "role small waits below its fair share") {
			t.Fatalf("%v", r)
		}
		x := w.explain(small.job)
		if !strings.Contains(x.Summary, "; reclaiming from job "+big.job) || len(x.Reclaiming) != 1 || x.Reclaiming[0].FromRole != "big" || x.Reclaiming[0].Count != 2 {
			t.Errorf("%v", x)
		}
		if x = w.explain(big.job); !strings.Contains(x.Summary, "give back room for 2 tasks of job "+small.job) || !strings.Contains(x.Summary, "gives resources back first") {
			t.Errorf("%v", x)
		}
		w.check()
		big.kill(tasks[5])
		if r = big.asked(); r.GetCount() != 1 || r.Asked != 2 || len(small.offers) != 1 {
			t.Errorf("after one: %v", r)
		}
		small.accept()
		big.kill(tasks[4])
		small.accept()
		if r = big.asked(); r.GetCount() != 0 {
			t.Errorf("after both: %v", r)
		}
		w.check()
		n := len(big.events)
		w.sleep(5 * time.Minute)
		if len(big.events) != n || len(big.offers) != 0 {
			t.Errorf("more is asked for: %v", big.events[n:])
		}
		if x = w.explain(small.job); len(x.Reclaiming) != 0 || strings.Contains(x.Summary, "reclaiming") {
			t.Errorf("%v", x)
		}
	})
}

// Who waits goes, or takes less; the reclaim is withdrawn, and the room that the other had is its own again.
func TestReclaimWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, big, small, tasks := rivals(t, Config{}, true)
		w.sleep(31 * time.Second)
		small.request(&v1.RequestGroup{Id: 1, Version: 2, Shape: shape(1000, 1024), Total: 1})
		if r := big.asked(); r.GetCount() != 1 {
			t.Errorf("less is wanted: %v", r)
		}
		small.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		if r := big.asked(); r == nil || r.Count != 0 {
			t.Errorf("nothing is wanted: %v", r)
		}
		w.check()
		big.kill(tasks[0])
		if len(big.offers) != 1 {
			t.Errorf("what it gave up meanwhile is not offered to it")
		}
		w.check()
	})
}

// After the deadline it is over; who gave nothing back is left alone for some time.
func TestReclaimInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, big, small, tasks := rivals(t, Config{ReclaimAfter: 10 * time.Second, ReclaimDeadline: 20 * time.Second}, true)
		w.sleep(11 * time.Second)
		first := big.asked()
		if first.GetCount() != 2 {
			t.Fatalf("%v", first)
		}
		w.sleep(21 * time.Second)
		if r := big.asked(); r.Count != 0 || r.Id != first.Id {
			t.Errorf("%v", r)
		}
		w.sleep(30 * time.Second)
		if r := big.asked(); r.Id != first.Id {
			t.Errorf("asked again at once: %v", r)
		}
		w.sleep(20 * time.Second)
		r := big.asked()
		if r.Id == first.Id || r.Count != 2 {
			t.Fatalf("not asked again: %v", r)
		}
		// One that gave something is asked again after the deadline.
		big.kill(tasks[0])
		small.accept()
		w.sleep(21 * time.Second)
		w.sleep(10 * time.Second)
		if next := big.asked(); next.Id == r.Id || next.Count != 1 {
			t.Errorf("%v after %v", next, r)
		}
		w.check()
	})
}

func TestReclaimOff(t *testing.T) {
	for name, x := range map[string]struct {
		config Config
		yields bool
	}{"switched off": {Config{ReclaimAfter: -1}, true}, "a framework that cannot": {Config{}, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, big, _, _ := rivals(t, x.config, x.yields)
				w.sleep(10 * time.Minute)
				if r := big.asked(); r != nil {
					t.Errorf("%v", r)
				}
				w.check()
			})
		})
	}
}

// A framework that is away is not asked; the broker finds what is needed again after a restart, and so does one whose
// session broke.
func TestReclaimOverTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, big, small, tasks := rivals(t, Config{RecoveryPause: time.Second, Failover: time.Hour}, true)
		w.sleep(31 * time.Second)
		if r := big.asked(); r.GetCount() != 2 {
			t.Fatalf("%v", r)
		}
		_ = big.session.Close()
		synctest.Wait()
		w.check()
		if x := w.explain(small.job); len(x.Reclaiming) != 0 {
			t.Errorf("%v", x)
		}
		big.connect(&v1.RegisterFramework{FrameworkId: big.id, Reclaim: true})
		w.sleep(31 * time.Second)
		second := big.asked()
		if second.GetCount() != 2 {
			t.Errorf("after its session broke: %v", second)
		}
		w.restart()
		w.agents[0].disconnect()
		w.agents[0].connect()
		big.events = nil
		big.connect(&v1.RegisterFramework{FrameworkId: big.id, Reclaim: true})
		small.connect(&v1.RegisterFramework{FrameworkId: small.id})
		small.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 3})
		w.check()
		w.sleep(25 * time.Second)
		if r := big.asked(); r != nil {
			t.Errorf("asked at once after the restart: %v", r)
		}
		w.sleep(10 * time.Second)
		if r := big.asked(); r.GetCount() != 2 {
			t.Errorf("after the restart: %v", r)
		}
		big.kill(tasks[0])
		big.kill(tasks[1])
		if n := len(small.accept()); n != 2 {
			t.Errorf("%d tasks", n)
		}
		w.check()
	})
}

// Moved to another role, it is asked by that role's share.
func TestReclaimAndMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, big, _, _ := rivals(t, Config{}, true)
		w.sleep(31 * time.Second)
		big.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_ChangeRole{ChangeRole: &v1.ChangeRole{Role: "small"}}})
		synctest.Wait()
		if r := big.asked(); r.GetCount() != 0 {
			t.Errorf("%v", r)
		}
		w.check()
		w.sleep(2 * time.Minute)
		if r := big.asked(); r.GetCount() != 0 {
			t.Errorf("asked for another of its own role: %v", r)
		}
	})
}
