package core

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Random histories of agents, frameworks, jobs, lost sessions and restarts that lose what was not durable. The books
// agree after each step, no task is launched twice, no task ends in two ways, and in the end nothing is left.
func TestRandomHistories(t *testing.T) {
	for range rounds {
		synctest.Test(t, func(t *testing.T) {
			// A bubble has no deadline to ask for.
			rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
				h := &past{rt: rt, w: newWorld(rt, Config{AgentGone: 2 * time.Minute, CoordinatorShare: 0.5, Roles: []Role{{Path: "a", Weight: 2}, {Path: "a/b"}}})}
				for range rapid.IntRange(1, 60).Draw(rt, "steps") {
					h.step()
					synctest.Wait()
					h.w.check()
				}
				h.settle()
				h.w.halt()
			})
		})
	}
}

// rounds of checks: rapid ends one after 24 hours, which pass in virtual time after some 80 histories.
const rounds = 4

type past struct {
	rt         *rapid.T
	w          *world
	frameworks []*fakeFramework
	restarts   int
}

func (h *past) pick(what string, n int) int { return rapid.IntRange(0, n-1).Draw(h.rt, what) }

func (h *past) framework() *fakeFramework {
	if len(h.frameworks) == 0 {
		return nil
	}
	return h.frameworks[h.pick("framework", len(h.frameworks))]
}

func (h *past) agent() *fakeAgent {
	if len(h.w.agents) == 0 {
		return nil
	}
	return h.w.agents[h.pick("agent", len(h.w.agents))]
}

// open tells whether a session is open, so that the broker can hear it.
func open(s interface{ Err() error }) bool { return s.Err() == nil }

