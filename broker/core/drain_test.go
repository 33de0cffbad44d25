package core

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

func (w *world) drain(name string, timeout time.Duration) *v1.Agent {
	w.t.Helper()
	x, err := w.broker.DrainAgent(context.Background(), operator, &v1.DrainAgentRequest{Agent: name, TimeoutNanos: int64(timeout)})
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return x
}

func (w *world) undrain(name string) *v1.Agent {
	w.t.Helper()
	x, err := w.broker.UndrainAgent(context.Background(), operator, &v1.UndrainAgentRequest{Agent: name})
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return x
}

func (w *world) agentOn(host string) *v1.Agent {
	w.t.Helper()
	r, err := w.broker.ListAgents(context.Background(), operator, &v1.ListAgentsRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range r.Agents {
		if a.Info.Host == host {
			return a
		}
	}
	w.t.Fatalf("no agent on %s", host)
	return nil
}

// What runs goes on, offers are taken back, nothing comes any more, and the one that waits hears why.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		h1 := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 2})
		tasks := f.accept()
		f.request(&v1.RequestGroup{Id: 2, Version: 1, Shape: shape(1000, 1024), Total: 1})
		if len(tasks) != 2 || len(f.offers) != 1 {
			t.Fatalf("%d tasks, %d offers", len(tasks), len(f.offers))
		}
		x := w.drain("H1", 0)
		if x.State != "draining" || !x.Draining || x.Tasks != 2 || x.DrainUntilUnixNanos != 0 || len(x.Jobs) != 1 || len(f.offers) != 0 {
			t.Fatalf("%v, %d offers", x, len(f.offers))
		}
		if e := w.explain(f.job); !strings.Contains(e.Summary, "draining") {
			t.Errorf("%v", e)
		}
		w.check()
		w.sleep(time.Hour)
		for _, id := range tasks {
			if s := f.state(id); s != v1.TaskState_TASK_STATE_RUNNING {
				t.Errorf("%v is %v", id, s)
			}
			h1.finish(id, v1.TaskState_TASK_STATE_FINISHED, 0, "")
		}
		w.sleep(time.Second)
		if x = w.agentOn("h1"); x.State != "drained" || len(f.offers) != 0 || len(x.Jobs) != 1 {
			t.Errorf("%v, %d offers", x, len(f.offers))
		}
		if x = w.undrain(x.Id); x.State != "active" || x.Draining || len(f.offers) != 1 {
			t.Errorf("%v, %d offers", x, len(f.offers))
		}
		if x = w.undrain(x.Id); x.State != "active" {
			t.Errorf("a second time: %v", x)
		}
		w.check()
	})
}

// It holds over a restart of the broker, and when the agent comes back or was cut off meanwhile.
func TestDrainSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		h1 := w.agent("h1", "/r1", 4000, 4096)
		w.drain("h1", 0)
		h1.disconnect()
		w.sleep(time.Second)
		w.restart()
		h1.connect()
		w.sleep(2 * time.Minute)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		if x := w.agentOn("h1"); x.State != "drained" || len(f.offers) != 0 {
			t.Fatalf("after a restart: %v, %d offers", x, len(f.offers))
		}
		h1.disconnect()
		w.sleep(5 * time.Minute)
		if x := w.agentOn("h1"); x.State == "drained" || !x.Draining {
			t.Errorf("cut off: %v", x)
		}
		w.check()
		h1.connect()
		w.sleep(time.Minute)
		if x := w.agentOn("h1"); x.State != "drained" || len(f.offers) != 0 {
			t.Errorf("back: %v, %d offers", x, len(f.offers))
		}
		if w.undrain("h1"); len(f.offers) != 1 {
			t.Errorf("%d offers after all", len(f.offers))
		}
		w.check()
	})
}

// At the deadline what still runs is ended as preempted; a later word replaces the deadline.
func TestDrainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		id := f.accept()[0]
		w.drain("h1", time.Minute)
		w.sleep(50 * time.Second)
		w.drain("h1", time.Minute)
		w.sleep(50 * time.Second)
		if s := f.state(id); s != v1.TaskState_TASK_STATE_RUNNING {
			t.Fatalf("too early: %v", s)
		}
		w.sleep(20 * time.Second)
		if s := f.state(id); s != v1.TaskState_TASK_STATE_KILLED {
			t.Fatalf("after the deadline: %v", s)
		}
		if x := w.agentOn("h1"); x.State != "drained" {
			t.Errorf("%v", x)
		}
		w.check()
	})
}

func TestDrainRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.agent("h1", "/r1", 4000, 4096)
		for _, c := range []struct {
			caller  api.Caller
			agent   string
			timeout time.Duration
			want    error
		}{
			{user("ann"), "h1", 0, api.ErrDenied},
			{operator, "", 0, api.ErrNotFound},
			{operator, "h2", 0, api.ErrNotFound},
			{operator, "h1", -1, api.ErrInvalid},
			{operator, "h1", maxDrainTimeout + 1, api.ErrInvalid},
		} {
			if _, err := w.broker.DrainAgent(context.Background(), c.caller, &v1.DrainAgentRequest{Agent: c.agent, TimeoutNanos: int64(c.timeout)}); !errors.Is(err, c.want) {
				t.Errorf("%v: %v", c, err)
			}
		}
		if x := w.agentOn("h1"); x.Draining {
			t.Errorf("%v", x)
		}
	})
}

// The deadline is a time of the operator's: a restart of the broker neither forgets it nor begins it again.
func TestDrainDeadlineSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Failover: time.Hour})
		h1 := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		id := f.accept()[0]
		until := w.drain("h1", 10*time.Minute).DrainUntilUnixNanos
		w.sleep(4 * time.Minute)
		h1.disconnect()
		w.restart()
		h1.connect()
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		w.sleep(5 * time.Minute)
		if x := w.agentOn("h1"); x.State != "draining" || x.Tasks != 1 || x.DrainUntilUnixNanos != until {
			t.Fatalf("before the deadline: %v", x)
		}
		w.sleep(time.Minute + 10*time.Second)
		if x := w.agentOn("h1"); x.State != "drained" || f.state(id) != v1.TaskState_TASK_STATE_KILLED {
			t.Errorf("after the deadline: %v, the task is %v", x, f.state(id))
		}
		w.check()
	})
}

// A deadline that passed while there was no broker counts as soon as the agent is back; its tasks are not lost for it.
func TestDrainDeadlinePassesWithoutBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Failover: time.Hour})
		h1 := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		id := f.accept()[0]
		w.drain("h1", 5*time.Minute)
		h1.disconnect()
		w.halt()
		time.Sleep(10 * time.Minute)
		w.start()
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		w.sleep(20 * time.Second)
		if s := f.state(id); s != v1.TaskState_TASK_STATE_RUNNING {
			t.Fatalf("before the agent is back the task is %v", s)
		}
		h1.connect()
		w.sleep(10 * time.Second)
		if s := f.status[id.Sequence]; s.GetState() != v1.TaskState_TASK_STATE_KILLED || s.GetReason() != v1.TaskReason_TASK_REASON_PREEMPTED {
			t.Errorf("%v", s)
		}
		if x := w.agentOn("h1"); x.State != "drained" {
			t.Errorf("%v", x)
		}
		w.check()
	})
}

// shown is the metric of agents by state, without states of none.
func (w *world) shown() map[string]float64 {
	w.t.Helper()
	r, out := prometheus.NewRegistry(), map[string]float64{}
	w.inspect(func(m *machine) { r.MustRegister(m.met.agents) })
	families, err := r.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, x := range f.Metric {
			if n := x.GetGauge().GetValue(); n != 0 {
				out[x.Label[0].GetValue()] = n
			}
		}
	}
	return out
}

// The metric has agents that drain apart from those that are active, also after a restart.
func TestDrainShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Failover: time.Hour})
		h1 := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		id := f.accept()[0]
		h2 := w.agent("h2", "/r1", 4000, 4096)
		is := func(when string, want map[string]float64) {
			t.Helper()
			if got := w.shown(); !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		is("at first", map[string]float64{"active": 2})
		w.drain("h1", 0)
		is("while it drains", map[string]float64{"active": 1, "draining": 1})
		h1.disconnect()
		h2.disconnect()
		w.restart()
		h1.connect()
		h2.connect()
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		w.sleep(time.Second)
		is("after a restart", map[string]float64{"active": 1, "draining": 1})
		h1.finish(id, v1.TaskState_TASK_STATE_FINISHED, 0, "")
		w.sleep(time.Second)
		is("when it is drained", map[string]float64{"active": 1, "drained": 1})
		h1.disconnect()
		w.sleep(time.Minute)
		is("cut off", map[string]float64{"active": 1, "unreachable": 1})
		h1.connect()
		w.undrain("h1")
		is("put back", map[string]float64{"active": 2})
		w.check()
	})
}
