package core

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
)

// resize asks for other resources and returns the answer: the event, or why not.
func (f *fakeFramework) resize(id *v1.TaskID, cpu, mem int64, revision uint64) (*v1.TaskResized, string) {
	f.w.t.Helper()
	f.mu.Lock()
	events, refused := len(f.events), len(f.refused)
	f.mu.Unlock()
	f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Resize{Resize: &v1.ResizeTask{Task: id, Resources: shape(cpu, mem), Revision: revision}}})
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events[events:] {
		if r := e.GetResized(); r != nil {
			return r, ""
		}
	}
	if len(f.refused) > refused {
		return nil, f.refused[refused].Message
	}
	return nil, ""
}

// size is what an agent believes that a task has.
func (a *fakeAgent) size(id *v1.TaskID) (cpu, mem int64, revision uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[key(id)]
	if t == nil {
		return 0, 0, 0
	}
	return t.spec.Resources.CpuMilli, t.spec.Resources.MemoryBytes / mib, t.spec.Revision
}

func (a *fakeAgent) wants(id *v1.TaskID, cpu, mem int64, revision uint64) {
	a.w.t.Helper()
	if c, m, r := a.size(id); c != cpu || m != mem || r != revision {
		a.w.t.Errorf("agent %s: %s has %d milli, %d MiB at revision %d, want %d, %d, %d", a.info.Host, key(id), c, m, r, cpu, mem, revision)
	}
}

func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Roles: []Role{{Path: "a", Limit: &v1.Resources{MemoryBytes: 3072 * mib}}}})
		a := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{Role: "a"})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 2})
		ids := f.accept()
		if len(ids) != 2 {
			t.Fatalf("%v", f.events)
		}
		for name, x := range map[string]struct {
			cpu, mem int64
			revision uint64
			want     string
		}{
			"more than the agent has free":  {4000, 1024, 1, "host h1 has"},
			"more than the role's limit":    {1000, 2049, 1, "role a has reached its limit of memory"},
			"a revision too far":            {1000, 512, 2, "revision 2 of task"},
			"the present revision, another": {1000, 512, 0, "revision 0 of task"},
			"nothing":                       {0, 0, 1, "without cpu or memory"},
			"negative":                      {-1, 5, 1, "an amount of cpu"},
		} {
			if r, why := f.resize(ids[0], x.cpu, x.mem, x.revision); r != nil || !strings.Contains(why, x.want) {
				t.Errorf("%s: %v %q", name, r, why)
			}
		}
		a.wants(ids[0], 1000, 1024, 0)
		w.check()
		if r, why := f.resize(ids[0], 3000, 2048, 1); r.GetRevision() != 1 || r.Resources.MemoryBytes != 2048*mib {
			t.Fatalf("%v %q", r, why)
		}
		a.wants(ids[0], 3000, 2048, 1)
		w.check()
		// Said again, it is answered again and does nothing.
		if r, why := f.resize(ids[0], 3000, 2048, 1); r.GetRevision() != 1 {
			t.Errorf("%v %q", r, why)
		}
		// Less of one and more of another; what is given back is free for others at once.
		if r, why := f.resize(ids[0], 500, 2048, 2); r.GetRevision() != 2 {
			t.Errorf("%v %q", r, why)
		}
		if r, why := f.resize(ids[1], 3500, 512, 1); r.GetRevision() != 1 {
			t.Errorf("%v %q", r, why)
		}
		w.check()
		w.restart()
		w.check()
		a.disconnect()
		a.connect()
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		var told []uint64
		for _, e := range f.events {
			for _, x := range e.GetRegistered().GetResized() {
				told = append(told, x.Revision)
			}
		}
		if !slices.Equal(told, []uint64{2, 1}) {
			t.Errorf("after the restart the framework was told of revisions %v", told)
		}
		if r, why := f.resize(ids[0], 1000, 1024, 3); r != nil || !strings.Contains(why, "host h1 has 0 cpu") && !strings.Contains(why, "free") {
			t.Errorf("4 cores and more: %v %q", r, why)
		}
		a.finish(ids[0], v1.TaskState_TASK_STATE_FINISHED, 0, "")
		if r, why := f.resize(ids[0], 100, 100, 3); r != nil || !strings.Contains(why, "does not live") {
			t.Errorf("one that has ended: %v %q", r, why)
		}
		w.check()
		w.halt()
	})
}