func (h *past) step() {
	rt, w := h.rt, h.w
	role := func() string { return []string{"", "a", "a/b"}[h.pick("role", 3)] }
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	switch f, a := h.framework(), h.agent(); rapid.SampledFrom([]string{
		"agent", "framework", "request", "request", "request", "accept", "accept", "accept", "decline", "finish", "finish", "finish", "kill", "lose agent",
		"connect agent", "reboot", "lose framework", "connect framework", "unregister", "submit", "coordinator", "coordinator", "kill job", "tick", "tick",
		"hold", "restart", "acks", "suppress", "remove", "partial", "resize", "resize",
	}).Draw(rt, "step") {
	case "agent":
		if len(w.agents) < 5 {
			n := len(w.agents)
			w.agent(fmt.Sprintf("h%d", n), fmt.Sprintf("/r%d", n%2), 4000, 4096)
		}
	case "framework":
		if len(h.frameworks) < 6 {
			h.frameworks = append(h.frameworks, w.framework(user("ann"), &v1.RegisterFramework{
				Role: role(), Classic: rapid.Bool().Draw(rt, "classic"), NoJob: rapid.Bool().Draw(rt, "no job"),
				Reclaim: rapid.Bool().Draw(rt, "reclaim"),
			}))
		}
	case "request":
		if f != nil {
			g := &v1.RequestGroup{
				Id: uint64(1 + h.pick("group", 3)), Version: f.next*1000 + uint64(len(f.events)), Total: uint32(h.pick("total", 6)),
				Shape: shape(int64(500+500*h.pick("cpu", 4)), 256), NodeWaitNanos: -1,
			}
			g.Shape.Ports = int64(h.pick("ports", 3))
			g.Minimum = uint32(h.pick("minimum", 1+int(g.Total)))
			if rapid.Bool().Draw(rt, "hosts") {
				g.Hosts = []*v1.HostWant{{Host: fmt.Sprintf("h%d", h.pick("host", 6)), Count: 2}}
				g.NodeWaitNanos = 0
			}
			f.request(g)
		}
	case "remove":
		if f != nil {
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Removed: []uint64{1, 2}}}})
		}
	case "accept":
		if f != nil {
			f.accept()
		}
	case "partial": // less than was offered, on an offer that may be gone
		if f != nil && len(f.offers) > 0 {
			o := f.offers[0]
			x := &v1.AcceptOffer{Offer: o.Id}
			x.Tasks = append(x.Tasks, &v1.TaskSpec{
				Task: &v1.TaskID{Sequence: f.next}, Resources: shape(o.Resources.CpuMilli/2, 10), Command: &v1.Command{Argv: []string{"x"}},
			})
			f.next++
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Suppress{Suppress: &v1.Suppress{}}})
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: x}})
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Revive{Revive: &v1.Revive{}}})
		}
	case "resize": // of a task that may have ended, by a revision that may be an old one
		if f != nil {
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Resize{Resize: &v1.ResizeTask{
				Task: &v1.TaskID{Sequence: uint64(1 + h.pick("seq", 5))}, Revision: uint64(1 + h.pick("revision", 2)),
				Resources: &v1.Resources{CpuMilli: int64(500 * (1 + h.pick("cpu", 4))), MemoryBytes: int64(128+128*h.pick("mem", 3)) * mib, Ports: int64(h.pick("ports", 2))},
			}}})
		}
	case "decline":
		if f != nil {
			x := &v1.DeclineOffers{FilterNanos: int64(h.pick("filter", 3)-1) * int64(time.Second)}
			f.mu.Lock()
			for _, o := range f.offers {
				x.Offers = append(x.Offers, o.Id)
			}
			f.offers = nil
			f.mu.Unlock()
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Decline{Decline: x}})
		}
	case "suppress":
		if f != nil {
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Suppress{Suppress: &v1.Suppress{}}})
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Revive{Revive: &v1.Revive{}}})
		}
	case "acks":
		if f != nil {
			f.auto = !f.auto
		}
	case "finish":
		if a != nil {
			h.finish(a)
		}
	case "kill":
		if f != nil {
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: &v1.TaskID{Sequence: uint64(1 + h.pick("seq", 5))}}}})
		}
	case "lose agent":
		if a != nil {
			a.disconnect()
		}
	case "connect agent":
		if a != nil {
			a.disconnect()
			a.connect()
		}
	case "reboot":
		if a != nil {
			a.disconnect()
			a.tasks, a.info.BootId = map[string]*fakeTask{}, a.info.BootId+"x"
			a.connect()
		}
	case "lose framework":
		if f != nil {
			f.session.Close()
		}
	case "connect framework":
		if f != nil && f.id != "" {
			f.connect(&v1.RegisterFramework{FrameworkId: f.id, JobId: f.caller.JobID})
		}
	case "unregister":
		if f != nil {
			f.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		}
	case "submit":
		_, _ = w.broker.SubmitJob(ctx, user("ann"), &v1.SubmitJobRequest{Role: role(), Coordinator: coordinator(100, 100)})
	case "coordinator":
		if a != nil {
			h.coordinate(a)
		}
	case "kill job":
		if r, err := w.broker.ListJobs(ctx, operator, &v1.ListJobsRequest{}); err == nil && len(r.Jobs) > 0 {
			_, _ = w.broker.KillJob(ctx, operator, r.Jobs[h.pick("job", len(r.Jobs))].Id, "")
		}
	case "tick":
		w.sleep(time.Duration(rapid.SampledFrom([]int{1, 7, 31, 61, 130}).Draw(rt, "seconds")) * time.Second)
	case "hold":
		w.journal.hold(!w.journal.held)
	case "restart":
		if h.restarts++; h.restarts <= 3 {
			w.restart()
			for _, a := range w.agents {
				a.disconnect()
			}
		}
	}
}

// finish ends a task of the agent's, whether anybody can hear it or not.
func (h *past) finish(a *fakeAgent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var live []string
	for _, k := range a.keys() {
		if !terminal(a.tasks[k].state) {
			live = append(live, k)
		}
	}
	if len(live) > 0 {
		code := int32(h.pick("code", 2))
		a.say(a.session, live[h.pick("task", len(live))], v1.TaskState_TASK_STATE_FINISHED+v1.TaskState(code), code, "")
	}
}

// coordinate registers a framework for a coordinator that runs on the agent.
func (h *past) coordinate(a *fakeAgent) {
	for _, k := range a.keys() {
		t := a.tasks[k]
		if !t.spec.Coordinator || terminal(t.state) || slices.ContainsFunc(h.frameworks, func(f *fakeFramework) bool { return f.caller.JobID == t.spec.JobId && open(f.session) }) {
			continue
		}
		var attempt uint32
		_, _ = fmt.Sscan(t.spec.Command.Env["FAIRWAY_JOB_ATTEMPT"], &attempt)
		files := t.spec.Command.Files
		c, ok := h.w.broker.VerifyJobToken(string(files[len(files)-1].Content))
		if !ok {
			h.rt.Fatalf("the token of %s is not good", t.spec.JobId)
		}
		h.frameworks = append(h.frameworks, h.w.framework(c, &v1.RegisterFramework{JobId: t.spec.JobId, Attempt: attempt}))
		return
	}
}

// settle brings everybody back and ends everything; then nothing may be left.
func (h *past) settle() {
	w := h.w
	w.journal.hold(false)
	synctest.Wait()
	w.check()
	for _, a := range w.agents {
		a.disconnect()
		a.connect()
	}
	for _, f := range h.frameworks {
		f.auto = true
		if f.id != "" && !open(f.session) {
			f.connect(&v1.RegisterFramework{FrameworkId: f.id, JobId: f.caller.JobID})
		}
		f.mu.Lock()
		for _, s := range f.status {
			if s.Sequence != 0 {
				_ = f.session.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: s.Task, Sequence: s.Sequence}}})
			}
		}
		f.mu.Unlock()
		if open(f.session) {
			f.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		}
	}
	r, err := w.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{PageSize: 1000})
	if err != nil {
		h.rt.Fatal(err)
	}
	for _, j := range r.Jobs {
		if _, err := w.broker.KillJob(context.Background(), operator, j.Id, ""); err != nil {
			h.rt.Fatal(err)
		}
	}
	w.sleep(10 * time.Minute)
	for _, a := range w.agents { // for those that were given up meanwhile
		a.disconnect()
		a.connect()
	}
	w.sleep(5 * time.Minute)
	w.check()
	for _, a := range w.agents {
		for k, t := range a.tasks {
			h.rt.Errorf("agent %s still holds %s, %s, %d updates not acknowledged", a.info.Host, k, t.state, len(t.unacked))
		}
	}
	w.inspect(func(m *machine) {
		if n := m.st.LiveTasks(); n > 0 || len(m.offers) > 0 || m.roles[0].used[0] != 0 {
			h.rt.Errorf("%d tasks, %d offers, %v in use", n, len(m.offers), m.roles[0].used)
			for _, a := range m.agents {
				for t := range a.tasks {
					h.rt.Errorf("task %d of %s is %v on %s, status %d, kill=%v, coordinator=%v, job %+v", t.seq, t.framework.id, t.state, a.info.Host, a.status, t.kill, t.coordinator, m.record(t.job))
				}
			}
		}
		for _, f := range m.frameworks {
			if !f.launcher {
				h.rt.Errorf("framework %s is left, ended: %v, %d tasks", f.id, f.ended, len(f.tasks))
			}
		}
		for r := range m.st.Jobs() {
			if !r.HasEnded() {
				h.rt.Errorf("job %s is %d", r.ID, r.Phase)
			}
		}
		for _, r := range m.roles {
			if r.count != 0 || len(r.waiting) != 0 {
				h.rt.Errorf("role %s counts %d coordinators, %d wait", r.path, r.count, len(r.waiting))
			}
		}
	})
}

var _ api.Broker = (*Broker)(nil)