// A task that is resized while its agent is away has its new limits when the agent is back, over a restart of the broker too.
func TestResizeWhileTheAgentIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		id := f.accept()[0]
		a.disconnect()
		if r, why := f.resize(id, 2000, 2048, 1); r != nil || !strings.Contains(why, "cut off") {
			t.Errorf("more: %v %q", r, why)
		}
		if r, why := f.resize(id, 500, 512, 1); r.GetRevision() != 1 {
			t.Fatalf("less: %v %q", r, why)
		}
		a.wants(id, 1000, 1024, 0)
		w.restart()
		a.connect()
		a.wants(id, 500, 512, 1)
		w.check()
		a.disconnect()
		before := len(a.commands)
		a.connect()
		for _, c := range a.commands[before:] {
			if c.GetResize() != nil {
				t.Error("told again of what it has")
			}
		}
		w.halt()
	})
}

// Nobody hears of a resize before it is durable; one that was not is as if it had never been asked for.
func TestResizeIsDurableFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 1})
		id := f.accept()[0]
		w.journal.hold(true)
		if r, why := f.resize(id, 2000, 2048, 1); r != nil || why != "" {
			t.Errorf("%v %q", r, why)
		}
		a.wants(id, 1000, 1024, 0)
		w.stop()
		<-w.ended
		w.journal.drop()
		w.journal.hold(false)
		synctest.Wait()
		a.disconnect()
		w.start()
		a.connect()
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		w.check()
		a.wants(id, 1000, 1024, 0)
		if r, why := f.resize(id, 2000, 2048, 1); r.GetRevision() != 1 {
			t.Errorf("asked again: %v %q", r, why)
		}
		a.wants(id, 2000, 2048, 1)
		w.halt()
	})
}

// After random resizes, ends and restarts the books agree, an agent is never over its capacity, and agents hold what the
// broker says.
func TestRandomResizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) {
			w := newWorld(rt, Config{Roles: []Role{{Path: "a", Limit: &v1.Resources{CpuMilli: 5000}}, {Path: "a/b"}}})
			agents := []*fakeAgent{w.agent("h1", "/r1", 4000, 4096), w.agent("h2", "/r1", 4000, 4096)}
			frameworks := []*fakeFramework{w.framework(user("ann"), &v1.RegisterFramework{Role: "a/b"}), w.framework(user("bob"), &v1.RegisterFramework{})}
			ids := map[*fakeFramework][]*v1.TaskID{}
			revisions := map[string]uint64{}
			version := uint64(0)
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				f := frameworks[rapid.IntRange(0, 1).Draw(rt, "framework")]
				switch rapid.IntRange(0, 9).Draw(rt, "step") {
				case 0, 1:
					version++
					f.request(&v1.RequestGroup{Id: 1, Version: version, Shape: shape(500, 512), Total: uint32(rapid.IntRange(0, 3).Draw(rt, "total"))})
				case 2:
					ids[f] = append(ids[f], f.accept()...)
				case 3:
					if rapid.IntRange(0, 3).Draw(rt, "really") == 0 {
						w.restart()
						for _, a := range agents {
							a.disconnect()
							a.connect()
						}
						for _, f := range frameworks {
							f.connect(&v1.RegisterFramework{FrameworkId: f.id})
						}
						w.sleep(2 * time.Minute)
					}
				case 4:
					if n := len(ids[f]); n > 0 {
						f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: &v1.TaskID{Sequence: ids[f][n-1].Sequence}}}})
						ids[f] = ids[f][:n-1]
						synctest.Wait()
					}
				default:
					if len(ids[f]) == 0 {
						break
					}
					id := ids[f][rapid.IntRange(0, len(ids[f])-1).Draw(rt, "task")]
					r, why := f.resize(id, int64(250*rapid.IntRange(1, 8).Draw(rt, "cpu")), int64(256*rapid.IntRange(1, 8).Draw(rt, "mem")), revisions[key(id)]+1)
					switch {
					case r != nil:
						revisions[key(id)] = r.Revision
					case !strings.Contains(why, "free") && !strings.Contains(why, "limit"):
						rt.Fatalf("resize of %v: %q", id, why)
					}
				}
				w.check()
				w.inspect(func(m *machine) {
					for _, a := range m.agents {
						var used resource.Vector
						for t := range a.tasks {
							used = used.Add(t.resources)
							if got := agentOf(agents, a.info.Host).tasks[key(t.id())]; !terminal(t.state) && (got == nil || got.spec.Revision != t.revision || !proto.Equal(got.spec.Resources, m.resized(t).Resources)) {
								rt.Errorf("the agent's task %s is %v, the broker's is %v", key(t.id()), got, t)
							}
						}
						if !used.Fits(a.total) {
							rt.Errorf("agent %s is over its capacity: %v of %v", a.id, used, a.total)
						}
					}
					for _, r := range m.roles {
						if r.path == "a" && r.used[resource.CPU] > 5000 {
							rt.Errorf("role a is over its limit: %v", r.used)
						}
					}
				})
			}
			w.halt()
		})
	})
}

func agentOf(all []*fakeAgent, host string) *fakeAgent {
	return all[slices.IndexFunc(all, func(a *fakeAgent) bool { return a.info.Host == host })]
}
